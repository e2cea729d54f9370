//! What the program said of itself, as a recording has it.
#![forbid(unsafe_code)]

use super::{memory::List, shards::Shard};

/// The list, for who must lock it.
pub(super) static MARKS: Shard<List<u8>> = Shard::new(List::new());

/// How long all marks together may become, bytes.
const ROOM_BYTES: usize = 1 << 20;

/// Adds a mark, cut to 4 KiB; false where there is no more room.
pub(super) fn add(time_ns: u64, text: &str) -> bool {
    let mut cut = text.len().min(4096);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let text = &text[..cut];
    let padding = [0; 8];
    MARKS.with(|marks| {
        let before = marks.len();
        let padding = &padding[..(4 + text.len()).next_multiple_of(8) - (4 + text.len())];
        let is_added = before + 16 + text.len() <= ROOM_BYTES
            && marks.extend(&time_ns.to_le_bytes())
            && marks.extend(&(text.len() as u32).to_le_bytes())
            && marks.extend(text.as_bytes())
            && marks.extend(padding);
        if !is_added {
            marks.truncate(before);
        }
        is_added
    })
}

/// All marks; `None` where there is no memory.
pub(super) fn copy() -> Option<List<u8>> {
    MARKS.with(|marks| {
        let mut all = List::new();
        all.extend(marks).then_some(all)
    })
}
