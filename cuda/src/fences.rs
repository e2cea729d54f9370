//! Order between streams: fences, what they let go, and who waits for whom.
#![forbid(unsafe_code)]

use crate::{
    driver::{Driver, DriverError},
    heap::Heap,
    pool::{Batch, Pool, Progress},
    shared::Shared,
};

impl<D: Driver> Shared<D> {
    /// Makes the stream of `heap` wait, on the device, for the present end of other streams.
    pub(crate) fn wait_for(
        &self,
        pool: &mut Pool<D>,
        heap: &Heap,
        streams: u64,
    ) -> Result<(), DriverError> {
        for index in bits(streams & !heap.bit) {
            let fence = self.driver.record(self.streams.at(index))?;
            self.driver.wait(heap.stream, &fence)?;
            pool.counts.stream_waits += 1;
        }
        Ok(())
    }

    /// The bit of `heap`'s stream, unless it is known to be through with what was freed up to
    /// `stamp`.
    pub(crate) fn waits(&self, pool: &Pool<D>, heap: &Heap, stamp: u32) -> u64 {
        let passed = pool.progress[heap.index as usize].passed;
        if passed.wrapping_sub(stamp) as i32 >= 0 { 0 } else { heap.bit }
    }

    /// Records fences for what was freed since, asks the earlier ones, and takes back what they
    /// let go.
    pub(crate) fn settle(&self, pool: &mut Pool<D>) -> Result<(), DriverError> {
        let mut nodes = Vec::new();
        for heap in self.heaps() {
            let mut arena = heap.arena.lock();
            // Those that a captured stream uses wait until the capture has ended.
            let captured = |node: &mut (u32, u64)| node.1 & pool.captured == 0;
            let pending = arena.pending.extract_if(.., captured);
            nodes.extend(pending.into_iter().map(|(node, mask)| (heap.index, node, mask)));
        }
        if !nodes.is_empty() {
            let mask = nodes.iter().fold(0, |mask, (.., streams)| mask | streams);
            let fences = bits(mask).map(|index| self.driver.record(self.streams.at(index)));
            match fences.collect() {
                Ok(fences) => pool.batches.push_back(Batch { fences, nodes }),
                Err(error) => {
                    for (heap, node, mask) in nodes {
                        self.heap_at(heap).arena.lock().pending.push((node, mask));
                    }
                    return Err(error);
                }
            }
        }
        while let Some(batch) = pool.batches.front_mut() {
            while let Some(fence) = batch.fences.last() {
                if !self.driver.is_passed(fence)? {
                    break;
                }
                batch.fences.pop();
            }
            if !batch.fences.is_empty() {
                break;
            }
            for (heap, node, _) in pool.batches.pop_front().expect("looked at above").nodes {
                self.heap_at(heap).arena.lock().settle(node);
            }
        }
        Ok(())
    }

    /// Learns how far each stream is.
    pub(crate) fn advance(&self, pool: &mut Pool<D>) -> Result<(), DriverError> {
        for heap in self.heaps() {
            let clock = heap.arena.lock().clock;
            let Progress { fence, passed } = &mut pool.progress[heap.index as usize];
            if let Some((pending, stamp)) = fence
                && self.driver.is_passed(pending)?
            {
                (*passed, *fence) = (*stamp, None);
            }
            if fence.is_none() && *passed != clock && heap.bit & pool.captured == 0 {
                let new = self.driver.record(heap.stream)?;
                if self.driver.is_passed(&new)? {
                    *passed = clock;
                } else {
                    *fence = Some((new, clock));
                }
            }
        }
        Ok(())
    }

    /// Waits on the CPU for every stream, and takes back all that was freed before.
    ///
    /// Fences first: one that is recorded after the wait takes a moment to be passed, too.
    pub(crate) fn drain(&self, pool: &mut Pool<D>) -> Result<(), DriverError> {
        self.settle(pool)?;
        self.synchronize(pool)?;
        self.settle(pool)
    }

    /// Waits on the CPU for every stream that is known and not being captured.
    pub(crate) fn synchronize(&self, pool: &mut Pool<D>) -> Result<(), DriverError> {
        let clocks: Vec<u32> = self.heaps().map(|heap| heap.arena.lock().clock).collect();
        for (index, stream) in self.streams.iter().enumerate() {
            if pool.captured >> index & 1 == 0 {
                self.driver.synchronize(stream)?;
            }
        }
        for (heap, clock) in self.heaps().zip(clocks) {
            if heap.bit & pool.captured == 0 {
                let progress = &mut pool.progress[heap.index as usize];
                *progress = Progress { fence: None, passed: clock };
            }
        }
        Ok(())
    }
}

/// The positions of the bits set in `mask`.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        (mask != 0).then(|| {
            mask &= mask - 1;
            bit as usize
        })
    })
}
