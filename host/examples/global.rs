//! The whole of it: three lines make a program allocate from Genesis Memory.

use genesis_mem_host::Genesis;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

fn main() {
    let words: Vec<String> = "to be or not to be".split(' ').map(str::to_owned).collect();
    println!("{words:?}: {} allocations so far", genesis_mem_host::stats().allocations);
}
