//! What happened, event by event, and where everything lay at the end.
#![forbid(unsafe_code)]

use crate::{Event, Mark, Memory, Point, Sampling, Segment, StackId, Stacks, Timeline, clock};

/// Levels of one kind of memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Asked for by whoever holds it.
    pub live_bytes: u64,
    /// Of the blocks that hold it.
    pub allocated_bytes: u64,
    /// Held by the allocator.
    pub reserved_bytes: u64,
}

impl Level {
    /// Held and in no live block: free, or waiting for other streams.
    pub const fn cached_bytes(&self) -> u64 {
        self.reserved_bytes.saturating_sub(self.allocated_bytes)
    }
}

/// Events in order of time, from [`begin_ns`](Self::begin_ns) on without a gap.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recording {
    /// Where in the code.
    pub stacks: Stacks,
    /// The time of day at time zero, nanoseconds since 1970.
    pub epoch_ns: u64,
    /// When the recording began, or what is lost of it ended.
    pub begin_ns: u64,
    /// When it ended, or when it was read.
    pub end_ns: u64,
    /// All events, by time.
    pub events: Vec<Event>,
    /// How many events are lost, because the memory for them is bounded: the earliest.
    pub lost_events: u64,
    /// What the program said, by time.
    pub marks: Vec<Mark>,
    /// The levels at the end.
    pub end: Vec<(Memory, Level)>,
    /// Levels that were noted at times, beside the events, by time.
    pub levels: Vec<(Memory, Point)>,
    /// How blocks were chosen whose events are here; `None` where these are all.
    pub sampling: Option<Sampling>,
    /// Where everything lies at the end; empty where nobody looked.
    pub segments: Vec<Segment>,
    /// From when on no event is lost.
    pub(crate) complete_from_ns: u64,
}

impl Default for Recording {
    /// Nothing yet; recorders are read into it.
    fn default() -> Self {
        Self {
            stacks: Stacks::default(),
            epoch_ns: clock::epoch_ns(),
            begin_ns: u64::MAX,
            end_ns: clock::now_ns(),
            events: Vec::new(),
            lost_events: 0,
            marks: Vec::new(),
            end: Vec::new(),
            levels: Vec::new(),
            sampling: None,
            segments: Vec::new(),
            complete_from_ns: 0,
        }
    }
}

impl Recording {
    /// Puts the events in order, and drops those from before the last gap. Whoever reads several
    /// recorders calls it at the end.
    pub fn finish(&mut self) {
        // Where nobody recorded there is the end alone.
        self.begin_ns = self.begin_ns.min(self.end_ns).max(self.complete_from_ns);
        // Stable: events of one recorder's part keep their order.
        self.events.sort_by_key(|event| event.time_ns);
        let complete = self.events.partition_point(|event| event.time_ns < self.begin_ns);
        self.lost_events += complete as u64;
        self.events.drain(..complete);
        self.marks.sort_by_key(|mark| mark.time_ns);
        self.levels.sort_by_key(|(_, point)| point.time_ns);
    }

    /// Forgets what was before `begin_ns`.
    pub fn begin_at(&mut self, begin_ns: u64) {
        self.begin_ns = self.begin_ns.max(begin_ns).min(self.end_ns);
        let begin_ns = self.begin_ns;
        self.events.retain(|event| event.time_ns >= begin_ns);
        self.marks.retain(|mark| mark.time_ns >= begin_ns);
        self.levels.retain(|(_, point)| point.time_ns >= begin_ns);
    }

    /// Forgets where in the code everything was, where that means nothing to whoever reads it.
    pub fn forget_stacks(&mut self) {
        self.stacks = Stacks::default();
        self.events.iter_mut().for_each(|event| event.stack = StackId::UNKNOWN);
        let areas = self.segments.iter_mut().flat_map(|segment| &mut segment.areas);
        areas.for_each(|area| area.stack = StackId::UNKNOWN);
    }

    /// The levels of one kind of memory at the end.
    pub fn end_of(&self, memory: Memory) -> Level {
        self.end.iter().find(|(of, _)| *of == memory).map_or_else(Level::default, |(_, at)| *at)
    }

    /// Live, reserved and cached bytes over time.
    pub fn timeline(&self, memory: Memory) -> Timeline {
        Timeline::of(self, memory)
    }
}
