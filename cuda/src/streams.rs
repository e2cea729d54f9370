//! Which streams an allocator has met, in the order in which it did. Read without any lock.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use crate::{driver::StreamId, error::AllocError, heap::MAX_STREAMS};

/// Streams by number; one keeps its number. Set from the front, never changed.
pub(crate) struct Streams([OnceLock<StreamId>; MAX_STREAMS]);

impl Streams {
    pub(crate) const fn new() -> Self {
        Self([const { OnceLock::new() }; MAX_STREAMS])
    }

    /// All of them, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = StreamId> {
        self.0.iter().map_while(|slot| slot.get().copied())
    }

    /// The stream with a number that was given out.
    pub(crate) fn at(&self, number: usize) -> StreamId {
        *self.0[number].get().expect("streams are numbered in order")
    }

    /// The number of a stream: its own, or the next one.
    pub(crate) fn number(&self, stream: StreamId) -> Result<usize, AllocError> {
        // Of two threads that come to a free slot at once, one sets it and the other goes on.
        let own = self.0.iter().position(|slot| *slot.get_or_init(|| stream) == stream);
        own.ok_or(AllocError::TooManyStreams { most: MAX_STREAMS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_has_one_number_whoever_asks() {
        let streams = Streams::new();
        let ask = |n| streams.number(StreamId(n)).unwrap();
        let numbers = |start| (0..MAX_STREAMS as u64).map(|n| ask((n + start) % 64)).collect();
        let found: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let threads = [0, 20, 40].map(|start| scope.spawn(move || numbers(start)));
            threads.map(|thread| thread.join().unwrap()).into()
        });
        for (start, numbers) in [0, 20, 40].into_iter().zip(found) {
            for (n, number) in numbers.into_iter().enumerate() {
                assert_eq!(streams.at(number), StreamId((n as u64 + start) % 64));
            }
        }
        assert_eq!(streams.iter().count(), MAX_STREAMS);
        let error = streams.number(StreamId(64)).unwrap_err();
        assert!(matches!(error, AllocError::TooManyStreams { most: MAX_STREAMS }), "{error}");
    }
}
