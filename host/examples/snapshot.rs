//! What the allocator knows about itself, as a table, before and after giving memory back.

use std::collections::BTreeMap;

use genesis_mem_host::{Genesis, stats, trim};

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

fn main() {
    let map: BTreeMap<u32, String> = (0..100_000).map(|n| (n, format!("number {n}"))).collect();
    println!("With {} strings in a map:\n{}", map.len(), stats());
    drop(map);
    println!("Given back: {} bytes", trim());
    let s = stats();
    s.check().expect("the sums hold where no other thread allocates");
    println!("Committed now: {} of {} bytes", s.committed_bytes.current, s.reserved_bytes.current);
}
