//! One suite for every device: what the allocator promises, checked by what is in the memory.
//!
//! A test names a device by its type; [`suite!`] makes a module of tests of it. Where there is no
//! such device the tests say that they skipped.
#![allow(dead_code, reason = "each test program uses a part of it")]

#[cfg(feature = "cudarc")]
pub(crate) mod buffers;
pub(crate) mod contents;
#[cfg(feature = "cudarc")]
pub(crate) mod cudarc;
pub(crate) mod limits;
pub(crate) mod order;
pub(crate) mod sim;

use genesis_mem_cuda::{
    Block, DeviceAllocator,
    driver::{Driver, StreamId},
};

/// The streams of a device.
pub(crate) const STREAMS: usize = 4;

/// A device with an allocator, and what can be seen of its memory.
pub(crate) trait Device: Sync + Sized {
    /// The driver below the allocator.
    type Driver: Driver;

    /// The device with an allocator that may hold `granules`; `None` where there is none.
    fn open(granules: u64) -> Option<Self>;

    /// The allocator.
    fn allocator(&self) -> &DeviceAllocator<Self::Driver>;

    /// One of its [`STREAMS`].
    fn stream(&self, number: usize) -> StreamId;

    /// Enqueues on a stream that the block gets a pattern that `value` names. Does not wait.
    fn fill(&self, block: &Block, on: StreamId, value: u32);

    /// Whether the block holds that pattern, in the order of a stream.
    fn holds(&self, block: &Block, on: StreamId, value: u32) -> bool;

    /// Frees the block in the order of its stream.
    fn free(&self, block: Block);

    /// Ends the allocator; nothing may be left of it, and nothing have gone wrong.
    fn close(self);

    /// Makes `later` come after all that is enqueued on `earlier`.
    fn order(&self, earlier: StreamId, later: StreamId) {
        let driver = self.allocator().driver();
        let fence = driver.record(earlier).expect("the device answers");
        driver.wait(later, &fence).expect("the device answers");
    }

    /// A number of granules in bytes.
    fn granules(&self, count: u64) -> u64 {
        count * self.allocator().driver().granularity_bytes()
    }

    /// A block with a pattern, if there is memory for it.
    fn filled(&self, bytes: u64, on: StreamId, value: u32) -> Block {
        let block = self.allocator().alloc(bytes, on).unwrap_or_else(|error| panic!("{error}"));
        self.fill(&block, on, value);
        block
    }
}

/// Gives all memory back, checks that this is all of it, and closes the device.
pub(crate) fn finish<D: Device>(device: D) {
    device.allocator().assert_valid();
    assert_eq!(device.allocator().memory_stats().allocated_bytes.current, 0);
    device.allocator().empty_cache().expect("the device answers");
    assert_eq!(device.allocator().reserved_bytes(), 0, "everything free goes back");
    device.close();
}

/// A module of tests of a device, see [`Device`]; with `buffers`, of one behind cudarc.
#[allow(unused_macros, reason = "as above")]
macro_rules! suite {
    ($name:ident, $device:ty, buffers) => {
        $crate::suite::suite! { $name, $device,
            buffers::copies_and_zeroes_go_where_they_should
            buffers::a_buffer_follows_its_uses
            buffers::a_graph_is_launched_from_memory_of_its_own
            buffers::too_many_devices_is_an_error
        }
    };
    ($name:ident, $device:ty) => {
        $crate::suite::suite! { $name, $device,
            contents::live_blocks_survive_moves
            contents::compaction_keeps_what_is_live
            contents::a_block_grows_in_place_with_its_contents
            contents::random_programs_keep_their_contents
            order::one_stream_reuses_without_waiting
            order::memory_changes_hands_in_order
            order::a_block_used_on_two_streams_waits_for_both
            order::threads_with_a_stream_each
            limits::too_much_is_an_error_with_numbers
            limits::everything_free_goes_back
            limits::private_pools_share_nothing
        }
    };
    ($name:ident, $device:ty, $($module:ident::$test:ident)*) => {
        mod $name {
            use $crate::suite::{self, Device};
            $(
                #[test]
                fn $test() {
                    if let Some(device) = <$device as Device>::open(suite::$module::GRANULES) {
                        suite::$module::$test(device);
                    }
                }
            )*
        }
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use suite;
