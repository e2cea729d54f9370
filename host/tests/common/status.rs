//! What the kernel says of this process.

use std::fs;

/// A value of `/proc/self/status` that is given in kB, such as `VmRSS`, in bytes.
pub(crate) fn bytes(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.strip_suffix("kB"))
        .unwrap_or_else(|| panic!("no {field} in /proc/self/status"));
    value.trim().parse::<usize>().expect("a number") * 1024
}
