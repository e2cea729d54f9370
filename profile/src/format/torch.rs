//! Memory snapshots as PyTorch writes them, for its memory_viz page and its tools.
//!
//! Pinned and host memory can be written in the same form. A block that changes its size where it
//! is appears as freed and allocated. A freed block counts as free at once, also where other
//! streams may still use it; the segments tell which do.

use std::io::{self, Write};

use rustc_hash::FxHashMap;

use super::pickle::Pickler;
use crate::{Area, AreaState, Event, EventKind, Memory, Recording, Segment, StackId, Stacks};

/// Writes the events of one kind of memory, and where everything lies at the end. About 40 bytes
/// an event.
///
/// # Errors
/// Those of `out`.
pub fn write(recording: &Recording, memory: Memory, out: impl Write) -> io::Result<()> {
    let pickler = Pickler::new(out)?;
    let Recording { stacks, epoch_ns, .. } = recording;
    let mut writer = Writer { pickler, stacks, epoch_ns: *epoch_ns, memo: FxHashMap::default() };
    writer.snapshot(recording, memory)?;
    writer.pickler.finish()
}

struct Writer<'r, W> {
    pickler: Pickler<W>,
    stacks: &'r Stacks,
    epoch_ns: u64,
    /// Stacks that were written.
    memo: FxHashMap<StackId, u32>,
}

impl<W: Write> Writer<'_, W> {
    fn snapshot(&mut self, recording: &Recording, memory: Memory) -> io::Result<()> {
        let segments = recording.segments.iter().filter(|segment| segment.memory == memory);
        let events = recording.events.iter().filter(|event| event.memory == memory);
        self.dict(|this| {
            this.key("segments")?;
            this.list(segments, |this, segment| this.segment(segment))?;
            this.key("device_traces")?;
            this.list([events], |this, events| {
                this.list(events.filter_map(actions).flatten(), |this, (action, event)| {
                    this.event(action, event)
                })
            })?;
            this.key("allocator_settings")?;
            this.dict(|this| this.text_of("backend", "genesis-mem"))
        })
    }

    fn segment(&mut self, segment: &Segment) -> io::Result<()> {
        let live = segment.bytes_in(AreaState::Live);
        let pending = segment.bytes_in(AreaState::Pending);
        let requested = segment.areas.iter().map(|area| area.requested_bytes).sum();
        self.dict(|this| {
            this.int("device", 0)?;
            this.int("address", segment.address)?;
            this.int("total_size", segment.bytes())?;
            this.int("allocated_size", live)?;
            this.int("active_size", live + pending)?;
            this.int("requested_size", requested)?;
            this.int("stream", segment.owner)?;
            this.text_of("segment_type", "large")?;
            this.key("segment_pool_id")?;
            this.pickler.pair(|pickler| {
                pickler.int(0)?;
                pickler.int(segment.pool.into())
            })?;
            this.key("blocks")?;
            this.list(&segment.areas, |this, area| this.block(area))
        })
    }

    fn block(&mut self, area: &Area) -> io::Result<()> {
        let state = match area.state {
            AreaState::Live => "active_allocated",
            AreaState::Pending => "active_pending_free",
            AreaState::Free => "inactive",
        };
        self.dict(|this| {
            this.int("address", area.address)?;
            this.int("size", area.bytes)?;
            this.int("requested_size", area.requested_bytes)?;
            this.text_of("state", state)?;
            this.key("frames")?;
            this.frames(area.stack)
        })
    }

    fn event(&mut self, action: &str, event: &Event) -> io::Result<()> {
        self.dict(|this| {
            this.text_of("action", action)?;
            match event.kind {
                EventKind::OutOfMemory => this.int("device_free", event.block_bytes)?,
                _ => this.int("addr", event.address)?,
            }
            this.int("size", event.bytes)?;
            this.int("stream", event.owner)?;
            this.int("time_us", (this.epoch_ns + event.time_ns) / 1000)?;
            this.key("frames")?;
            this.frames(event.stack)
        })
    }

    fn frames(&mut self, stack: StackId) -> io::Result<()> {
        if let Some(&at) = self.memo.get(&stack) {
            return self.pickler.again(at);
        }
        let frames = self.stacks.of(stack);
        self.list(frames, |this, frame| {
            this.dict(|this| {
                this.text_of("name", &frame.name())?;
                this.text_of("filename", &frame.file)?;
                this.int("line", frame.line.into())
            })
        })?;
        let at = self.pickler.remember()?;
        self.memo.insert(stack, at);
        Ok(())
    }

    fn dict(&mut self, entries: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        self.pickler.begin_dict()?;
        entries(self)?;
        self.pickler.end_dict()
    }

    fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut open = self.pickler.begin_list()?;
        for item in items {
            self.pickler.next(&mut open)?;
            each(self, item)?;
        }
        self.pickler.end_list(open)
    }

    fn key(&mut self, key: &str) -> io::Result<()> {
        self.pickler.text(key)
    }

    fn text_of(&mut self, key: &str, text: &str) -> io::Result<()> {
        self.pickler.text(key)?;
        self.pickler.text(text)
    }

    /// Numbers beyond those of Python's machine words are handles of no meaning here.
    fn int(&mut self, key: &str, value: u64) -> io::Result<()> {
        self.pickler.text(key)?;
        self.pickler.int(value as i64)
    }
}

/// What PyTorch calls an event; nothing of what it does not know.
fn actions(event: &Event) -> Option<impl Iterator<Item = (&'static str, &Event)>> {
    let names: &[&str] = match event.kind {
        EventKind::Alloc { .. } => &["alloc"],
        EventKind::Free => &["free_requested", "free_completed"],
        EventKind::Grow => &["segment_alloc"],
        EventKind::Purge => &["segment_free"],
        EventKind::OutOfMemory => &["oom"],
        EventKind::Move | EventKind::Collect | EventKind::Compact => return None,
    };
    Some(names.iter().map(move |&name| (name, event)))
}
