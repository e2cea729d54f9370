//! `genesis-mem top` on programs that run.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

mod common;
use common::genesis_mem;

fn top(words: &[&str]) -> Output {
    let words: Vec<_> = ["top"].iter().chain(words).copied().collect();
    genesis_mem(&words).env_remove("XDG_RUNTIME_DIR").output().unwrap()
}

fn shown(words: &[&str]) -> String {
    let output = top(words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn refused(words: &[&str]) -> String {
    let output = top(words);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `sort` under `genesis-mem run`, which holds 4 MiB of lines and waits for more.
struct Sort {
    run: Child,
    folder: tempfile::TempDir,
    socket: PathBuf,
}

impl Sort {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = format!("--socket={}", text(folder.path()));
        let mut command = genesis_mem(&["run", &socket, "--", "sort"]);
        let (input, output) = (Stdio::piped(), Stdio::null());
        let mut run = command.stdin(input).stdout(output).stderr(Stdio::piped()).spawn().unwrap();
        let lines = "some line or other\n".repeat(220_000);
        run.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        let socket = loop {
            if let Some(entry) = fs::read_dir(&folder).unwrap().next() {
                break entry.unwrap().path();
            }
            assert!(Instant::now() < end, "there is no socket");
            thread::sleep(Duration::from_millis(20));
        };
        Self { run, folder, socket }
    }

    fn process(&self) -> &str {
        self.socket.file_stem().unwrap().to_str().unwrap()
    }
}

impl Drop for Sort {
    fn drop(&mut self) {
        drop(self.run.stdin.take());
        let _ = self.run.wait();
    }
}

#[test]
fn a_program_is_found_by_number_socket_and_directory() {
    let mut sort = Sort::start();
    for target in [sort.process(), text(&sort.socket), text(sort.folder.path())] {
        let table = shown(&[target, "--once"]);
        assert!(table.starts_with(&format!("sort (process {})", sort.process())), "{table}");
        for part in ["requested", "resident", "fragmentation", "block bytes", "at hand"] {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
    }
    // Somebody who reads the first line only has seen enough.
    let mut command = genesis_mem(&["top", sort.process(), "--once"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output.status);
    // A pipe gets the same.
    assert!(shown(&[sort.process()]).contains("block bytes"));
    let line = shown(&[sort.process(), "--json"]);
    let value: Value = serde_json::from_str(&line).unwrap();
    assert!(value["allocated_bytes"]["current"].as_u64().unwrap() > 4 << 20, "{line}");
    assert_eq!(line.lines().count(), 1);

    drop(sort.run.stdin.take());
    assert!(sort.run.wait().unwrap().success());
    assert!(!sort.socket.exists(), "the socket is left");
    assert!(refused(&[sort.process()]).contains("there is no process"));
    // What a killed program has left goes; what is none of ours stays.
    let left = ["999999999.sock", "other.sock"].map(|name| sort.folder.path().join(name));
    left.iter().for_each(|path| drop(UnixListener::bind(path).unwrap()));
    assert!(refused(&[text(sort.folder.path())]).contains("genesis-mem run --socket"));
    assert_eq!(left.map(|path| path.exists()), [false, true]);
}

#[test]
fn the_terminal_shows_it_until_it_ends() {
    let found = std::process::Command::new("script").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        return println!("skipped: script is not installed");
    }
    let sort = Sort::start();
    let words = ["top", sort.process(), "--interval", "0.1"].join(" ");
    let command = format!("stty rows 30 cols 100; {} {words}", env!("CARGO_BIN_EXE_genesis-mem"));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm");
    let watch = |mut script: std::process::Command| {
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut watcher = watch(script);
    thread::sleep(Duration::from_millis(1500));
    // Keys, one after the other, and then the end of the program.
    for key in ["s", "r", "+", " ", "\t", " ", "\t"] {
        watcher.stdin.as_mut().unwrap().write_all(key.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(300));
    }
    drop(sort);
    thread::sleep(Duration::from_millis(1500));
    let output = watcher.wait_with_output().unwrap();
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {screen}", output.status);
    // The other screen was opened and left, and the last numbers stay.
    let (drawn, after) = screen.rsplit_once("\u{1b}[?1049l").expect("it leaves the other screen");
    // Only what changes is drawn, so that words stand apart.
    for part in ["\u{1b}[?1049h", "classes:", "▼waste", "▲waste", "paused", "profile:", "every"]
    {
        assert!(drawn.contains(part), "{part} is not in {drawn}");
    }
    assert!(after.contains("has ended") && after.contains("block bytes"), "{after}");
}

#[test]
fn prometheus_is_told_of_all_programs() {
    let programs = [Sort::start(), Sort::start()];
    let text = |words: &[&str]| {
        let output = genesis_mem(words).output().unwrap();
        assert!(output.status.success(), "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let [first, second] = programs.each_ref().map(|sort| sort.socket.to_str().unwrap());
    let once = text(&["metrics", "--once", first, second, "/no/such/socket"]);
    for program in &programs {
        let labels =
            format!("{{memory=\"host\",process=\"{}\",program=\"sort\"}} ", program.process());
        let bytes = |name: &str| {
            let line = once.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(&labels));
            line.unwrap_or_else(|| panic!("no {name}{labels} in {once}")).parse::<u64>().unwrap()
        };
        let allocated_bytes = bytes("genesis_mem_allocated_bytes");
        assert!((4 << 20..1 << 30).contains(&allocated_bytes), "{allocated_bytes}");
    }
    assert!(once.ends_with("# EOF\n"), "{once}");

    let words = ["metrics", "--listen", "127.0.0.1:0", first];
    let mut server = genesis_mem(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let answer = ureq::get(url.trim()).call().unwrap().body_mut().read_to_string().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(answer.contains(&format!("process=\"{}\"", programs[0].process())), "{answer}");
    assert!(!answer.contains(&format!("process=\"{}\"", programs[1].process())), "{answer}");
}

#[test]
fn who_does_not_tell_is_explained() {
    let number = std::process::id().to_string();
    let error = refused(&[&number]);
    assert!(error.contains("does not tell its statistics"), "{error}");
    assert!(error.contains("genesis-mem run --socket -- PROGRAM"), "{error}");
    assert!(refused(&["999999999"]).contains("there is no process 999999999"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    assert!(refused(&[text(&path)]).contains("cannot look at"));
    fs::write(&path, "text").unwrap();
    assert!(refused(&[text(&path)]).contains("is no socket"));
    fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    // It is another program's, which says nothing for a while, and then nonsense.
    assert!(refused(&[text(&path), "--once"]).contains("does not answer"));
    let nonsense = thread::spawn(move || {
        for connection in listener.incoming().take(4) {
            let _ = connection.unwrap().write_all(b"{\"version\":1}\n");
        }
    });
    let error = refused(&[text(&path), "--once"]);
    assert!(error.contains("is not the statistics of Genesis Memory"), "{error}");
    nonsense.join().unwrap();
    assert!(refused(&[text(&path)]).contains("has the program ended?"));
    assert_eq!(top(&["--interval", "0"]).status.code(), Some(2));
}
