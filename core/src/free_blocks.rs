//! The free blocks of a slab, and the two places where the set of them can live.
//!
//! Host memory keeps it in band ([`Linked`]): the first word of a free block holds the rest of
//! the chain. Device memory, which the CPU cannot touch, keeps it out of band ([`Bits`]).

use core::{cell::Cell, ptr::NonNull};

use crate::sync::{
    UnsafeCell,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A set of free blocks with one owner.
///
/// # Safety
/// - `pop` returns only blocks that were pushed, or given at the start, and not popped since.
pub unsafe trait FreeBlocks {
    /// How a block is named.
    type Block: Copy;

    /// How many blocks the set holds.
    fn len(&self) -> u32;

    /// Whether the set holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a block.
    fn pop(&self) -> Option<Self::Block>;

    /// Gives a block back; returns how many the set then holds.
    ///
    /// # Safety
    /// - `block` belongs to this slab, nobody uses it, and it is not in the set.
    unsafe fn push(&self, block: Self::Block) -> u32;
}

/// A chain of free blocks in one word: where the first lies in its slab, and how many there are.
///
/// The length rides along with the link, so a slab learns that it is empty without a counter on
/// the allocation path: popping restores the word that was there before the push. An empty chain
/// is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Chain(u64);

impl Chain {
    /// No blocks.
    pub const EMPTY: Self = Self(0);
    const LEN_BITS: u32 = 16;

    /// `offset_bytes` in front of `rest`.
    #[inline(always)]
    pub const fn prepend(offset_bytes: usize, rest: Self) -> Self {
        Self(((offset_bytes as u64) << Self::LEN_BITS) | (rest.len() as u64 + 1))
    }

    /// The first block's offset in its slab, bytes.
    #[inline(always)]
    pub const fn first_bytes(self) -> usize {
        (self.0 >> Self::LEN_BITS) as usize
    }

    /// How many blocks.
    #[inline(always)]
    pub const fn len(self) -> u32 {
        self.0 as u16 as u32
    }

    /// Whether there are none.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Every chain of blocks below `bytes` is below this bound.
    #[inline(always)]
    pub(crate) const fn bound(bytes: usize) -> u64 {
        (bytes as u64) << Self::LEN_BITS
    }

    pub(crate) const fn to_word(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }
}

/// A free block of host memory: its first word holds the chain behind it.
///
/// The word is mixed with a secret, so that a write after the free shows as a chain that leaves
/// the slab, and so that data which looks like a link is told from a block freed twice.
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

    /// The chain behind this block.
    ///
    /// # Safety
    /// - The caller owns the block or the chain it is in.
    #[inline(always)]
    pub unsafe fn rest(&self, secret: u64) -> Chain {
        // SAFETY: one owner: nobody writes the link meanwhile.
        Chain(self.link.with(|link| unsafe { *link }) ^ secret)
    }

    /// Links `rest` behind this block.
    ///
    /// # Safety
    /// - The caller owns the block, which is in no chain yet.
    #[inline(always)]
    pub unsafe fn set_rest(&self, rest: Chain, secret: u64) {
        // SAFETY: one owner: nobody else reads or writes the link.
        self.link.with_mut(|link| unsafe { *link = rest.0 ^ secret });
    }

    /// Wipes the link of a block that leaves its chain.
    ///
    /// # Safety
    /// - The caller owns the block.
    #[inline(always)]
    pub unsafe fn wipe(&self) {
        // SAFETY: one owner.
        self.link.with_mut(|link| unsafe { *link = 0 });
    }
}

impl Default for FreeBlock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(not(genesis_loom))]
const _: () = assert!(size_of::<FreeBlock>() == 8 && align_of::<FreeBlock>() == 8);

/// In band: a chain through the free blocks themselves. Blocks are named by their offset in bytes
/// from `base`.
///
/// Only the owner pops and pushes. `base`, `secret` and `bound` are also read by threads that free
/// a block of the slab; they are written before the first block is handed out.
#[derive(Debug)]
#[repr(C)]
pub struct Linked {
    head: Cell<u64>,
    bound: AtomicU64,
    base: Cell<*mut u8>,
    secret: Cell<u64>,
}

impl Linked {
    /// No blocks, nowhere.
    pub const fn new() -> Self {
        Self {
            head: Cell::new(0),
            bound: AtomicU64::new(0),
            base: Cell::new(core::ptr::null_mut()),
            secret: Cell::new(0),
        }
    }

    /// Starts over, empty, for blocks from `base`.
    pub(crate) fn reset(&self, base: NonNull<u8>, secret: u64) {
        self.head.set(0);
        self.bound.store(0, Relaxed);
        self.base.set(base.as_ptr());
        self.secret.set(secret);
    }

    /// Extends the blocks that may be in the set to those below `bytes`.
    pub(crate) fn set_bound_bytes(&self, bytes: usize) {
        self.bound.store(Chain::bound(bytes), Relaxed);
    }

    /// What [`Chain`]s of this slab stay below.
    #[inline(always)]
    pub(crate) fn bound(&self) -> u64 {
        self.bound.load(Relaxed)
    }

    /// Where the blocks start.
    #[inline(always)]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.get()
    }

    /// What the links are mixed with.
    #[inline(always)]
    pub(crate) fn secret(&self) -> u64 {
        self.secret.get()
    }

    /// The whole set.
    #[inline(always)]
    pub(crate) fn chain(&self) -> Chain {
        Chain(self.head.get())
    }

    /// Replaces the whole set.
    #[inline(always)]
    pub(crate) fn set_chain(&self, chain: Chain) {
        self.head.set(chain.0);
    }

    /// The block at `offset_bytes`.
    ///
    /// # Safety
    /// - The offset is that of a block of this slab.
    #[inline(always)]
    pub(crate) unsafe fn block(&self, offset_bytes: usize) -> NonNull<FreeBlock> {
        // SAFETY: the base is not null once the slab has blocks, and the offset stays inside.
        unsafe { NonNull::new_unchecked(self.base.get().add(offset_bytes)).cast() }
    }
}

impl Default for Linked {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the chain holds exactly what was pushed, and a link that leaves the slab is not followed.
unsafe impl FreeBlocks for Linked {
    type Block = usize;

    #[inline(always)]
    fn len(&self) -> u32 {
        self.chain().len()
    }

    /// `None` also where the next link was overwritten and leaves the slab; the set is unchanged
    /// then, and not empty.
    #[inline(always)]
    fn pop(&self) -> Option<usize> {
        let chain = self.chain();
        if chain.is_empty() {
            return None;
        }
        let offset_bytes = chain.first_bytes();
        // SAFETY: a block in the set belongs to the owner.
        let rest = unsafe {
            let block = self.block(offset_bytes);
            let rest = block.as_ref().rest(self.secret());
            if rest.0 >= self.bound() {
                return None;
            }
            block.as_ref().wipe();
            rest
        };
        self.set_chain(rest);
        Some(offset_bytes)
    }

    #[inline(always)]
    unsafe fn push(&self, offset_bytes: usize) -> u32 {
        let rest = self.chain();
        // SAFETY: the caller gives the block up.
        unsafe { self.block(offset_bytes).as_ref().set_rest(rest, self.secret()) };
        let chain = Chain::prepend(offset_bytes, rest);
        self.set_chain(chain);
        chain.len()
    }
}

/// Out of band: one bit a block, in host memory that the caller lends. Lowest index first.
#[derive(Debug)]
pub struct Bits<'meta> {
    words: &'meta [Cell<u64>],
    /// No word below this one has a free block.
    hint: Cell<usize>,
    len: Cell<u32>,
}

impl<'meta> Bits<'meta> {
    /// How many words `blocks` blocks need.
    pub const fn words(blocks: u32) -> usize {
        blocks.div_ceil(u64::BITS) as usize
    }

    /// All of `blocks` blocks free.
    ///
    /// # Panics
    /// Where `words` is not [`Self::words`] long.
    pub fn all_free(words: &'meta mut [u64], blocks: u32) -> Self {
        assert!(words.len() == Self::words(blocks), "one bit a block");
        words.fill(u64::MAX);
        if let Some(last) = words.last_mut() {
            *last >>= (u64::BITS - blocks % u64::BITS) % u64::BITS;
        }
        let words = Cell::from_mut(words).as_slice_of_cells();
        Self { words, hint: Cell::new(0), len: Cell::new(blocks) }
    }

    /// Whether `block` is in the set.
    pub fn contains(&self, block: u32) -> bool {
        self.words[(block / u64::BITS) as usize].get() & (1 << (block % u64::BITS)) != 0
    }
}

// SAFETY: a set bit is a free block.
unsafe impl FreeBlocks for Bits<'_> {
    type Block = u32;

    fn len(&self) -> u32 {
        self.len.get()
    }

    fn pop(&self) -> Option<u32> {
        let from = self.hint.get();
        let (index, cell) =
            self.words.iter().enumerate().skip(from).find(|(_, word)| word.get() != 0)?;
        let word = cell.get();
        cell.set(word & (word - 1));
        self.hint.set(index);
        self.len.set(self.len.get() - 1);
        Some(index as u32 * u64::BITS + word.trailing_zeros())
    }

    unsafe fn push(&self, block: u32) -> u32 {
        debug_assert!(!self.contains(block), "block {block} is free already");
        let index = (block / u64::BITS) as usize;
        let cell = &self.words[index];
        cell.set(cell.get() | 1 << (block % u64::BITS));
        self.hint.set(self.hint.get().min(index));
        self.len.set(self.len.get() + 1);
        self.len.get()
    }
}

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_chain_carries_its_length() {
        let one = Chain::prepend(4096, Chain::EMPTY);
        let two = Chain::prepend(0, one);
        assert_eq!((one.first_bytes(), one.len()), (4096, 1));
        assert_eq!((two.first_bytes(), two.len()), (0, 2));
        assert!(Chain::EMPTY.is_empty() && !two.is_empty());
        assert!(one.to_word() < Chain::bound(4097) && one.to_word() >= Chain::bound(4096));
    }

    #[test]
    fn both_homes_give_back_what_was_pushed() {
        let mut memory = [0u64; 64];
        let linked = Linked::new();
        linked.reset(NonNull::from(&mut memory).cast(), 0xfeed_0000_0000_0001);
        linked.set_bound_bytes(512);
        for (count, offset) in [0usize, 128, 64, 448].into_iter().enumerate() {
            // SAFETY: blocks of this slab, each pushed once.
            assert_eq!(unsafe { linked.push(offset) }, count as u32 + 1);
        }
        let popped: Vec<_> = core::iter::from_fn(|| linked.pop()).collect();
        assert_eq!(popped, [448, 64, 128, 0]);

        let mut words = [0; Bits::words(130)];
        let bits = Bits::all_free(&mut words, 130);
        let all: Vec<_> = core::iter::from_fn(|| bits.pop()).collect();
        assert_eq!(all, (0..130).collect::<Vec<_>>());
        // SAFETY: popped above.
        unsafe {
            assert_eq!(bits.push(129), 1);
            assert_eq!(bits.push(3), 2);
        }
        assert!(bits.contains(3) && !bits.contains(4));
        assert_eq!((bits.pop(), bits.pop(), bits.pop()), (Some(3), Some(129), None));
    }

    #[test]
    fn a_link_overwritten_after_the_free_is_not_followed() {
        let mut memory = [0u64; 64];
        let base = NonNull::from(&mut memory).cast::<u8>();
        let linked = Linked::new();
        linked.reset(base, 0xfeed_0000_0000_0001);
        linked.set_bound_bytes(512);
        // SAFETY: blocks of this slab; the write is the bug under test, to memory of the test.
        unsafe {
            linked.push(0);
            linked.push(64);
            base.add(64).cast::<u64>().write(0x4141_4141_4141_4141);
        }
        assert_eq!((linked.pop(), linked.len()), (None, 2));
    }
}
