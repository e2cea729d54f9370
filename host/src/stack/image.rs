//! The head of a program or a library, as the linker wrote it and the loader mapped it.

use core::{
    ops::Range,
    slice,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use libc::{Elf64_Ehdr, Elf64_Phdr, PT_GNU_EH_FRAME, PT_LOAD, PT_NOTE};

/// The head, and where the parts of the file are.
#[derive(Clone, Copy)]
pub(super) struct Image {
    start: usize,
    parts: &'static [Elf64_Phdr],
}

/// The head of a note: bytes of its name and of its contents, and what it is.
#[repr(C)]
#[derive(Clone, Copy)]
struct Note {
    name_bytes: u32,
    bytes: u32,
    kind: u32,
    name: [u8; 4],
}

const BUILD_ID: u32 = 3;

impl Note {
    /// Whether it says which build this is, in eight bytes at least.
    fn tells_build(&self) -> bool {
        self.kind == BUILD_ID && self.name == *b"GNU\0" && self.bytes >= 8
    }
}

/// No system has smaller pages.
const PAGE_BYTES: usize = 4096;

/// Where in their first pages the modules that were looked at last have their notes: the module's
/// start, and the offset, which a page's multiple leaves room for. It is not believed unread, so it
/// may be of a module that is gone.
static NOTES: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

/// The first bytes of what tells one build from another, of the module that starts at an address.
///
/// # Safety
/// - As for [`Image::at`].
pub(super) unsafe fn build_id(start: usize) -> Option<u64> {
    let known = &NOTES[(start >> 12 ^ start >> 16 ^ start >> 20) % NOTES.len()];
    let place = known.load(Relaxed);
    // SAFETY: the note was found in the first page, which can be read whatever module it is of.
    let is_note = place & !(PAGE_BYTES - 1) == start
        && start != 0
        && unsafe { (*(place as *const Note)).tells_build() };
    let place = if is_note {
        place
    } else {
        // SAFETY: forwarded.
        let place = unsafe { Image::at(start)? }.build_note()?;
        let end = place + size_of::<Note>() + size_of::<u64>();
        if start.is_multiple_of(PAGE_BYTES) && end <= start + PAGE_BYTES {
            known.store(place, Relaxed);
        }
        place
    };
    // SAFETY: the contents follow the note, and are of eight bytes at least.
    Some(unsafe { ((place + size_of::<Note>()) as *const u64).read_unaligned() })
}

impl Image {
    /// The image that starts at an address; `None` where there is nothing like it.
    ///
    /// # Safety
    /// - A module is mapped there, and stays as long as the image is used.
    pub(super) unsafe fn at(start: usize) -> Option<Self> {
        let head = start as *const Elf64_Ehdr;
        if !head.is_aligned() {
            return None;
        }
        // SAFETY: the first page of a module can be read.
        let head = unsafe { head.as_ref()? };
        let has_parts = head.e_phoff == size_of::<Elf64_Ehdr>() as u64;
        if !head.e_ident.starts_with(b"\x7fELF") || !has_parts {
            return None;
        }
        // SAFETY: the table follows the head, in the same part of the file.
        let parts = unsafe {
            let table = (start + size_of::<Elf64_Ehdr>()) as *const Elf64_Phdr;
            slice::from_raw_parts(table, head.e_phnum.into())
        };
        Some(Self { start, parts })
    }

    /// The addresses in memory of the parts of a kind.
    fn parts(self, kind: u32) -> impl Iterator<Item = Range<usize>> {
        let is = |kind| move |part: &&Elf64_Phdr| part.p_type == kind;
        let first = self.parts.iter().find(is(PT_LOAD)).map_or(0, |part| part.p_vaddr);
        self.parts.iter().filter(is(kind)).map(move |part| {
            let start = self.start.wrapping_add(part.p_vaddr.wrapping_sub(first) as usize);
            start..start.saturating_add(part.p_memsz as usize)
        })
    }

    /// All that is mapped.
    pub(super) fn addresses(self) -> Range<usize> {
        self.start..self.parts(PT_LOAD).map(|part| part.end).max().unwrap_or(self.start)
    }

    /// The address of `.eh_frame_hdr`.
    pub(super) fn tables(self) -> Option<usize> {
        self.parts(PT_GNU_EH_FRAME).next().map(|part| part.start)
    }

    /// The address of the note that tells one build from another.
    fn build_note(self) -> Option<usize> {
        self.parts(PT_NOTE).find_map(|Range { mut start, end }| {
            while start.is_multiple_of(4) && start.saturating_add(size_of::<Note>() + 8) <= end {
                // SAFETY: the note is in its part of the module, and aligned.
                let note = unsafe { *(start as *const Note) };
                if note.tells_build() {
                    return Some(start);
                }
                let name_bytes = (note.name_bytes as usize).next_multiple_of(4);
                let bytes = (note.bytes as usize).next_multiple_of(4);
                start += size_of::<Note>() - note.name.len() + name_bytes + bytes;
            }
            None
        })
    }
}
