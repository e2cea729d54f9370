//! The layout of a descriptor, and which offsets it takes for blocks.

use super::*;

#[test]
fn the_owners_fields_share_a_line_and_zeroes_are_a_free_span() {
    assert_eq!(core::mem::offset_of!(Descriptor, remote), 64);
    assert_eq!(size_of::<Descriptor>(), 128);
    // SAFETY: what is tested: every field is valid as zeroes.
    let zeroed: Descriptor = unsafe { core::mem::zeroed() };
    assert_eq!(zeroed.tag(), tag::FREE);
    assert!(zeroed.own.count() == 0 && zeroed.remote.count() == 0);
}

#[test]
fn only_starts_of_blocks_pass_in_every_class() {
    for index in 0..HostClasses::COUNT {
        let class = SizeClass::from_index(index).unwrap();
        let block_bytes = HostClasses::block_bytes(class);
        let d = Descriptor::new();
        d.start_slab(NonNull::dangling(), block_bytes * 8, class, 0, false);
        for offset in (0..block_bytes * 8).step_by(8) {
            assert_eq!(d.is_start(offset), offset % block_bytes == 0, "{offset} {block_bytes}");
        }
        assert!(!d.is_start(1) && !d.is_start(block_bytes - 1));
    }
}
