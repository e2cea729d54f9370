//! Looking at processes from outside: memory as the system counts it, and children.
#![forbid(unsafe_code)]

use std::{
    fs,
    process::{Command, Output},
};

/// A line of `/proc/self/status` in bytes, such as `VmRSS` or `VmLck`.
pub fn status_bytes(field: &str) -> u64 {
    status_bytes_of("self", field)
}

/// The same of another process.
pub fn status_bytes_of(process: &str, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(&format!("{field}:")));
    let line = line.unwrap_or_else(|| panic!("no {field} in the status"));
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Memory that the process has resident, bytes.
pub fn resident_bytes() -> u64 {
    status_bytes("VmRSS")
}

/// Runs a test of the calling test binary, one that is ignored otherwise, in a child process.
pub fn child(test: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env_remove("GENESIS_MEM_LIMIT").env_remove("GENESIS_MEM_PURGE_DELAY_MS");
    command.envs(environment.iter().copied()).output().unwrap()
}
