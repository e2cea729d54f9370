//! Who held the memory at an earlier time, by the events since then.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};

use genesis_mem_profile::{EventKind, Memory, size_class_of};

use super::records::{RawEvent, RawLive, RawUsage};

/// A place in one kind of memory.
type Place = (Memory, u64);

/// The blocks that were live at `time_ns`: those that still are, and those that were freed since.
/// Where somebody freed a block whose allocation is no longer among the events, its stack is not
/// known.
pub(super) fn live_at(live: &[RawLive], events: &[RawEvent], time_ns: u64) -> Vec<RawLive> {
    let mut then: Vec<RawLive> =
        live.iter().copied().filter(|live| live.time_ns <= time_ns).collect();
    let mut events: Vec<&RawEvent> = events.iter().collect();
    events.sort_by_key(|event| event.time_ns);
    let mut open: HashMap<Place, &RawEvent> = HashMap::new();
    let mut free_then: HashSet<Place> = HashSet::new();
    for event in events {
        let place = (event.memory, event.address);
        match event.kind {
            EventKind::Alloc { .. } if event.time_ns <= time_ns => {
                open.insert(place, event);
            }
            EventKind::Alloc { .. } => {
                free_then.insert(place);
            }
            EventKind::Free if event.time_ns <= time_ns => {
                open.remove(&place);
            }
            // The first that is heard of a place since then tells how it was.
            EventKind::Free if free_then.insert(place) => {
                then.push(block(open.remove(&place).unwrap_or(event)));
            }
            _ => {}
        }
    }
    then
}

fn block(event: &RawEvent) -> RawLive {
    let is_alloc = matches!(event.kind, EventKind::Alloc { .. });
    RawLive {
        address: event.address,
        bytes: event.bytes,
        block_bytes: event.block_bytes,
        // Zero: it was there before.
        time_ns: if is_alloc { event.time_ns } else { 0 },
        stack: if is_alloc { event.stack } else { 0 },
        thread: event.thread,
        memory: event.memory,
        weight: event.weight,
    }
}

/// The sums over blocks, none of which is freed.
pub(super) fn usages(live: &[RawLive]) -> Vec<RawUsage> {
    let mut sums: HashMap<(Memory, u32, u32, u8), RawUsage> = HashMap::new();
    for live in live {
        let (memory, stack, thread) = (live.memory, live.stack, live.thread);
        let size_class = size_class_of(live.bytes);
        let sum = sums.entry((memory, stack, thread, size_class)).or_insert(RawUsage {
            memory,
            stack,
            thread,
            size_class,
            total_blocks: 0.0,
            total_bytes: 0.0,
            freed_blocks: 0.0,
            freed_bytes: 0.0,
            short_blocks: 0.0,
            lifetime_ns: 0.0,
            samples: 0,
        });
        let weight = f64::from(live.weight);
        sum.total_blocks += weight;
        sum.total_bytes += weight * live.bytes as f64;
        sum.samples += 1;
    }
    let mut sums: Vec<RawUsage> = sums.into_values().collect();
    sums.sort_by_key(|sum| (sum.memory, sum.stack, sum.thread, sum.size_class));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time_ns: u64, address: u64, stack: u32, is_alloc: bool) -> RawEvent {
        let kind = if is_alloc { EventKind::Alloc { hit: true } } else { EventKind::Free };
        let (bytes, block_bytes, thread, memory, weight) = (10, 16, 1, Memory::Host, 2.0);
        RawEvent { time_ns, address, bytes, block_bytes, stack, thread, kind, memory, weight }
    }

    #[test]
    fn blocks_that_were_freed_since_come_back() {
        let events = [
            event(10, 0xa, 1, true),
            event(20, 0xb, 2, true),
            event(30, 0xa, 0, false),
            event(35, 0xe, 0, false), // of before the first event
            event(40, 0xa, 3, true),
            event(50, 0xa, 0, false),
            event(60, 0xb, 0, false),
            event(70, 0xc, 4, true),
        ];
        let live = [block(&events[7])];
        let stacks = |time_ns| {
            let live = live_at(&live, &events, time_ns);
            let mut stacks: Vec<u32> = live.iter().map(|live| live.stack).collect();
            stacks.sort_unstable();
            stacks
        };
        assert_eq!(stacks(25), [0, 1, 2]);
        assert_eq!(stacks(32), [0, 2]);
        assert_eq!(stacks(45), [2, 3]);
        assert_eq!(stacks(65), [0; 0]);
        assert_eq!(stacks(99), [4]);
        let sums = usages(&live_at(&live, &events, 25));
        assert_eq!((sums.len(), sums[1].total_blocks, sums[1].total_bytes), (3, 2.0, 20.0));
    }
}
