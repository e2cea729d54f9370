//! How much there is, what is given back, and who shares it.

use genesis_mem_cuda::AllocError;

use super::{Device, finish};

pub(crate) const GRANULES: u64 = 32;

pub(crate) fn too_much_is_an_error_with_numbers<D: Device>(device: D) {
    let (allocator, stream) = (device.allocator(), device.stream(0));
    let kept = device.filled(device.granules(4), stream, 1);
    let error = allocator.alloc(device.granules(30), stream).expect_err("28 granules are left");
    let AllocError::OutOfMemory(error) = error else { panic!("{error}") };
    assert_eq!(error.requested_bytes, device.granules(30));
    assert_eq!(error.limit_bytes, device.granules(32));
    assert_eq!(error.allocated_bytes, device.granules(4));
    assert_eq!(error.snapshot.check(), Ok(()));
    let rest = device.filled(device.granules(28), stream, 2);
    assert!(device.holds(&kept, stream, 1) && device.holds(&rest, stream, 2));
    device.free(kept);
    device.free(rest);
    finish(device);
}

pub(crate) fn everything_free_goes_back<D: Device>(device: D) {
    let allocator = device.allocator();
    let kept = device.filled(device.granules(2), device.stream(1), 9);
    for on in 0..3 {
        let stream = device.stream(on);
        let blocks: Vec<_> =
            (0..4).map(|value| device.filled(device.granules(2), stream, value)).collect();
        blocks.into_iter().for_each(|block| device.free(block));
    }
    let reserved = allocator.reserved_bytes();
    let released = allocator.empty_cache().expect("the device answers");
    assert_eq!(allocator.reserved_bytes(), reserved - released);
    assert!(allocator.reserved_bytes() <= device.granules(8), "little more than what is live");
    assert!(device.holds(&kept, device.stream(1), 9));
    device.free(kept);
    finish(device);
}

pub(crate) fn private_pools_share_nothing<D: Device>(device: D) {
    let (allocator, stream) = (device.allocator(), device.stream(0));
    let pool = allocator.create_pool();
    let block = allocator.alloc_in(device.granules(10), stream, pool).expect("all is free");
    let address = block.ptr();
    device.fill(&block, stream, 1);
    device.free(block);
    let other = device.filled(device.granules(20), stream, 2);
    assert!(allocator.alloc(device.granules(5), stream).is_err(), "the pool's memory is its own");
    let block = allocator.alloc_in(device.granules(10), stream, pool).expect("it is free");
    assert_eq!(block.ptr(), address, "a private pool keeps its addresses");
    assert!(device.holds(&block, stream, 1), "and nobody else has written there");
    assert!(device.holds(&other, stream, 2));
    device.free(block);
    device.free(other);
    assert_eq!(allocator.drop_pool(pool), Ok(device.granules(10)));
    finish(device);
}
