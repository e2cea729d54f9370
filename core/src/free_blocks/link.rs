//! The links of chains: what the first word of a free block says.

use core::{
    ptr::NonNull,
    // What the model checker sees is the cell around the word.
    sync::atomic::{AtomicU64, Ordering},
};

use crate::sync::UnsafeCell;

/// Where a chain of free blocks goes on: the offset of a block in its slab, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Link(pub(super) u64);

impl Link {
    /// The end of a chain: beyond every offset.
    pub const END: Self = Self(Self::MAX_OFFSET_BYTES as u64);
    /// Slabs are shorter than this, bytes.
    pub const MAX_OFFSET_BYTES: usize = 1 << 24;

    /// To the block at `offset_bytes`.
    #[inline(always)]
    pub const fn to(offset_bytes: usize) -> Self {
        Self(offset_bytes as u64)
    }

    /// The offset of the block that the chain goes on with; meaningless at its end.
    #[inline(always)]
    pub const fn offset_bytes(self) -> usize {
        self.0 as usize
    }
}

/// How the links of a slab are written: where the next block lies, mixed with the slab's secret.
///
/// The secret makes a write after a free show as a chain that leaves the slab. The upper half of
/// all links of a slab is the same, since the slab lies within 4 GiB of addresses that have one upper
/// half, and so does what stands for the end: by it a block that is freed twice is told from data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    base: usize,
    secret: u64,
}

impl Key {
    /// Of a slab that starts at the address `base`. The top bit of `secret` is best set, so that ordinary data,
    /// zero above all, does not look like a link.
    pub const fn new(base: usize, secret: u64) -> Self {
        Self { base, secret }
    }

    /// What stands for the end of a chain: no block of the slab, nor beside it.
    const fn end(self) -> usize {
        self.base ^ Link::MAX_OFFSET_BYTES
    }

    /// Where a link leads.
    pub(super) const fn address(self, link: Link) -> usize {
        match link {
            Link::END => self.end(),
            _ => self.base.wrapping_add(link.offset_bytes()),
        }
    }

    /// The link that leads there.
    pub(super) const fn link_to(self, address: usize) -> Link {
        if address == self.end() { Link::END } else { Link(address.wrapping_sub(self.base) as u64) }
    }

    /// A link as a block has it.
    pub(crate) const fn word(self, link: Link) -> Word {
        Word(self.address(link) as u64 ^ self.secret)
    }

    /// A link to a block of the slab, as a block has it.
    #[inline(always)]
    pub(crate) fn to_block(self, block: NonNull<FreeBlock>) -> Word {
        Word(block.addr().get() as u64 ^ self.secret)
    }

    /// The link that a block has.
    pub(crate) const fn link(self, word: Word) -> Link {
        self.link_to((word.0 ^ self.secret) as usize)
    }

    /// The upper half of all links.
    pub(crate) const fn mark(self) -> u32 {
        ((self.base as u64 ^ self.secret) >> 32) as u32
    }

    /// Whether a slab of `bytes` bytes may start at the address `base`: all of it has the same upper half.
    pub(crate) const fn fits(base: usize, bytes: usize) -> bool {
        (base as u64 ^ (base + (bytes - 1)) as u64) >> 32 == 0
    }
}

/// Reads a word by an instruction that does nothing else: of such a one the processor foresees which
/// store it reads from, and goes on without waiting. The compiler would merge the reading and the mixing, were
/// it not for the atomic access, which costs nothing.
///
/// # Safety
/// - The word is readable, and nobody writes it meanwhile.
#[inline(always)]
pub(super) unsafe fn read_apart(word: *const u64) -> u64 {
    // SAFETY: forwarded; a word is aligned as an atomic one.
    unsafe { AtomicU64::from_ptr(word.cast_mut()) }.load(Ordering::Relaxed)
}

/// The first word of a free block: a link, mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Word(pub(super) u64);

impl Word {
    /// No link.
    pub(crate) const ZERO: Self = Self(0);
}

/// A free block of host memory: its first word is the link to the next, mixed by a [`Key`].
#[derive(Debug)]
#[repr(transparent)]
pub struct FreeBlock {
    link: UnsafeCell<u64>,
}

impl FreeBlock {
    /// A block outside any chain.
    #[cfg(not(genesis_loom))]
    pub const fn new() -> Self {
        Self { link: UnsafeCell::new(0) }
    }

    /// A block outside any chain.
    #[cfg(genesis_loom)]
    pub fn new() -> Self {
        Self { link: UnsafeCell::new(0) }
    }

    /// What follows this block.
    ///
    /// # Safety
    /// - The caller owns the block or the chain it is in.
    #[inline(always)]
    pub unsafe fn next(&self, key: Key) -> Link {
        // SAFETY: forwarded.
        key.link(unsafe { self.word() })
    }

    /// The link as it is kept.
    ///
    /// # Safety
    /// - The caller owns the block or the chain it is in.
    #[inline(always)]
    pub(super) unsafe fn word(&self) -> Word {
        // SAFETY: I1: nobody writes the link meanwhile.
        self.link.with(|link| Word(unsafe { read_apart(link) }))
    }

    /// Has `next` follow this block.
    ///
    /// # Safety
    /// - The caller owns the block, which is in no chain yet.
    #[inline(always)]
    pub unsafe fn set_next(&self, next: Link, key: Key) {
        // SAFETY: forwarded.
        unsafe { self.set_word(key.word(next)) };
    }

    /// Wipes the link of a block that leaves its chain.
    ///
    /// # Safety
    /// - The caller owns the block.
    #[inline(always)]
    pub unsafe fn wipe(&self) {
        // SAFETY: forwarded.
        unsafe { self.set_word(Word::ZERO) };
    }

    /// Whether the block looks free: its first word may be a link of a slab with this
    /// [mark](Key::mark).
    ///
    /// # Safety
    /// - The block lies in committed memory.
    #[inline(always)]
    pub(crate) unsafe fn looks_free(&self, mark: u32) -> bool {
        let index = usize::from(cfg!(target_endian = "little"));
        // SAFETY: I1: as in `word`; the word has two halves.
        self.link.with(|link| unsafe { *link.cast::<u32>().add(index) }) == mark
    }

    /// Replaces the link.
    ///
    /// # Safety
    /// - The caller owns the block.
    #[inline(always)]
    pub(crate) unsafe fn set_word(&self, Word(word): Word) {
        // SAFETY: I1: nobody else reads or writes the link.
        self.link.with_mut(|link| unsafe { *link = word });
    }
}

impl Default for FreeBlock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(not(genesis_loom))]
const _: () = assert!(size_of::<FreeBlock>() == 8 && align_of::<FreeBlock>() == 8);
