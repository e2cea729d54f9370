//! A heap for one purpose: collections in it share its memory, and dropping it gives all back.

use allocator_api2::{boxed::Box, vec::Vec};
use genesis_mem_host::Heap;
use hashbrown::HashMap;

fn main() {
    let heap = Heap::new();
    let mut lengths = HashMap::new_in(&heap);
    let mut words = Vec::new_in(&heap);
    for word in "one small step for a man, one giant leap for mankind".split(' ') {
        words.push(Box::new_in(word, &heap));
        *lengths.entry(word.len()).or_insert(0) += 1;
    }
    println!("{} words; {} of three letters", words.len(), lengths[&3]);
    drop((words, lengths));
    drop(heap);
    println!("{} bytes in use after the heap", genesis_mem_host::stats().active_bytes.current);
}
