//! A heap in a `static`, over memory in a `static`: what a program without an operating system
//! would do. It builds for bare targets too, since nothing but `main` is from `std`.

use core::{alloc::GlobalAlloc as _, alloc::Layout, ptr::addr_of_mut};

use genesis_mem_core::{
    arena::Arena,
    config::{Config, Fault},
    event::NoSink,
    shared_heap::SharedArena,
    static_backend::StaticBackend,
    sync::Spin,
};

/// What the device has to spare.
const MEMORY_BYTES: usize = 128 * 1024;
static mut MEMORY: [u8; MEMORY_BYTES] = [0; MEMORY_BYTES];
static BACKEND: StaticBackend = StaticBackend::empty();

struct Device;

impl Config for Device {
    type Backend = &'static StaticBackend;
    type Metadata = &'static StaticBackend;
    type Sink = NoSink;
    type Relax = Spin;
    const REGION_BYTES: usize = 96 * 1024;
    const GRANULE_BYTES: usize = 2048;
    const GROWTH_BYTES: usize = 16 * 1024;
    const MAX_HEAPS: usize = 1;

    fn secret() -> u64 {
        // A device with a source of randomness would ask it.
        0x9e37_79b9_7f4a_7c15
    }

    fn fault(fault: &Fault) {
        panic!("{fault}");
    }
}

// A real program would say `#[global_allocator]` here.
// SAFETY: a static does not move.
static HEAP: SharedArena<Device> =
    unsafe { SharedArena::new(Arena::new(&BACKEND, &BACKEND, NoSink)) };

fn main() {
    // SAFETY: nobody else refers to the memory.
    let lent = BACKEND.lend(unsafe { &mut *addr_of_mut!(MEMORY) });
    assert!(lent, "the memory is lent once");
    let layout = Layout::new::<[u32; 8]>();
    // SAFETY: the layout has a size, and the block is freed with it.
    unsafe {
        let block = HEAP.alloc(layout).cast::<[u32; 8]>();
        assert!(!block.is_null(), "128 KiB hold 32 bytes");
        block.write([7; 8]);
        assert_eq!((*block)[3], 7);
        HEAP.dealloc(block.cast(), layout);
    }
    let snapshot = HEAP.arena().snapshot(true);
    snapshot.check().expect("the sums hold");
    println!(
        "{} bytes reserved of {MEMORY_BYTES}, {} bytes of tables, {} allocation",
        snapshot.reserved_bytes.current, snapshot.metadata_bytes.current, snapshot.allocations
    );
}
