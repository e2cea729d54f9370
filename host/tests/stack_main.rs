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
    let count = reference::both(256);
    assert!(count >= 5, "up to where the program starts: {count}");
    // Down by more than what is there at first, and up again.
    for depth in [1, 100, 3, 200, 0] {
        assert_eq!(nested(depth), count + depth + 1);
    }
    println!("ok: {count} frames from `main` up");
}
