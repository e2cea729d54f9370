//! Writes recordings as the profiler does, for tests of the reader.
#![allow(dead_code, reason = "each test uses a part of it")]

/// The kinds of section.
pub(crate) mod kind {
    pub(crate) const HEADER: u32 = 1;
    pub(crate) const MAPS: u32 = 2;
    pub(crate) const STACKS: u32 = 3;
    pub(crate) const USAGES: u32 = 4;
    pub(crate) const LIVE: u32 = 5;
    pub(crate) const EVENTS: u32 = 6;
    pub(crate) const MARKS: u32 = 7;
    pub(crate) const STATS: u32 = 8;
    pub(crate) const SPANS: u32 = 9;
    pub(crate) const LEVELS: u32 = 10;
    pub(crate) const END: u32 = 255;
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Header {
    pub(crate) full: bool,
    pub(crate) interval_bytes: u64,
    pub(crate) epoch_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) baseline_ns: u64,
    pub(crate) lost_events: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) memory: u32,
    pub(crate) stack: u32,
    pub(crate) thread: u32,
    pub(crate) size_class: u32,
    /// Total blocks and bytes, freed blocks and bytes, short-lived blocks, lifetime.
    pub(crate) sums: [f64; 6],
    pub(crate) samples: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) block_bytes: u64,
    pub(crate) time_ns: u64,
    pub(crate) stack: u32,
    pub(crate) memory: u32,
    pub(crate) weight: f32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) time_ns: u64,
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) block_bytes: u64,
    pub(crate) stack: u32,
    pub(crate) kind: u16,
    pub(crate) weight: f32,
}

/// A recording that grows section by section.
#[derive(Clone, Debug)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    pub(crate) fn new() -> Self {
        Self(b"GENMEM\0\x01".to_vec())
    }

    pub(crate) fn section(mut self, kind: u32, payload: &[u8]) -> Self {
        self.0.extend(kind.to_le_bytes());
        self.0.extend(1u32.to_le_bytes());
        self.0.extend((payload.len() as u64).to_le_bytes());
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }

    pub(crate) fn header(self, header: Header, command: &[&str]) -> Self {
        let Header { full, interval_bytes, epoch_ns, end_ns, baseline_ns, lost_events } = header;
        let numbers = [
            4711,
            1,
            u64::from(full),
            interval_bytes,
            epoch_ns,
            10,
            end_ns,
            baseline_ns,
            lost_events,
            0,
            1 << 20,
        ];
        let mut payload: Vec<u8> = numbers.iter().flat_map(|n: &u64| n.to_le_bytes()).collect();
        payload.extend(command.iter().flat_map(|word| word.bytes().chain([0])));
        self.section(kind::HEADER, &payload)
    }

    pub(crate) fn stacks(self, stacks: &[(u32, &[u64])]) -> Self {
        let mut payload = Vec::new();
        for (id, addresses) in stacks {
            payload.extend(id.to_le_bytes());
            payload.extend((addresses.len() as u32).to_le_bytes());
            payload.extend(addresses.iter().flat_map(|address| address.to_le_bytes()));
        }
        self.section(kind::STACKS, &payload)
    }

    pub(crate) fn usages(self, usages: &[Usage]) -> Self {
        let mut payload = Vec::new();
        for usage in usages {
            for number in [usage.memory, usage.stack, usage.thread, usage.size_class] {
                payload.extend(number.to_le_bytes());
            }
            payload.extend(usage.sums.iter().flat_map(|sum| sum.to_le_bytes()));
            payload.extend([usage.samples, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
        }
        self.section(kind::USAGES, &payload)
    }

    pub(crate) fn live(self, blocks: &[Live]) -> Self {
        let mut payload = Vec::new();
        for live in blocks {
            for number in [live.address, live.bytes, live.block_bytes, live.time_ns] {
                payload.extend(number.to_le_bytes());
            }
            for number in [live.stack, 1, live.memory] {
                payload.extend(number.to_le_bytes());
            }
            payload.extend(live.weight.to_le_bytes());
        }
        self.section(kind::LIVE, &payload)
    }

    pub(crate) fn events(self, events: &[Event]) -> Self {
        let mut payload = Vec::new();
        for event in events {
            for number in [event.time_ns, event.address, event.bytes, event.block_bytes] {
                payload.extend(number.to_le_bytes());
            }
            payload.extend([event.stack, 1].iter().flat_map(|n| n.to_le_bytes()));
            payload.extend([event.kind, 0].iter().flat_map(|n| n.to_le_bytes()));
            payload.extend(event.weight.to_le_bytes());
        }
        self.section(kind::EVENTS, &payload)
    }

    pub(crate) fn mark(self, time_ns: u64, label: &str) -> Self {
        let mut payload = time_ns.to_le_bytes().to_vec();
        payload.extend((label.len() as u32).to_le_bytes());
        payload.extend(label.bytes());
        payload.resize(payload.len().next_multiple_of(8), 0);
        self.section(kind::MARKS, &payload)
    }

    /// Address, bytes, used bytes, kind, bytes of a block.
    pub(crate) fn spans(self, spans: &[(u64, u64, u64, u32, u32)]) -> Self {
        let mut payload = Vec::new();
        for &(address, bytes, used_bytes, kind, block_bytes) in spans {
            payload.extend([address, bytes, used_bytes].iter().flat_map(|n| n.to_le_bytes()));
            payload.extend([kind, block_bytes].iter().flat_map(|n| n.to_le_bytes()));
        }
        self.section(kind::SPANS, &payload)
    }

    /// Time, live, allocated and reserved bytes.
    pub(crate) fn levels(self, levels: &[[u64; 4]]) -> Self {
        let payload: Vec<u8> = levels.iter().flatten().flat_map(|n| n.to_le_bytes()).collect();
        self.section(kind::LEVELS, &payload)
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.section(kind::END, &[]).0
    }
}
