//! Recordings of programs on the library.

use std::{fs, path::Path};

use crate::{
    common::{compile, is_installed, preloaded, run, scratch, text},
    recording::Recording,
};

/// How many live blocks of that size a recording has.
fn count(recording: &Recording, bytes: u64) -> usize {
    recording.live.iter().filter(|live| live.bytes == bytes).count()
}

/// Where in which module an address lies, by the maps of the recording.
fn module(recording: &Recording, address: u64) -> &str {
    let contains = |line: &&str| {
        let (start, rest) = line.split_once('-').expect("a map");
        let (end, _) = rest.split_once(' ').expect("a map");
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        (number(start)..number(end)).contains(&address)
    };
    recording.maps.lines().find(contains).map_or("", |line| line.rsplit(' ').next().unwrap_or(""))
}

#[test]
fn every_function_that_allocates_is_recorded_with_its_caller() {
    let folder = scratch();
    let Some(program) = compile("leaks.c", folder.path()) else { return };
    let records = folder.path().join("records/");
    let output = run(
        preloaded(&program)
            .env("GENESIS_MEM_PROFILE", &records)
            .env("GENESIS_MEM_PROFILE_FULL", "1"),
        b"",
    );
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let children: Vec<_> = printed.split_whitespace().map(str::to_owned).collect();
    let [forked, started] = &children[..] else { panic!("{printed}") };
    let read = |pid: &str| Recording::read(&records.join(format!("leaks.{pid}.genesis-mem")));
    let names = fs::read_dir(&records).expect("the library made it");
    let names: Vec<_> =
        names.map(|entry| entry.expect("an entry").file_name().into_string()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let own = names
        .into_iter()
        .flatten()
        .find(|name| !name.contains(forked.as_str()) && !name.contains(started.as_str()));
    let own = Recording::read(&records.join(own.expect("the program's own")));
    let (forked, started) = (read(forked), read(started));
    for recording in [&own, &forked, &started] {
        recording.check();
    }
    for bytes in [1001, 1057, 5003, 3007, 9011, 3_000_017, 17] {
        assert_eq!((count(&own, bytes), count(&forked, bytes)), (1, 1), "{bytes}");
        let live = own.live.iter().find(|live| live.bytes == bytes).expect("counted above");
        let frames = &own.stacks[&live.stack];
        // `strdup` lies between; an address is that of what follows a call.
        let caller = frames.iter().map(|&frame| module(&own, frame - 1));
        let inner: Vec<_> = caller.take_while(|module| !module.ends_with("/leaks")).collect();
        let through_libc = usize::from(bytes == 17);
        assert_eq!(inner.len(), through_libc, "{bytes}: {inner:?}");
        // The function, `main`, two of libc, and where the program starts.
        let outer = frames.iter().rev().map(|&frame| module(&own, frame - 1));
        let ends = [true, false, false, true, true];
        assert!(outer.map(|module| module.ends_with("/leaks")).take(5).eq(ends), "{bytes}");
    }
    assert_eq!((count(&own, 8009), count(&forked, 8009), count(&started, 8009)), (0, 1, 0));
    assert_eq!((count(&own, 7001), count(&started, 7001)), (0, 1));
    assert_eq!(forked.header[1], own.header[0], "the parent's number");
}

#[test]
fn a_file_is_the_first_processs_and_others_add_their_numbers() {
    let folder = scratch();
    let Some(program) = compile("leaks.c", folder.path()) else { return };
    // Relative to where the program is started.
    let output = run(
        preloaded(&program)
            .current_dir(folder.path())
            .env("GENESIS_MEM_PROFILE", "record")
            .env("GENESIS_MEM_PROFILE_INTERVAL", "4KiB"),
        b"",
    );
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
    let own = Recording::read(&folder.path().join("record"));
    own.check();
    assert_eq!((own.header[2], own.header[3]), (0, 4096));
    assert_eq!(count(&own, 3_000_017), 1, "no chance is left for it to be missed");
    for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        Recording::read(&folder.path().join(format!("record.{pid}"))).check();
    }
}

/// Runs python with threads and forks, recorded.
fn python(folder: &Path, mode: (&str, &str)) -> Recording {
    const PROGRAM: &str = "
import os, threading
def work():
    for i in range(300):
        [bytes(n) for n in range(100, 9000, 100)]
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
children = []
for _ in range(5):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
[thread.join() for thread in threads]
";
    let file = folder.join(mode.1);
    let output = run(
        preloaded("python3")
            .args(["-c", PROGRAM])
            .env("PYTHONMALLOC", "malloc")
            .env("GENESIS_MEM_PROFILE", format!("{}.%p", file.display()))
            .env(mode.0, mode.1),
        b"",
    );
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
    let largest = fs::read_dir(folder).expect("the folder is there").map(|entry| {
        let path = entry.expect("an entry").path();
        (path.metadata().expect("a file").len(), path)
    });
    let of_mode =
        largest.filter(|(_, path)| path.to_string_lossy().contains(file.to_str().unwrap()));
    let recording = Recording::read(&of_mode.max().expect("a recording").1);
    recording.check();
    recording
}

#[test]
fn samples_amount_to_what_a_full_recording_counts() {
    if !is_installed("python3") {
        return println!("skipped: not installed: python3");
    }
    let folder = scratch();
    let full = python(folder.path(), ("GENESIS_MEM_PROFILE_FULL", "1"));
    let sampled = python(folder.path(), ("GENESIS_MEM_PROFILE_INTERVAL", "64KiB"));
    let bytes = |recording: &Recording| recording.usages.iter().map(|row| row.sums[1]).sum::<f64>();
    let (truth, estimate) = (bytes(&full), bytes(&sampled));
    assert!(truth > 400e6 && (estimate / truth - 1.0).abs() < 0.1, "{estimate} and {truth}");
    assert_eq!((full.header[9], sampled.header[9]), (0, 0), "lost samples");
}
