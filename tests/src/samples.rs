//! A sink that samples every few allocations, and keeps book of the samples.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use genesis_mem_core::event::{Event, EventSink, NoSink, Sample};

/// A sink that can be made from nothing.
pub trait TestSink: EventSink + Default {
    /// The samples whose blocks are live.
    fn live(&self) -> Vec<Sample> {
        Vec::new()
    }

    /// Switches sampling: off, if it is on, else on.
    fn switch(&self) {}
}

impl TestSink for NoSink {}

/// Samples a third of small blocks and half of large ones, from the start.
#[derive(Debug)]
pub struct Sampling {
    /// Odd while sampling is on.
    switched: AtomicU32,
    live: Mutex<BTreeMap<usize, Sample>>,
    /// How many samples were taken.
    pub taken: AtomicU64,
    /// How many could not be.
    pub missed: AtomicU64,
}

impl Default for Sampling {
    fn default() -> Self {
        let (taken, missed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { switched: AtomicU32::new(1), live: Mutex::default(), taken, missed }
    }
}

impl TestSink for Sampling {
    fn live(&self) -> Vec<Sample> {
        self.live.lock().unwrap().values().copied().collect()
    }

    fn switch(&self) {
        self.switched.fetch_add(1, Relaxed);
    }
}

impl EventSink for Sampling {
    const ENABLED: bool = false;
    const SAMPLES: bool = true;

    fn record(&self, _event: Event) {}

    fn sampling(&self) -> u32 {
        let switched = self.switched.load(Relaxed);
        if switched % 2 == 1 { switched } else { 0 }
    }

    fn draw(&self, block_bytes: usize, random: u64) -> u64 {
        assert!(block_bytes > 0);
        if self.sampling() == 0 { 7 } else { random % 5 % 3 }
    }

    fn sample_taken(&self, sample: &Sample) {
        assert!(sample.bytes <= sample.block_bytes, "{sample:?}");
        let before = self.live.lock().unwrap().insert(sample.address, *sample);
        assert_eq!(before, None, "a block was sampled twice");
        self.taken.fetch_add(1, Relaxed);
    }

    fn sample_freed(&self, address: usize) {
        let known = self.live.lock().unwrap().remove(&address);
        assert!(known.is_some(), "a free of what is no sample");
    }

    fn sample_resized(&self, address: usize, bytes: usize) {
        let mut live = self.live.lock().unwrap();
        live.get_mut(&address).expect("the sample is live").bytes = bytes;
    }

    fn sample_missed(&self, _bytes: usize) {
        self.missed.fetch_add(1, Relaxed);
    }
}
