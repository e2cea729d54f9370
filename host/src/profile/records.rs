//! The records of a recording, checked: what comes out of here adds up without overflow.
#![forbid(unsafe_code)]

use genesis_mem_profile::{EventKind, Memory};

use super::{
    error::ReadError,
    sections::{Cursor, Section, f32_at, f64_at, u16_at, u32_at, u64_at},
};

/// No address, size or sum of sizes is larger, bytes.
const MOST_BYTES: u64 = 1 << 56;
/// No time and no sum is larger.
const MOST: u64 = 1 << 61;
/// No sample stands for more blocks.
const MOST_BLOCKS: f32 = (1u64 << 40) as f32;

/// The beginning of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The process.
    pub pid: u64,
    /// The process that started it.
    pub ppid: u64,
    /// Whether each block was recorded, and not a sample of them.
    pub is_full: bool,
    /// One sample was taken each so many bytes, on average.
    pub interval_bytes: u64,
    /// The time of day at time zero, nanoseconds since 1970.
    pub epoch_ns: u64,
    /// When profiling was switched on, nanoseconds.
    pub begin_ns: u64,
    /// When the recording was written.
    pub end_ns: u64,
    /// What was live then is kept on purpose; zero where nobody said so.
    pub baseline_ns: u64,
    /// Events that there was no room for.
    pub lost_events: u64,
    /// Samples that there was no room for.
    pub lost_samples: u64,
    /// Memory of the profiler itself.
    pub profiler_bytes: u64,
    /// The program and its arguments.
    pub command: Vec<String>,
}

pub(super) fn header(section: Section<'_>) -> Result<Header, ReadError> {
    let Some((numbers, command)) = section.payload.split_first_chunk::<88>() else {
        return Err(section.broken(section.payload.len(), "it is too short"));
    };
    let number = |index: usize| u64_at(numbers, 8 * index);
    for index in 3..11 {
        if number(index) > MOST {
            return Err(section.broken(8 * index, "a number that cannot be"));
        }
    }
    let words = command.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    Ok(Header {
        pid: number(0),
        ppid: number(1),
        is_full: number(2) == 1,
        interval_bytes: number(3),
        epoch_ns: number(4),
        begin_ns: number(5),
        end_ns: number(6),
        baseline_ns: number(7),
        lost_events: number(8),
        lost_samples: number(9),
        profiler_bytes: number(10),
        command: words.map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
    })
}

/// The return addresses of a stack, the innermost first.
#[derive(Clone, Debug)]
pub(super) struct RawStack {
    pub(super) id: u32,
    pub(super) addresses: Vec<u64>,
}

pub(super) fn stacks(section: Section<'_>) -> Result<Vec<RawStack>, ReadError> {
    let mut stacks = Vec::new();
    section.each(|cursor| {
        let (id, frames) = (cursor.u32()?, cursor.u32()?);
        let addresses = cursor.take((frames as usize).checked_mul(8)?)?;
        let addresses = addresses.chunks_exact(8).map(|address| u64_at(address, 0));
        stacks.push(RawStack { id, addresses: addresses.collect() });
        Some(())
    })?;
    Ok(stacks)
}

/// Sums that may be estimates: of one kind of memory, stack, thread and size class.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawUsage {
    pub(super) memory: Memory,
    pub(super) stack: u32,
    pub(super) thread: u32,
    pub(super) size_class: u8,
    /// Blocks and bytes in total, those that were freed, those that lived shortly.
    pub(super) total_blocks: f64,
    pub(super) total_bytes: f64,
    pub(super) freed_blocks: f64,
    pub(super) freed_bytes: f64,
    pub(super) short_blocks: f64,
    pub(super) lifetime_ns: f64,
    pub(super) samples: u64,
}

pub(super) fn usages(section: Section<'_>) -> Result<Vec<RawUsage>, ReadError> {
    let mut usages = Vec::new();
    let mut sums = [0.0; 5];
    for (number, record) in section.records::<88>()?.iter().enumerate() {
        let broken = |reason| section.broken(number * 88, reason);
        let values: [f64; 6] = std::array::from_fn(|index| f64_at(record, 16 + 8 * index));
        if values.iter().any(|value| !value.is_finite() || *value < 0.0) {
            return Err(broken("a sum that is no number"));
        }
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        if sums.iter().any(|&sum| sum > MOST as f64) || u64_at(record, 64) > u64::from(u32::MAX) {
            return Err(broken("a sum that cannot be"));
        }
        usages.push(RawUsage {
            memory: memory(u32_at(record, 0)).ok_or_else(|| broken("unknown memory"))?,
            stack: u32_at(record, 4),
            thread: u32_at(record, 8),
            size_class: u32_at(record, 12).min(64) as u8,
            total_blocks: values[0],
            total_bytes: values[1],
            freed_blocks: values[2],
            freed_bytes: values[3],
            short_blocks: values[4],
            lifetime_ns: values[5],
            samples: u64_at(record, 64),
        });
    }
    Ok(usages)
}

/// A live block, or one that stands for several.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawLive {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) block_bytes: u64,
    pub(super) time_ns: u64,
    pub(super) stack: u32,
    pub(super) thread: u32,
    pub(super) memory: Memory,
    pub(super) weight: f32,
}

pub(super) fn live(section: Section<'_>) -> Result<Vec<RawLive>, ReadError> {
    let mut all = Vec::new();
    let mut sum_bytes = 0.0;
    for (number, record) in section.records::<48>()?.iter().enumerate() {
        let broken = |reason| section.broken(number * 48, reason);
        let live = RawLive {
            address: u64_at(record, 0),
            bytes: u64_at(record, 8),
            block_bytes: u64_at(record, 16),
            time_ns: u64_at(record, 24),
            stack: u32_at(record, 32),
            thread: u32_at(record, 36),
            memory: memory(u32_at(record, 40)).ok_or_else(|| broken("unknown memory"))?,
            weight: f32_at(record, 44),
        };
        if !(1.0..=MOST_BLOCKS).contains(&live.weight) {
            return Err(broken("a weight that cannot be"));
        }
        let bytes = live.bytes.max(live.block_bytes);
        sum_bytes += bytes as f64 * f64::from(live.weight);
        if live.address.max(bytes) > MOST_BYTES || sum_bytes > MOST as f64 {
            return Err(broken("an address or size that cannot be"));
        }
        all.push(live);
    }
    Ok(all)
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawEvent {
    pub(super) time_ns: u64,
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) block_bytes: u64,
    pub(super) stack: u32,
    pub(super) thread: u32,
    pub(super) kind: EventKind,
    pub(super) memory: Memory,
    pub(super) weight: f32,
}

pub(super) fn events(section: Section<'_>) -> Result<Vec<RawEvent>, ReadError> {
    let records = section.records::<48>()?;
    let mut events = Vec::with_capacity(records.len());
    for (number, record) in records.iter().enumerate() {
        let broken = |reason| section.broken(number * 48, reason);
        let time_ns = u64_at(record, 0);
        if time_ns > MOST {
            return Err(broken("a time that cannot be"));
        }
        if time_ns == 0 {
            // It was being written.
            continue;
        }
        let kind = match u16_at(record, 40) {
            kind @ (0 | 1) => EventKind::Alloc { hit: kind == 1 },
            2 => EventKind::Free,
            3 => EventKind::Grow,
            4 => EventKind::Purge,
            5 => EventKind::Move,
            6 => EventKind::Collect,
            7 => EventKind::Compact,
            8 => EventKind::OutOfMemory,
            // Of a later version.
            _ => continue,
        };
        let weight = f32_at(record, 44);
        if !(1.0..=MOST_BLOCKS).contains(&weight) {
            return Err(broken("a weight that cannot be"));
        }
        events.push(RawEvent {
            time_ns,
            address: u64_at(record, 8),
            bytes: u64_at(record, 16),
            block_bytes: u64_at(record, 24),
            stack: u32_at(record, 32),
            thread: u32_at(record, 36),
            kind,
            memory: memory(u16_at(record, 42).into()).ok_or_else(|| broken("unknown memory"))?,
            weight,
        });
    }
    Ok(events)
}

/// Times and labels.
pub(super) fn marks(section: Section<'_>) -> Result<Vec<(u64, String)>, ReadError> {
    let mut marks = Vec::new();
    section.each(|cursor: &mut Cursor<'_>| {
        let (time_ns, bytes) = (cursor.u64()?, cursor.u32()?);
        let label = cursor.take(bytes as usize)?;
        marks.push((time_ns.min(MOST), String::from_utf8_lossy(label).into_owned()));
        cursor.align();
        Some(())
    })?;
    Ok(marks)
}

/// What a span of the arena is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanKind {
    /// Free, and its pages were given back.
    Purged,
    /// Free.
    Dirty,
    /// Blocks of one size.
    Slab,
    /// One block.
    Large,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RawSpan {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) kind: SpanKind,
}

pub(super) fn spans(section: Section<'_>) -> Result<Vec<RawSpan>, ReadError> {
    let mut spans = Vec::new();
    let mut sum_bytes = 0;
    for (number, record) in section.records::<32>()?.iter().enumerate() {
        let (address, bytes) = (u64_at(record, 0), u64_at(record, 8));
        sum_bytes += bytes.min(MOST_BYTES);
        if address.max(bytes).max(sum_bytes) > MOST_BYTES {
            return Err(section.broken(number * 32, "an address or size that cannot be"));
        }
        let kind = match u32_at(record, 24) {
            0 => SpanKind::Purged,
            1 => SpanKind::Dirty,
            2 => SpanKind::Slab,
            3 => SpanKind::Large,
            // Of a later version.
            _ => continue,
        };
        let used_bytes = u64_at(record, 16).min(bytes);
        spans.push(RawSpan { address, bytes, used_bytes, kind });
    }
    Ok(spans)
}

/// Levels at a time: live, allocated, reserved.
pub(super) fn levels(section: Section<'_>) -> Result<Vec<(u64, [u64; 3])>, ReadError> {
    let records = section.records::<32>()?.iter().enumerate();
    let level = |(number, record): (usize, &[u8; 32])| {
        let levels = [u64_at(record, 8), u64_at(record, 16), u64_at(record, 24)];
        let time_ns = u64_at(record, 0);
        match levels.iter().any(|&bytes| bytes > MOST_BYTES) || time_ns > MOST {
            true => Err(section.broken(number * 32, "a level that cannot be")),
            false => Ok((time_ns, levels)),
        }
    };
    records.map(level).collect()
}

fn memory(number: u32) -> Option<Memory> {
    match number {
        0 => Some(Memory::Host),
        1 => Some(Memory::Pinned),
        _ => None,
    }
}
