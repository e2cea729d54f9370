//! Captured call stacks of the first thread, beside those of the system's unwinder.

#[expect(dead_code, reason = "part of what the other test shares is not for here")]
#[path = "stack/reference.rs"]
mod reference;

fn main() {
    #[inline(never)]
    fn nested(depth: usize) -> usize {
        let more_bytes = std::hint::black_box([0_u8; 5000]);
        let count = if depth == 0 { reference::both(256) } else { nested(depth - 1) };
        std::hint::black_box(more_bytes);
        count
    }
    // At first there are only the tables of the program itself. The calls may be two.
    let captured = || {
        let mut frames = [0; 64];
        let count = genesis_mem_host::stack::capture(&mut frames, 0);
        frames[..count].to_vec()
    };
    let [few, many] = [false, true].map(|is_prepared| {
        if is_prepared {
            genesis_mem_host::stack::prepare();
        }
        captured()
    });
    assert!(few.len() > 3 && many[1..].starts_with(&few[1..]), "{many:#x?} and {few:#x?}");
    let count = reference::both(256);
    assert!(count >= 5, "up to where the program starts: {count}");
    // Down by more than what is there at first, and up again.
    for depth in [1, 100, 3, 200, 0] {
        assert_eq!(nested(depth), count + depth + 1);
    }
    println!("ok: {count} frames from `main` up");
}
