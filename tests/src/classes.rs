//! The promises of size classes, for one request.
#![forbid(unsafe_code)]

use genesis_mem_core::size_class::{Classes, DeviceClasses, HostClasses, SizeClass};

use crate::ops::Op;

/// Checks what the classes make of an operation's size and alignment.
pub fn check(op: Op) {
    let (bytes, align) = match op {
        Op::Alloc { bytes, align, .. } => (bytes, align),
        Op::Realloc { bytes, .. } => (bytes, 1),
        _ => return,
    };
    check_family::<16, { HostClasses::MAX_BYTES }>(bytes, align);
    check_family::<512, { DeviceClasses::MAX_BYTES }>(bytes, align);
}

fn check_family<const QUANTUM: usize, const MAX: usize>(bytes: usize, align: usize) {
    let Some(class) = Classes::<QUANTUM, MAX>::of(bytes) else {
        assert!(bytes > MAX, "{bytes} bytes have no class");
        return;
    };
    let block_bytes = Classes::<QUANTUM, MAX>::block_bytes(class);
    assert!(block_bytes >= bytes && block_bytes <= MAX);
    assert!(block_bytes - bytes < QUANTUM || (block_bytes - bytes) * 8 <= block_bytes);
    if let Some(smaller) = class.index().checked_sub(1).and_then(SizeClass::from_index) {
        assert!(Classes::<QUANTUM, MAX>::block_bytes(smaller) < bytes, "a smaller one would do");
    }
    match Classes::<QUANTUM, MAX>::of_aligned(bytes, align) {
        Some(aligned) => {
            let aligned_bytes = Classes::<QUANTUM, MAX>::block_bytes(aligned);
            assert!(aligned_bytes >= block_bytes);
            assert!(align <= QUANTUM || aligned_bytes.is_multiple_of(align));
        }
        None => assert!(bytes.next_multiple_of(align).max(align) > MAX),
    }
}
