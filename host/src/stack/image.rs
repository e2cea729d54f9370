//! The head of a program or a library, as the linker wrote it and the loader mapped it.

use core::{ops::Range, slice};

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

    /// The first bytes of what tells one build from another.
    pub(super) fn build_id(self) -> Option<u64> {
        self.parts(PT_NOTE).find_map(|Range { mut start, end }| {
            while start.is_multiple_of(4) && start.saturating_add(size_of::<Note>() + 8) <= end {
                // SAFETY: the note is in its part of the module, and aligned.
                let note = unsafe { *(start as *const Note) };
                let contents = start + size_of::<Note>();
                if note.kind == BUILD_ID && note.name == *b"GNU\0" && note.bytes >= 8 {
                    // SAFETY: so are the first bytes of the contents.
                    return Some(unsafe { (contents as *const u64).read_unaligned() });
                }
                let name_bytes = (note.name_bytes as usize).next_multiple_of(4);
                let bytes = (note.bytes as usize).next_multiple_of(4);
                start += size_of::<Note>() - note.name.len() + name_bytes + bytes;
            }
            None
        })
    }
}
