//! Classic allocator workloads for C programs.
fn main() {}
