//! The last events of a shard, in chunks: the oldest chunk goes when no more may be had.
#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::Event;

/// Events of a chunk: 48 KiB.
pub(super) const CHUNK: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Ring {
    chunks: VecDeque<Vec<Event>>,
    lost: u64,
    /// The time of the last event that is lost.
    lost_until_ns: u64,
}

impl Ring {
    /// Adds an event. More room is taken from `budget`, which counts chunks.
    pub(super) fn push(&mut self, event: Event, budget: &AtomicUsize) {
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK) {
            let chunk = self.room(budget);
            self.chunks.push_back(chunk);
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(event);
        }
    }

    /// An empty chunk: a new one, or the oldest.
    fn room(&mut self, budget: &AtomicUsize) -> Vec<Event> {
        let take = |left: usize| left.checked_sub(1);
        let granted = budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if granted {
            return Vec::with_capacity(CHUNK);
        }
        match self.chunks.pop_front() {
            None => Vec::with_capacity(CHUNK),
            Some(mut oldest) => {
                self.lost += oldest.len() as u64;
                self.lost_until_ns = oldest.last().map_or(0, |event| event.time_ns);
                oldest.clear();
                oldest
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.chunks.iter().flatten()
    }

    /// How many events are lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// From when on none is.
    pub(super) fn complete_from_ns(&self) -> u64 {
        if self.lost > 0 { self.lost_until_ns + 1 } else { 0 }
    }
}
