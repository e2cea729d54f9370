//! Walks along what the walk before has left.

use std::hint::black_box;

use crate::reference::both;

struct Path(u64);

impl Path {
    /// The next `bits` bits.
    fn take(&mut self, bits: u32) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 >> (64 - bits)
    }
}

/// Frames of two functions of the same size, at whose every depth some walks begin.
macro_rules! wander {
    ($name:ident, $odd:literal) => {
        #[inline(never)]
        fn $name(path: &mut Path, depth: usize) -> usize {
            let number = black_box(depth * $odd);
            let mut most = 0;
            while most == 0 || path.take(2) > 0 {
                if depth == 0 || path.take(3) == 0 {
                    most = most.max(both(256));
                    most = most.max(both(3));
                } else if path.take(1) == 0 {
                    most = most.max(here(path, depth - 1));
                } else {
                    most = most.max(there(path, depth - 1));
                }
                if path.take(3) == 0 {
                    break;
                }
            }
            black_box(number);
            most
        }
    };
}

wander!(here, 3);
wander!(there, 5);

#[test]
fn stacks_that_differ_a_little() {
    let mut path = Path(7);
    let mut most = 0;
    for round in 0..20 {
        most = most.max(here(&mut path, round % 12));
    }
    assert!(most > 12);
}

/// More frames than are kept, down and up again.
#[test]
fn deep_stacks() {
    #[inline(never)]
    fn down(depth: usize) -> usize {
        let before = if depth.is_multiple_of(7) { both(256) } else { 0 };
        let below = if depth == 0 { both(256) } else { down(depth - 1) };
        let after = if depth.is_multiple_of(5) { both(256) } else { 0 };
        black_box(before.max(below).max(after))
    }
    assert!(down(210) > 210);
    let threads = [150, 240, 10].map(|depth| std::thread::spawn(move || down(depth)));
    for thread in threads {
        thread.join().unwrap();
    }
}
