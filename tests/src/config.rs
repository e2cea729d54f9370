//! Arenas for tests: small ones, so that every limit is near, whose faults are noted instead of
//! ending the program.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use genesis_mem_core::{
    config::{Config, Fault},
    event::NoSink,
    static_backend::StaticBackend,
    sync::Spin,
};

use crate::{
    backend::FaultingBackend,
    samples::{Sampling, TestSink},
};

thread_local! {
    static FAULTS: RefCell<Vec<Fault>> = const { RefCell::new(Vec::new()) };
}

/// The faults that were reported on this thread since the last call.
pub fn take_faults() -> Vec<Fault> {
    FAULTS.with_borrow_mut(std::mem::take)
}

fn note(fault: &Fault) {
    FAULTS.with_borrow_mut(|faults| faults.push(*fault));
}

const SECRET: u64 = 0x5eed_5eed_5eed_5eed;

/// A configuration over a backend that can be made from nothing much.
pub trait TestConfig: Config<Sink: TestSink> {
    /// A fresh backend for blocks and one for tables, which may be the same, and the handle by
    /// which a test makes them refuse.
    fn backends() -> (Self::Backend, Self::Metadata, FaultingBackend<true>);
}

macro_rules! configuration {
    ($(#[$doc:meta])* $name:ident, $zeroed:literal, $region:expr, $granule:expr, $growth:expr, $sink:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Config for $name {
            type Backend = FaultingBackend<$zeroed>;
            type Metadata = FaultingBackend<true>;
            type Sink = $sink;
            type Relax = Spin;
            const REGION_BYTES: usize = $region;
            const GRANULE_BYTES: usize = $granule;
            const GROWTH_BYTES: usize = $growth;
            const MAX_HEAPS: usize = 8;

            fn secret() -> u64 {
                SECRET
            }

            fn fault(fault: &Fault) {
                note(fault);
            }
        }

        impl TestConfig for $name {
            fn backends() -> (Self::Backend, Self::Metadata, FaultingBackend<true>) {
                let handle = FaultingBackend::<true>::new();
                (handle.twin(), handle.clone(), handle)
            }
        }
    };
}

configuration!(
    /// Granules of a page: many slabs, early exhaustion.
    Small, true, 2 << 20, 4096, 64 * 1024, NoSink
);
configuration!(
    /// The same over memory that comes back dirty: nothing reads as zero by itself.
    Dirty, false, 2 << 20, 4096, 64 * 1024, NoSink
);
configuration!(
    /// The host's granules: every size class has slabs, and large blocks move by pages.
    Large, true, 64 << 20, 64 * 1024, 1 << 20, NoSink
);
configuration!(
    /// So many granules that lists of slabs grow long.
    Wide, true, 1 << 30, 4096, 16 << 20, NoSink
);

configuration!(
    /// As [`Small`] over dirty memory, with samples.
    SampledSmall, false, 2 << 20, 4096, 64 * 1024, Sampling
);
configuration!(
    /// As [`Large`], with samples.
    SampledLarge, true, 64 << 20, 64 * 1024, 1 << 20, Sampling
);

/// A configuration over lent memory, as a program without a system would have it.
#[derive(Debug)]
pub struct Lent;

impl Config for Lent {
    type Backend = &'static StaticBackend;
    type Metadata = &'static StaticBackend;
    type Sink = NoSink;
    type Relax = Spin;
    const REGION_BYTES: usize = 1 << 20;
    const GRANULE_BYTES: usize = 1024;
    const GROWTH_BYTES: usize = 16 * 1024;
    const MAX_HEAPS: usize = 4;

    fn secret() -> u64 {
        SECRET
    }

    fn fault(fault: &Fault) {
        note(fault);
    }
}

impl TestConfig for Lent {
    fn backends() -> (Self::Backend, Self::Metadata, FaultingBackend<true>) {
        let backend: &'static StaticBackend = Box::leak(Box::new(StaticBackend::empty()));
        assert!(backend.lend(across_4_gib()));
        (backend, backend, FaultingBackend::new())
    }
}

/// Memory, which leaks and is not zero, across a multiple of 4 GiB: a megabyte before and less behind, so
/// that a region of one megabyte lies across it, too.
fn across_4_gib() -> &'static mut [u8] {
    const BEFORE_BYTES: usize = 1 << 20;
    const BYTES: usize = BEFORE_BYTES + (3 << 18);
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    let multiples = std::iter::repeat_with(|| TRIED.fetch_add(1, Relaxed) + 1);
    // Addresses of programs have 47 bits.
    let places = multiples.take_while(|&multiple| multiple < 1 << 15).map(|multiple| {
        std::ptr::without_provenance_mut::<libc::c_void>((multiple << 32) - BEFORE_BYTES)
    });
    let mut memory = places.map(|place| {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: a new mapping, which takes no other's place.
        (place, unsafe { libc::mmap(place, BYTES, access, flags, -1, 0) })
    });
    let (_, memory) = memory
        .find(|(place, memory)| place == memory)
        .expect("one of 32,767 places is left; run fewer programs at a time");
    // SAFETY: just mapped, readable and writable, and nobody else's.
    let memory: &mut [u8] = unsafe { std::slice::from_raw_parts_mut(memory.cast(), BYTES) };
    memory.fill(0xa5);
    memory
}
