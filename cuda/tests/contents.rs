//! Transfers by what arrives, on a device that copies as late as it may.
mod common;
#[path = "common/lagging.rs"]
mod lagging;

use common::{Random, stream};
use genesis_mem_cuda::{
    Builder, DeviceAllocator, DeviceBuffer, DeviceVec, Options, PinnedBuffer, PinnedPool,
};
use lagging::Lagging;

const MIB: usize = 1 << 20;

fn allocator(lag: u64) -> DeviceAllocator<Lagging> {
    Builder::new().build_on(Lagging::new(lag)).expect("the device answers")
}

fn pattern(len: usize, seed: u32) -> Vec<u32> {
    (0..len as u32).map(|i| i.wrapping_mul(2_654_435_761) ^ seed).collect()
}

#[test]
fn copies_arrive_whole_staged_and_straight() {
    for lag in [0, 1, 2, 5, u64::MAX] {
        let allocator = allocator(lag);
        for staged in [false, true] {
            allocator.enable_pinned_memory(staged);
            for len in [0, 1, 1000, 16 << 10, (16 << 10) + 1, MIB, MIB + 1, 5 * MIB + 3] {
                let values = pattern(len, 7);
                let mut buffer = DeviceBuffer::new(&allocator, len, &stream(1)).unwrap();
                {
                    let mut source = values.clone();
                    buffer.copy_from_host(&source).unwrap();
                    source.fill(0);
                }
                assert!(buffer.to_vec().unwrap() == values, "lag {lag}, staged {staged}, {len}");
                let mut part = vec![0; len / 2];
                buffer.copy_to_host(&mut part).unwrap();
                assert!(part == values[..len / 2]);
            }
        }
        allocator.assert_valid();
    }
}

#[test]
fn staged_copies_of_several_streams_share_the_pieces() {
    let allocator = allocator(9);
    allocator.enable_pinned_memory(true);
    let mut random = Random(3);
    let mut buffers: Vec<_> = (0..4)
        .map(|on| {
            (DeviceBuffer::<u32, _>::new(&allocator, 2 * MIB + 9, &stream(on)).unwrap(), vec![])
        })
        .collect();
    for round in 0..30 {
        let (buffer, expected) = &mut buffers[random.below(4) as usize];
        let len = random.below(2 * MIB as u64) as usize;
        *expected = pattern(len, round);
        buffer.copy_from_host(expected).unwrap();
        let (buffer, expected) = &buffers[random.below(4) as usize];
        let mut found = vec![0; expected.len()];
        buffer.copy_to_host(&mut found).unwrap();
        assert!(found == *expected, "round {round}");
    }
    allocator.pinned_pool().unwrap().assert_valid();
    assert!(allocator.pinned_pool().unwrap().reserved_bytes() <= 64 << 20);
}

#[test]
fn a_dropped_source_is_not_reused_before_its_copy() {
    for lag in [1, 4, u64::MAX] {
        let allocator = allocator(lag);
        let mut options = Options::default();
        options.limit_bytes = 8 << 20;
        let pool = PinnedPool::new(&allocator, options).unwrap();
        let mut targets = Vec::new();
        for seed in 0..64 {
            let mut source = PinnedBuffer::<u32, _>::new(&pool, 64 << 10).unwrap();
            source.as_mut_slice().copy_from_slice(&pattern(64 << 10, seed));
            let on = stream(u64::from(seed % 3));
            let mut target = DeviceBuffer::new(&allocator, 64 << 10, &on).unwrap();
            target.copy_from_pinned(&mut source).unwrap();
            targets.push(target);
        }
        for (target, seed) in targets.iter().zip(0..) {
            assert!(target.to_vec().unwrap() == pattern(64 << 10, seed), "lag {lag}");
        }
        pool.assert_valid();
    }
}

#[test]
fn slices_wait_for_copies() {
    let allocator = allocator(u64::MAX);
    let pool = allocator.pinned_pool().unwrap();
    let values = pattern(1000, 1);
    let device = DeviceBuffer::from_slice(&allocator, &values, &stream(1)).unwrap();
    let mut host = PinnedBuffer::<u32, _>::new(pool, 1000).unwrap();
    host.as_mut_slice().fill(0);
    device.copy_to_pinned(&mut host).unwrap();
    assert_eq!(host.as_slice(), values);
    let mut other = DeviceBuffer::<u32, _>::new(&allocator, 1000, &stream(2)).unwrap();
    other.copy_from_pinned(&mut host).unwrap();
    host.as_mut_slice().fill(0);
    assert_eq!(other.to_vec().unwrap(), values, "the copy came first");
}

#[test]
fn a_vector_keeps_its_values_as_it_grows() {
    for (lag, staged) in [(0, false), (3, true), (u64::MAX, true)] {
        let allocator = allocator(lag);
        allocator.enable_pinned_memory(staged);
        let mut random = Random(9);
        let mut vectors: Vec<_> = (0..3)
            .map(|on| (DeviceVec::<u32, _>::new(&allocator, &stream(on)).unwrap(), vec![]))
            .collect();
        for round in 0..120 {
            let (vector, expected) = &mut vectors[random.below(3) as usize];
            let more = pattern(random.size(15) as usize, round);
            vector.extend_from_slice(&more).unwrap();
            expected.extend(more);
        }
        for (vector, expected) in &vectors {
            assert!(vector.to_vec().unwrap() == *expected, "lag {lag}");
        }
        allocator.assert_valid();
    }
}
