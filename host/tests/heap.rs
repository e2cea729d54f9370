//! First-class heaps beside the program's own allocations.

use allocator_api2::{boxed::Box as BoxIn, vec::Vec as VecIn};
use genesis_mem_host::{Genesis, Heap};

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

#[test]
fn dropping_a_heap_leaves_what_ended_threads_have_left() {
    for round in 0..20u8 {
        let kept = std::thread::spawn(move || vec![round; 1000]).join().expect("no panic");
        let heap = Heap::new();
        for bytes in [16, 1000, 100_000, 3_000_000] {
            VecIn::with_capacity_in(bytes, &heap).extend_from_slice(&kept);
        }
        core::mem::forget(BoxIn::new_in([1u8; 1000], &heap));
        drop(heap);
        let others: Vec<_> = (0..200).map(|_| vec![!round; 1000]).collect();
        assert!(kept.iter().all(|&byte| byte == round), "round {round}");
        assert!(others.iter().all(|other| other[999] == !round));
    }
}

#[test]
fn a_heap_is_used_and_freed_into_from_many_threads() {
    let heap = Heap::new();
    let mut made = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u32)
            .map(|n| {
                let heap = &heap;
                scope.spawn(move || {
                    let mut map = hashbrown::HashMap::new_in(heap);
                    map.extend((0..2000u32).map(|key| (key, key * n)));
                    map
                })
            })
            .collect();
        made.extend(threads.into_iter().map(|thread| thread.join().expect("no panic")));
    });
    assert!(made.iter().zip(0..).all(|(map, n)| map[&1999] == 1999 * n));
}
