//! A program whose every allocation is page-locked.

use std::{collections::HashMap, thread};

use genesis_mem_host::Pinned;

#[path = "common/status.rs"]
mod status;

#[global_allocator]
static ALLOC: Pinned = Pinned::new();

#[test]
fn collections_and_threads_are_page_locked() {
    let map: HashMap<u32, String> = (0..2000).map(|n| (n, n.to_string())).collect();
    let made = thread::spawn(|| vec![7u8; 300_000]).join().expect("no panic");
    assert_eq!((map[&1999].as_str(), made[299_999]), ("1999", 7));
    assert!(ALLOC.is_pinned(map[&0].as_ptr()) && ALLOC.is_pinned(made.as_ptr()));
    assert!(!ALLOC.is_pinned((&raw const ALLOC).cast()));
    let stats = ALLOC.stats();
    stats.check().expect("the sums hold");
    assert!(stats.allocations > 2000 && ALLOC.fallbacks() == 0);
    assert!(status::bytes("VmLck") as u64 >= stats.allocated_bytes.current);
}
