//! Looking after the cache without being told: what a program keeps needing stays, what it has
//! stopped needing goes back.
//!
//! Every so many frees somebody looks. Of each heap the pool knows how much was needed at most
//! since the last look; what was free throughout is *idle*. Idle memory goes back once it has been
//! idle for as many looks in a row as the pool has patience, or at once where the device is nearly
//! full. Memory that is asked for again soon after it went back shows that the program comes back to
//! it: patience doubles.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::{
    driver::{Driver, DriverError},
    heap::Heap,
    pool::Pool,
    shared::Shared,
};

/// Looks in a row at first, and at most.
const PATIENCE: u32 = 2;
const MOST_PATIENCE: u32 = 256;
/// A device is nearly full where less than this part of it is free.
const NEARLY_FULL: u64 = 16;

/// What the pool has seen of a heap.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Looks in a row at which something was idle, and the least of it, bytes.
    looks: u32,
    idle_bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Upkeep {
    looks: u32,
    last: Instant,
    patience: u32,
    /// The look at which idle memory went back last.
    released: Option<u32>,
    seen: Vec<Seen>,
}

impl Upkeep {
    pub(crate) fn new() -> Self {
        Self {
            looks: 0,
            last: Instant::now(),
            patience: PATIENCE,
            released: None,
            seen: Vec::new(),
        }
    }

    /// Takes note of growth: if memory went back a moment ago, that was too early.
    pub(crate) fn grown(&mut self) {
        if let Some(look) = self.released
            && self.looks - look <= self.patience
        {
            self.released = None;
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
        }
    }

    /// How much of the idle bytes of a heap is to go back.
    fn due(&mut self, heap: &Heap, idle_bytes: u64, patience: u32) -> u64 {
        let index = heap.index as usize;
        if self.seen.len() <= index {
            self.seen.resize(index + 1, Seen::default());
        }
        let seen = &mut self.seen[index];
        if idle_bytes == 0 {
            *seen = Seen::default();
            return 0;
        }
        let least = if seen.looks == 0 { idle_bytes } else { seen.idle_bytes.min(idle_bytes) };
        *seen = Seen { looks: seen.looks + 1, idle_bytes: least };
        if seen.looks < patience { 0 } else { least }
    }
}

impl<D: Driver> Shared<D> {
    /// Has a look, unless somebody is busy with the pool or the last one was a moment ago.
    #[cold]
    pub(crate) fn look_after(&self) {
        let idle = Duration::from_millis(u64::from(self.options.idle_ms));
        if let Some(mut pool) = self.try_pool()
            && pool.upkeep.last.elapsed() >= idle
        {
            // A failure leaves everything where it is; a request will tell of it.
            let _ = self.look(&mut pool);
        }
    }

    fn look(&self, pool: &mut Pool<D>) -> Result<u64, DriverError> {
        let info = self.driver.memory_info()?;
        let nearly_full = info.free_bytes < info.total_bytes / NEARLY_FULL;
        pool.upkeep.last = Instant::now();
        pool.upkeep.looks += 1;
        let patience = if nearly_full { 1 } else { pool.upkeep.patience };
        let released = self.collect(pool, |upkeep, heap| {
            let idle_bytes = heap.arena.lock().idle_bytes(0);
            upkeep.due(heap, idle_bytes, patience)
        })?;
        if released > 0 {
            pool.upkeep.released = Some(pool.upkeep.looks);
        }
        Ok(released)
    }
}
