//! The recording file: `GENMEM`, a zero and a one; then sections, each with its kind, version and
//! length, padded to eight bytes; the last one is empty and says that the file is whole.
#![forbid(unsafe_code)]

use super::{copy::Copies, events};

const MAGIC: &[u8; 8] = b"GENMEM\0\x01";

/// The kinds of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    Header = 1,
    Maps = 2,
    Stacks = 3,
    Usages = 4,
    Live = 5,
    Events = 6,
    Marks = 7,
    Stats = 8,
    Levels = 10,
    End = 255,
}

/// Where a recording goes.
struct Out<'a> {
    send: &'a mut dyn FnMut(&[u8]) -> bool,
    is_sent: bool,
}

impl Out<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.is_sent = self.is_sent && (bytes.is_empty() || (self.send)(bytes));
    }

    /// Begins a section of `bytes` bytes.
    fn begin(&mut self, kind: Kind, bytes: usize) {
        let mut head = [0; 16];
        head[..4].copy_from_slice(&(kind as u32).to_le_bytes());
        head[4..8].copy_from_slice(&1_u32.to_le_bytes());
        head[8..].copy_from_slice(&(bytes as u64).to_le_bytes());
        self.bytes(&head);
    }

    fn pad(&mut self, bytes: usize) {
        self.bytes(&[0; 8][..bytes.next_multiple_of(8) - bytes]);
    }

    fn section(&mut self, kind: Kind, contents: &[u8]) {
        self.begin(kind, contents.len());
        self.bytes(contents);
        self.pad(contents.len());
    }
}

/// Sends a recording; false where a piece of it was refused.
pub(super) fn recording(copies: &Copies, send: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    let mut out = Out { send, is_sent: true };
    let (lost_events, events) = events::all();
    out.bytes(MAGIC);
    header(&mut out, copies, lost_events);
    out.section(Kind::Maps, &copies.maps);
    out.section(Kind::Stacks, bytemuck::cast_slice(&copies.stacks));
    out.section(Kind::Usages, bytemuck::cast_slice(&copies.usages));
    out.section(Kind::Live, bytemuck::cast_slice(&copies.live));
    out.begin(Kind::Events, events.len() * size_of_val(&events::NOTHING));
    let mut piece = [events::NOTHING; 128];
    let mut filled = 0;
    for event in events {
        piece[filled] = event;
        filled += 1;
        if filled == piece.len() {
            out.bytes(bytemuck::cast_slice(&piece));
            filled = 0;
        }
    }
    out.bytes(bytemuck::cast_slice(&piece[..filled]));
    out.section(Kind::Marks, &copies.marks);
    out.section(Kind::Stats, &copies.stats.0);
    out.section(Kind::Levels, bytemuck::cast_slice(&copies.levels));
    out.section(Kind::End, &[]);
    out.is_sent
}

fn header(out: &mut Out<'_>, copies: &Copies, lost_events: u64) {
    let header = &copies.header;
    let numbers = [
        header.pid,
        header.ppid,
        u64::from(header.is_full),
        header.interval_bytes,
        header.epoch_ns,
        header.begin_ns,
        header.end_ns,
        header.baseline_ns,
        lost_events,
        header.lost_samples,
        header.profiler_bytes,
    ];
    let bytes = size_of_val(&numbers) + copies.command_line.len();
    out.begin(Kind::Header, bytes);
    out.bytes(bytemuck::cast_slice(&numbers));
    out.bytes(&copies.command_line);
    out.pad(bytes);
}

#[cfg(target_endian = "big")]
compile_error!("recordings are little endian, and written as they lie in memory");
