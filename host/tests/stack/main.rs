//! Captured call stacks, beside those of the system's unwinder.

mod again;
mod compiled;
mod cost;
#[cfg(target_arch = "x86_64")]
mod made;
mod reference;
mod signals;
mod strange;

use std::{hint::black_box, thread};

use genesis_mem_host::stack;
use reference::{assert_same, both};

/// Frames of the program, below a comparison.
#[inline(never)]
fn nested(depth: usize, frames: usize) -> usize {
    let numbers = black_box([depth; 7]);
    let count = if depth == 0 { both(frames) } else { nested(depth - 1, frames) };
    black_box(numbers);
    count
}

#[test]
fn a_thread_of_the_tests() {
    assert!(nested(10, 256) > 15);
}

#[test]
fn a_named_thread_of_its_own() {
    let count = thread::Builder::new().stack_size(1 << 20).spawn(|| nested(20, 256)).unwrap();
    assert!(count.join().unwrap() > 25);
}

#[test]
fn the_standard_library_between() {
    let counts: Vec<usize> = (0..20).map(|depth| nested(depth, 256)).collect();
    assert!(counts.is_sorted_by(|a, b| a + 1 == *b), "{counts:?}");
    let mut numbers = [3, 1, 2];
    numbers.sort_by(|a, b| {
        assert_same(256);
        a.cmp(b)
    });
    assert_eq!(numbers, [1, 2, 3]);
    let caught = std::panic::catch_unwind(|| nested(3, 256));
    assert!(caught.unwrap() > 8);
}

#[test]
fn deep_stacks_are_cut_off() {
    assert_eq!(nested(1_000, 64), 64);
    assert_eq!(nested(1_000, 1), 1);
    assert_eq!(nested(100, 0), 0);
}

#[inline(never)]
fn inner(above: usize, depth: usize) -> Vec<usize> {
    if depth > 0 {
        return black_box(inner(above, depth - 1));
    }
    stack::prepare();
    let mut frames = [0; 64];
    let count = stack::capture(&mut frames, above);
    frames[..count].to_vec()
}

#[inline(never)]
fn outer(depth: usize) -> (Vec<usize>, Vec<usize>) {
    let above = stack::here();
    (black_box(inner(above, depth)), inner(0, depth))
}

#[test]
fn frames_of_the_caller_are_left_out() {
    for depth in 0..40 {
        let (few, all) = outer(depth);
        // Those of `inner`, and the one in `outer` that calls it.
        assert_eq!(all.len() - few.len(), depth + 2);
        assert_eq!(few, all[depth + 2..]);
    }
    assert!(outer(70).0.is_empty(), "nobody hides as many frames");
}
