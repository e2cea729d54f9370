//! `genesis-mem` as a user types it.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

mod common;
use common::genesis_mem;

fn output(words: &[&str]) -> Output {
    genesis_mem(words).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn exit_codes_are_those_of_the_help() {
    assert_eq!(output(&["--help"]).status.code(), Some(0));
    assert_eq!(output(&[]).status.code(), Some(2));
    assert_eq!(output(&["run"]).status.code(), Some(2));
    assert_eq!(output(&["demo", "--rounds", "0"]).status.code(), Some(2));
    assert_eq!(output(&["demo", "/no/such/folder"]).status.code(), Some(1));
    assert_eq!(output(&["run", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(output(&["run", "--", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    assert_eq!(output(&["run", "--", "/no/such/program"]).status.code(), Some(127));
    assert_eq!(output(&["run", "--", "/"]).status.code(), Some(126));
}

#[test]
fn a_program_keeps_its_input_and_output() {
    let mut command = genesis_mem(&["run", "--", "sort", "-r"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\nthree\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"two\nthree\none\n");
    let table = stderr(&output);
    assert!(table.contains("sort -r ended with 0") && table.contains("fragmentation"), "{table}");
}

#[test]
fn a_signal_reaches_the_program() {
    let mut command = genesis_mem(&["run", "--", "sh", "-c"]);
    command.arg("trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(800));
    // SAFETY: the child is ours, and not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn statistics_come_as_json_for_the_program_and_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.json");
    let file_name = file.to_str().unwrap();
    let words = ["run", "--json", "-o", file_name, "--", "timeout", "60", "sort", "/dev/null"];
    let output = output(&words);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    let outcome: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(outcome["exit_code"], 0);
    assert_eq!(outcome["snapshot"]["version"], 1);
    assert!(!outcome["others"].as_array().unwrap().is_empty());
}

#[test]
fn a_missing_library_is_explained() {
    let mut command = genesis_mem(&["run", "--", "ls"]);
    let output = command.env("GENESIS_MEM_LIBRARY", "/no/such/file").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("GENESIS_MEM_LIBRARY=/no/such/file"), "{}", stderr(&output));
}

#[test]
fn the_demonstration_compares_both_allocators() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20 {
        let text = format!("file {n} says hello\n").repeat(500);
        fs::write(folder.path().join(format!("{n}.txt")), text).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let page = elsewhere.path().join("page.html");
    let page_path = page.to_str().unwrap();
    let json = output(&["demo", path, "--json", "--rounds", "2", "--page", page_path]);
    assert!(json.status.success(), "{}", stderr(&json));
    let outcome: Value = serde_json::from_slice(&json.stdout).unwrap();
    for allocator in ["genesis", "system"] {
        assert_eq!(outcome[allocator]["summary"]["words"], 40_000, "{allocator}");
        assert!(outcome[allocator]["cost"]["peak_resident_bytes"].as_u64().unwrap() > 1 << 20);
    }
    assert!(outcome["snapshot"]["allocations"].as_u64().unwrap() > 40_000);
    assert_eq!(outcome["replay"]["allocations"], 10_569);
    assert_eq!(outcome["page"], page_path);
    assert!(fs::read_to_string(&page).unwrap().contains("genesis-mem demo, an index of"));
    let output = output(&["demo", path, "--page", page_path]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.lines().nth(2).unwrap().ends_with("/page.html"), "{table}");
    for part in ["Genesis Memory", "system", "20 files", "external", "block bytes", "PyTorch"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
}
