//! The state of a simulated device, and its checks.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

use super::{Fault, SimOptions, Violation};
use crate::driver::{DriverCall, DriverError, DriverResult, StreamId};

/// Positions of streams that are ordered before something.
pub(super) type Clock = HashMap<StreamId, u64>;

pub(super) fn join(clock: &mut Clock, other: &Clock) {
    for (&stream, &position) in other {
        let mine = clock.entry(stream).or_default();
        *mine = (*mine).max(position);
    }
}

#[derive(Default)]
pub(super) struct SimStream {
    pub(super) position: u64,
    pub(super) clock: Clock,
}

pub(super) struct Physical {
    pub(super) bytes: u64,
    pub(super) mappings: usize,
    /// Last uses by start offset.
    pub(super) uses: BTreeMap<u64, LastUse>,
}

#[derive(Clone)]
pub(super) struct LastUse {
    pub(super) end: u64,
    pub(super) block: u64,
    pub(super) live: bool,
    pub(super) by: Vec<(StreamId, u64)>,
}

/// A part of physical memory, and the mapping through which it was reached.
pub(super) struct Piece {
    pub(super) memory: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) mapping: u64,
}

pub(super) struct Mapping {
    pub(super) bytes: u64,
    pub(super) memory: u64,
    pub(super) last: Clock,
}

pub(super) struct Sim {
    pub(super) options: SimOptions,
    pub(super) used_bytes: u64,
    pub(super) peak_used_bytes: u64,
    pub(super) taken_bytes: u64,
    pub(super) next_address: u64,
    pub(super) next_handle: u64,
    pub(super) reservations: BTreeMap<u64, u64>,
    pub(super) physical: HashMap<u64, Physical>,
    pub(super) mappings: BTreeMap<u64, Mapping>,
    pub(super) registered: BTreeMap<usize, usize>,
    /// Copies from and to page-locked host memory, until the host has seen them pass.
    pub(super) host_uses: Vec<(Range<usize>, StreamId, u64)>,
    pub(super) streams: HashMap<StreamId, SimStream>,
    /// Streams that record their work instead of running it.
    pub(super) captured: HashSet<StreamId>,
    pub(super) host: Clock,
    pub(super) time: u64,
    pub(super) counts: [u64; DriverCall::COUNT],
    pub(super) cost_ns: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) broken: Option<DriverError>,
    pub(super) violations: Vec<Violation>,
}

impl Sim {
    /// The physical pieces behind an address range, and the first address that is not mapped, if
    /// any.
    pub(super) fn pieces(&self, at: u64, bytes: u64) -> (Vec<Piece>, Option<u64>) {
        let (mut pieces, mut next, end) = (Vec::new(), at, at + bytes.max(1));
        while next < end {
            let found = self.mappings.range(..=next).next_back();
            let Some((&start, mapping)) = found.filter(|(start, m)| next < **start + m.bytes)
            else {
                return (pieces, Some(next));
            };
            let to = end.min(start + mapping.bytes);
            pieces.push(Piece {
                memory: mapping.memory,
                from: next - start,
                to: to - start,
                mapping: start,
            });
            next = to;
        }
        (pieces, None)
    }

    /// Enqueues an operation: its position in the stream, and what is ordered before it.
    pub(super) fn step(&mut self, stream: StreamId) -> (u64, Clock) {
        self.time += 1;
        let state = self.streams.entry(stream).or_default();
        state.position += 1;
        if !self.options.checks {
            return (state.position, Clock::new());
        }
        join(&mut state.clock, &self.host);
        state.clock.insert(stream, state.position);
        (state.position, state.clock.clone())
    }

    pub(super) fn touch(&mut self, stream: StreamId, at: u64, bytes: u64, block: u64) {
        let (position, clock) = self.step(stream);
        if !self.options.checks {
            return;
        }
        let (pieces, missing) = self.pieces(at, bytes);
        if let Some(address) = missing {
            self.violations.push(Violation::NotMapped { stream, address });
        }
        for Piece { memory, from, to, mapping } in pieces {
            let last = &mut self.mappings.get_mut(&mapping).expect("found above").last;
            last.insert(stream, position);
            let physical = self.physical.get_mut(&memory).expect("mapped memory exists");
            let address = mapping + from;
            let now = LastUse { end: to, block, live: true, by: vec![(stream, position)] };
            let wrong = physical.use_range(from, now, &clock, address, stream);
            self.violations.extend(wrong);
        }
    }

    /// An operation uses memory as part of whatever block it is.
    pub(super) fn use_as_it_is(
        &mut self,
        stream: StreamId,
        position: u64,
        clock: &Clock,
        at: u64,
        bytes: u64,
    ) {
        if !self.options.checks || bytes == 0 {
            return;
        }
        let (pieces, missing) = self.pieces(at, bytes);
        if let Some(address) = missing {
            self.violations.push(Violation::NotMapped { stream, address });
        }
        for Piece { memory, from, to, mapping } in pieces {
            let last = &mut self.mappings.get_mut(&mapping).expect("found above").last;
            last.insert(stream, position);
            let physical = self.physical.get_mut(&memory).expect("mapped memory exists");
            if let Some((last, block)) = physical.join_use(from, to, (stream, position), clock) {
                let address = mapping + from;
                self.violations.push(Violation::ReusedTooEarly { stream, last, address, block });
            }
        }
    }

    /// Whether host memory is page-locked.
    pub(super) fn is_registered(&self, at: usize, bytes: usize) -> bool {
        let found = self.registered.range(..=at).next_back();
        found.is_some_and(|(start, len)| at + bytes <= start + len)
    }

    /// Reports copies that may still use host memory in `range`.
    pub(super) fn check_host(&mut self, range: &Range<usize>) {
        let Self { host, host_uses, violations, .. } = self;
        host_uses.retain(|(_, stream, at)| host.get(stream).is_none_or(|seen| seen < at));
        let used = host_uses.iter().find(|(r, ..)| r.start < range.end && range.start < r.end);
        if let Some(&(ref in_use, stream, _)) = used {
            let address = in_use.start.max(range.start);
            violations.push(Violation::HostInUse { stream, address });
        }
    }

    /// Reports work that may still use the mapping at `address`, which is going.
    pub(super) fn check_out_of_use(&mut self, address: u64, last: &Clock) {
        for (&stream, &position) in last {
            if self.host.get(&stream).is_none_or(|&seen| seen < position) {
                self.violations.push(Violation::UnmappedInUse { stream, address });
            }
        }
    }

    /// Reports a call that the capture of `stream` forbids.
    pub(super) fn check_capture(&mut self, call: DriverCall, stream: StreamId) -> DriverResult<()> {
        if self.captured.contains(&stream) { Err(self.bad(call, stream.0, 0)) } else { Ok(()) }
    }

    pub(super) fn bad(&mut self, call: DriverCall, address: u64, bytes: u64) -> DriverError {
        self.violations.push(Violation::BadCall { call, address });
        DriverError::InvalidValue { call, address, bytes }
    }

    pub(super) fn take(&mut self, call: DriverCall, bytes: u64) -> DriverResult<()> {
        if self.used_bytes + self.taken_bytes + bytes > self.options.device_bytes {
            return Err(DriverError::OutOfMemory { call, bytes });
        }
        self.used_bytes += bytes;
        self.peak_used_bytes = self.peak_used_bytes.max(self.used_bytes);
        Ok(())
    }

    pub(super) fn place(&mut self, bytes: u64) -> u64 {
        let granularity = self.options.granularity_bytes;
        let at = self.next_address;
        // A gap behind each range, so that running over an end never finds a neighbour.
        self.next_address += bytes.next_multiple_of(granularity) + granularity;
        at
    }

    pub(super) fn create(&mut self, bytes: u64) -> u64 {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.physical.insert(handle, Physical { bytes, mappings: 0, uses: BTreeMap::new() });
        handle
    }
}

/// The block of uses that name none.
const UNNAMED: u64 = u64::MAX;

impl Physical {
    /// Notes a use and reports what it must not have followed.
    pub(super) fn use_range(
        &mut self,
        from: u64,
        mut now: LastUse,
        clock: &Clock,
        address: u64,
        stream: StreamId,
    ) -> Vec<Violation> {
        let (to, block, mut wrong) = (now.end, now.block, Vec::new());
        self.cut(from);
        self.cut(to);
        let before: Vec<u64> = self.uses.range(from..to).map(|(&start, _)| start).collect();
        for start in before {
            let last = self.uses.remove(&start).expect("listed above");
            if last.block == block {
                for (other, position) in last.by {
                    if !now.by.iter().any(|(stream, _)| *stream == other) {
                        now.by.push((other, position));
                    }
                }
                continue;
            }
            if last.live && wrong.is_empty() {
                wrong.push(Violation::Overlap { address, block: last.block });
            }
            for (other, position) in last.by {
                let ordered = clock.get(&other).is_some_and(|&seen| seen >= position);
                if !ordered && wrong.is_empty() {
                    let (last, block) = (other, last.block);
                    wrong.push(Violation::ReusedTooEarly { stream, last, address, block });
                }
            }
        }
        self.uses.insert(from, now);
        wrong
    }

    /// Notes a use by whatever block is there. Returns a last use that it must not have followed.
    pub(super) fn join_use(
        &mut self,
        from: u64,
        to: u64,
        by: (StreamId, u64),
        clock: &Clock,
    ) -> Option<(StreamId, u64)> {
        self.cut(from);
        self.cut(to);
        let (mut wrong, mut gaps, mut at) = (None, Vec::new(), from);
        let fresh = |end| LastUse { end, block: UNNAMED, live: false, by: vec![by] };
        for (&start, last) in self.uses.range_mut(from..to) {
            gaps.extend((at < start).then_some((at, start)));
            at = last.end;
            if last.live {
                last.by.retain(|(stream, _)| *stream != by.0);
                last.by.push(by);
                continue;
            }
            let late = |&&(stream, position): &&(StreamId, u64)| {
                clock.get(&stream).is_none_or(|&seen| seen < position)
            };
            wrong = wrong.or(last.by.iter().find(late).map(|(stream, _)| (*stream, last.block)));
            *last = fresh(last.end);
        }
        gaps.extend((at < to).then_some((at, to)));
        self.uses.extend(gaps.into_iter().map(|(start, end)| (start, fresh(end))));
        wrong
    }

    /// Makes a last use that spans `at` end there and another begin.
    pub(super) fn cut(&mut self, at: u64) {
        if let Some((_, last)) = self.uses.range_mut(..at).next_back()
            && last.end > at
        {
            let tail = last.clone();
            last.end = at;
            self.uses.insert(at, tail);
        }
    }
}
