//! Who hears what arenas of the host report: the purger, and the profiler.
#![forbid(unsafe_code)]

use genesis_mem_core::event::{Event, EventKind, EventSink, Sample};

use crate::{purger, sampler};

/// Which memory an arena hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// That of [`Genesis`](crate::Genesis).
    Host = 0,
    /// That of some [`Pinned`](crate::Pinned), which stays resident.
    Pinned = 1,
}

/// Wakes the purger when memory comes free, and tells the profiler of samples.
#[derive(Debug)]
pub(crate) struct Sink(pub(crate) Memory);

impl EventSink for Sink {
    const ENABLED: bool = true;
    const SAMPLES: bool = true;

    #[inline]
    fn record(&self, event: Event) {
        if matches!(event.kind, EventKind::SpanReturned | EventKind::BlocksOffered) {
            if self.0 == Memory::Host {
                purger::wake();
            }
        } else if sampler::is_on() {
            sampler::note(self.0, &event);
        }
    }

    #[inline]
    fn sampling(&self) -> u32 {
        sampler::sampling()
    }

    #[unsafe(link_section = "genesis_mem_slow")]
    fn draw(&self, block_bytes: usize, random: u64) -> u64 {
        sampler::draw(block_bytes, random)
    }

    fn sample_taken(&self, sample: &Sample) {
        sampler::taken(self.0, sample);
    }

    fn sample_freed(&self, address: usize) {
        sampler::freed(address);
    }

    fn sample_resized(&self, address: usize, bytes: usize) {
        sampler::resized(address, bytes);
    }

    fn sample_missed(&self, _bytes: usize) {
        sampler::missed();
    }
}
