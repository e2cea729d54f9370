//! The socket that tells how a program's memory is while it runs.

use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use crate::common::{is_installed, preloaded, scratch};

/// Three processes: one that forks a child, which goes on allocating, and starts a program.
const PYTHON: &str = r#"
import os, select, subprocess, sys
kept = []
other = subprocess.Popen(["sort"], stdin=subprocess.PIPE)
other.stdin.write(b"line\n" * 100000)
other.stdin.flush()
child = os.fork()
if child == 0:
    other.stdin.close()
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        kept.append(bytearray(100_000))
    sys.exit(0)
print(os.getpid(), child, other.pid, flush=True)
sys.stdin.read()
os.waitpid(child, 0)
other.stdin.close()
sys.exit(other.wait())
"#;

fn sockets(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut sockets: Vec<_> = entries.collect();
    sockets.sort();
    sockets
}

/// What a socket answers within ten seconds.
fn ask(path: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Ok(mut stream) = UnixStream::connect(path) {
            stream.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            return text;
        }
        assert!(Instant::now() < end, "nobody answers at {}", path.display());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_process_has_its_own_and_leaves_none() {
    if !is_installed("python3") {
        return println!("skipped: python3 is not installed");
    }
    let folder = scratch();
    let mut command = preloaded("python3");
    command.args(["-c", PYTHON]).env("GENESIS_MEM_SOCKET", folder.path());
    // The three numbers are to come in one piece.
    command.env_remove("PYTHONUNBUFFERED");
    let mut python = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut numbers = [0; 64];
    let read = python.stdout.as_mut().unwrap().read(&mut numbers).unwrap();
    let numbers = String::from_utf8_lossy(&numbers[..read]).into_owned();
    let mut expected: Vec<_> = numbers
        .split_whitespace()
        .map(|number| folder.path().join(format!("{number}.sock")))
        .collect();
    assert_eq!(expected.len(), 3, "{numbers}");
    for path in &expected {
        let text = ask(path);
        assert!(text.starts_with("{\"version\":1,") && text.ends_with("}\n"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    expected.sort();
    assert_eq!(sockets(folder.path()), expected);
    python.stdin.take().unwrap().write_all(b"end").unwrap();
    let output = python.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
    assert_eq!(sockets(folder.path()), [] as [PathBuf; 0]);
}

#[test]
fn a_program_that_closes_all_files_answers_still() {
    if !is_installed("python3") {
        return println!("skipped: python3 is not installed");
    }
    let folder = scratch();
    // As a daemon does: a copy of the copy stays, and has closed everything.
    let daemon = "import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 4096)
        kept = []
        for _ in range(2000):
            kept.append(bytearray(100_000))
            time.sleep(0.01)
    os._exit(0)
os.wait()";
    let mut command = preloaded("python3");
    command.args(["-c", daemon]).env("GENESIS_MEM_SOCKET", folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    let end = Instant::now() + Duration::from_secs(10);
    let socket = loop {
        // One of a process that ended by `_exit` may be left.
        let alive = |path: &&PathBuf| UnixStream::connect(path).is_ok();
        if let Some(path) = sockets(folder.path()).iter().find(alive) {
            break path.clone();
        }
        assert!(Instant::now() < end, "the daemon has no socket");
        thread::sleep(Duration::from_millis(10));
    };
    (0..5).for_each(|_| assert!(ask(&socket).ends_with("}\n")));
    let number = socket.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    // SAFETY: the process is the daemon, which was alive a moment ago.
    unsafe { libc::kill(number, libc::SIGKILL) };
}
