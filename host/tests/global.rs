//! A program with `Genesis` as its global allocator.

use std::{collections::HashMap, sync::mpsc, thread};

use genesis_mem_host::Genesis;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

#[test]
fn collections_and_threads() {
    let map: HashMap<u64, String> = (0..100_000).map(|n| (n, n.to_string())).collect();
    assert_eq!(map[&99_999], "99999");
    let (send, receive) = mpsc::channel();
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let send = send.clone();
            thread::spawn(move || {
                for n in 0..10_000usize {
                    send.send(vec![t as u8; n % 3000]).unwrap();
                }
            })
        })
        .collect();
    drop(send);
    let mut bytes = 0;
    for v in receive {
        bytes += v.len();
    }
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(bytes, 4 * (0..10_000usize).map(|n| n % 3000).sum::<usize>());
    drop(map);
    let s = genesis_mem_host::stats();
    assert!(s.remote_frees > 0 && s.allocations > 130_000);
}
