//! Levels over time.
#![forbid(unsafe_code)]

use crate::{Event, EventKind, Level, Mark, Memory, Recording};

/// The levels from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub time_ns: u64,
    /// The levels.
    pub level: Level,
}

/// Levels of one kind of memory over time. The last point is the state at the end, whatever was
/// lost before: levels are counted backwards from there. Where events are missing, as in a sample,
/// it consists of the levels that were noted at times.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeline {
    /// Which memory.
    pub memory: Memory,
    /// By time; at least one.
    pub points: Vec<Point>,
    /// What the program said meanwhile.
    pub marks: Vec<Mark>,
}

/// The levels before `event`, from those after it.
fn before(event: &Event, mut level: Level) -> Level {
    let Level { live_bytes, allocated_bytes, reserved_bytes } = &mut level;
    match event.kind {
        EventKind::Alloc { .. } => {
            *live_bytes = live_bytes.saturating_sub(event.bytes);
            *allocated_bytes = allocated_bytes.saturating_sub(event.block_bytes);
        }
        EventKind::Free => {
            *live_bytes = live_bytes.saturating_add(event.bytes);
            *allocated_bytes = allocated_bytes.saturating_add(event.block_bytes);
        }
        EventKind::Grow => *reserved_bytes = reserved_bytes.saturating_sub(event.bytes),
        EventKind::Purge => *reserved_bytes = reserved_bytes.saturating_add(event.bytes),
        _ => {}
    }
    level
}

impl Timeline {
    /// The timeline of a recording.
    pub fn of(recording: &Recording, memory: Memory) -> Self {
        let noted = || recording.levels.iter().filter(|(of, _)| *of == memory).map(|(_, at)| *at);
        let end = Point { time_ns: recording.end_ns, level: recording.end_of(memory) };
        let points = if recording.sampling.is_some() && noted().next().is_some() {
            noted().filter(|point| point.time_ns < end.time_ns).chain([end]).collect()
        } else {
            let told = Self::told(recording, memory, end);
            let begin_ns = recording.begin_ns;
            noted().take_while(|point| point.time_ns < begin_ns).chain(told).collect()
        };
        Self { memory, points, marks: recording.marks.clone() }
    }

    /// Counted backwards from the end by the events, which are all there are.
    fn told(recording: &Recording, memory: Memory, end: Point) -> Vec<Point> {
        let mut level = end.level;
        let mut points = vec![end];
        for event in recording.events.iter().rev().filter(|event| event.memory == memory) {
            let earlier = before(event, level);
            if earlier != level {
                points.push(Point { time_ns: event.time_ns, level });
                level = earlier;
            }
        }
        points.push(Point { time_ns: recording.begin_ns, level });
        points.reverse();
        points
    }

    /// The state at the end.
    pub fn end(&self) -> Level {
        self.points.last().map_or_else(Level::default, |point| point.level)
    }

    /// The most of each level.
    pub fn peak(&self) -> Level {
        self.points.iter().map(|point| point.level).reduce(most).unwrap_or_default()
    }

    /// The levels at a time; at the beginning those of all earlier times.
    pub fn at(&self, time_ns: u64) -> Level {
        let next = self.points.partition_point(|point| point.time_ns <= time_ns);
        let point = self.points.get(next.saturating_sub(1));
        point.map_or_else(Level::default, |point| point.level)
    }

    /// The same in at most about `count` points, each with the most of its time; the first and
    /// the last stay as they are.
    pub fn thinned(&self, count: usize) -> Self {
        let stride = self.points.len().div_ceil(count.max(1)).max(1);
        let thin = |points: &[Point]| {
            let level = points.iter().map(|point| point.level).reduce(most).unwrap_or_default();
            Point { time_ns: points[0].time_ns, level }
        };
        let points = match &self.points[..] {
            [first, between @ .., last] if stride > 1 => {
                let between = between.chunks(stride).map(thin);
                [*first].into_iter().chain(between).chain([*last]).collect()
            }
            points => points.to_vec(),
        };
        Self { points, marks: self.marks.clone(), ..*self }
    }

    /// When it begins.
    pub fn begin_ns(&self) -> u64 {
        self.points.first().map_or(0, |point| point.time_ns)
    }
}

fn most(a: Level, b: Level) -> Level {
    Level {
        live_bytes: a.live_bytes.max(b.live_bytes),
        allocated_bytes: a.allocated_bytes.max(b.allocated_bytes),
        reserved_bytes: a.reserved_bytes.max(b.reserved_bytes),
    }
}
