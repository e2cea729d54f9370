//! The free blocks of a slab, and the two places where the set of them can live.
//!
//! Host memory keeps it in band ([`Linked`]): the first word of a free block leads to the next.
//! Device memory, which the CPU cannot touch, keeps it out of band ([`Bits`]).

mod link;

use core::{cell::Cell, ptr::NonNull};

pub(crate) use self::link::Word;
use self::link::read_apart;
pub use self::link::{FreeBlock, Key, Link};

/// A set of free blocks with one owner.
///
/// # Safety
/// - `pop` returns only blocks that were pushed, or given at the start, and not popped since.
pub unsafe trait FreeBlocks {
    /// How a block is named.
    type Block: Copy;

    /// Takes a block.
    fn pop(&self) -> Option<Self::Block>;

    /// Gives a block back.
    ///
    /// # Safety
    /// - `block` belongs to this slab, nobody uses it, and it is not in the set.
    unsafe fn push(&self, block: Self::Block);

    /// How many blocks the set holds; may take as many steps.
    fn count(&self) -> u32;
}

/// In band: a chain through the free blocks themselves. Blocks are named by their offset in bytes
/// from `base`.
///
/// Only the owner pops and pushes. `base`, `secret` and `bound` are also read by threads that free
/// a block of the slab; they are written before the first such block is handed out.
#[derive(Debug)]
#[repr(C)]
pub struct Linked {
    base: Cell<*mut u8>,
    secret: Cell<u64>,
    /// Blocks lie below this offset. One comparison with it finds the end of the chain, a link
    /// that was overwritten, and a slab that is none.
    bound: Cell<u64>,
    /// The address of the first block, or where a broken link leads. Neither an offset nor mixed, and the
    /// links are addresses, too: an allocation waits for the free before it, and each step between the two
    /// would count.
    head: Cell<*mut u8>,
}

impl Linked {
    /// No blocks, nowhere: zeroes.
    pub const fn new() -> Self {
        Self {
            head: Cell::new(core::ptr::null_mut()),
            bound: Cell::new(0),
            base: Cell::new(core::ptr::null_mut()),
            secret: Cell::new(0),
        }
    }

    /// Starts over, empty, for blocks from `base`.
    pub(crate) fn reset(&self, base: NonNull<u8>, secret: u64) {
        self.bound.set(0);
        self.base.set(base.as_ptr());
        self.secret.set(secret | 1 << 63);
        self.set_head(Link::END);
    }

    /// Becomes what `other` is, which is not to be used meanwhile.
    pub(crate) fn take_over(&self, other: &Self) {
        self.head.set(other.head.get());
        self.bound.set(other.bound.get());
        self.base.set(other.base.get());
        self.secret.set(other.secret.get());
    }

    /// Extends the blocks that may be in the set to those below `bytes`.
    pub(crate) fn set_bound_bytes(&self, bytes: usize) {
        self.bound.set(bytes as u64);
    }

    /// Blocks lie below this offset.
    #[inline(always)]
    pub(crate) fn bound_bytes(&self) -> usize {
        self.bound.get() as usize
    }

    /// Where the blocks start.
    #[inline(always)]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.get()
    }

    /// How the links are written.
    #[inline(always)]
    pub(crate) fn key(&self) -> Key {
        Key::new(self.base.get().addr(), self.secret.get())
    }

    /// The first free block.
    #[inline(always)]
    pub(crate) fn head(&self) -> Link {
        self.key().link_to(self.head.get().addr())
    }

    /// Replaces the whole set.
    pub(crate) fn set_head(&self, head: Link) {
        self.head.set(self.base.get().with_addr(self.key().address(head)));
    }

    /// Whether `link` leads to a block.
    #[inline(always)]
    pub(crate) fn leads(&self, link: Link) -> bool {
        link.0 < self.bound.get()
    }

    /// The block at `offset_bytes`, which is inside the slab.
    #[inline(always)]
    pub(crate) fn locate(&self, offset_bytes: usize) -> Located {
        let block = self.base.get().wrapping_add(offset_bytes).cast();
        // SAFETY: the base is not null once the slab has blocks, and the offset stays inside.
        Located { block: unsafe { NonNull::new_unchecked(block) }, offset_bytes }
    }
}

/// A block of a slab in host memory, by its address and by its offset from the slab's base: one
/// follows from the other, but whoever has one at hand mostly has both.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// Where it is.
    pub block: NonNull<FreeBlock>,
    /// How far into its slab, bytes.
    pub offset_bytes: usize,
}

impl Default for Linked {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the chain holds exactly what was pushed, and a link that leaves the slab is not followed.
unsafe impl FreeBlocks for Linked {
    type Block = Located;

    /// `None` at the end of the chain, and also where the link to here was overwritten and leaves
    /// the slab.
    #[inline(always)]
    fn pop(&self) -> Option<Located> {
        let (head, base) = (self.head.get(), self.base.get());
        let offset_bytes = head.addr().wrapping_sub(base.addr());
        if offset_bytes as u64 >= self.bound.get() {
            return None;
        }
        // SAFETY: the head leads to a block, so it is not null.
        let block = unsafe { NonNull::new_unchecked(head) }.cast::<FreeBlock>();
        // SAFETY: I2: a block in the set belongs to the owner.
        unsafe {
            let next = block.as_ref().word().0 ^ self.secret.get();
            self.head.set(base.with_addr(next as usize));
            block.as_ref().wipe();
        }
        Some(Located { block, offset_bytes })
    }

    #[inline(always)]
    unsafe fn push(&self, Located { block, .. }: Located) {
        // SAFETY: I2: the head is the owner's, and the caller gives the block up.
        unsafe {
            let head = read_apart(self.head.as_ptr().cast());
            block.as_ref().set_word(Word(head ^ self.secret.get()));
        }
        self.head.set(block.as_ptr().cast());
    }

    fn count(&self) -> u32 {
        let mut count = 0;
        let mut link = self.head();
        while self.leads(link) {
            let block = self.locate(link.offset_bytes()).block;
            // SAFETY: I2: the block is in the owner's set.
            link = unsafe { block.as_ref().next(self.key()) };
            count += 1;
        }
        count
    }
}

/// Out of band: one bit a block, in host memory that the caller lends. Lowest index first.
#[derive(Debug)]
pub struct Bits<'meta> {
    words: &'meta [Cell<u64>],
    /// No word below this one has a free block.
    hint: Cell<usize>,
    count: Cell<u32>,
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
        Self { words, hint: Cell::new(0), count: Cell::new(blocks) }
    }

    /// Whether `block` is in the set.
    pub fn contains(&self, block: u32) -> bool {
        self.words[(block / u64::BITS) as usize].get() & (1 << (block % u64::BITS)) != 0
    }
}

// SAFETY: a set bit is a free block.
unsafe impl FreeBlocks for Bits<'_> {
    type Block = u32;

    fn pop(&self) -> Option<u32> {
        let from = self.hint.get();
        let (index, cell) =
            self.words.iter().enumerate().skip(from).find(|(_, word)| word.get() != 0)?;
        let word = cell.get();
        cell.set(word & (word - 1));
        self.hint.set(index);
        self.count.set(self.count.get() - 1);
        Some(index as u32 * u64::BITS + word.trailing_zeros())
    }

    unsafe fn push(&self, block: u32) {
        debug_assert!(!self.contains(block), "block {block} is free already");
        let index = (block / u64::BITS) as usize;
        let cell = &self.words[index];
        cell.set(cell.get() | 1 << (block % u64::BITS));
        self.hint.set(self.hint.get().min(index));
        self.count.set(self.count.get() + 1);
    }

    fn count(&self) -> u32 {
        self.count.get()
    }
}

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;

    fn linked(memory: &mut [u64; 64]) -> Linked {
        let linked = Linked::new();
        linked.reset(NonNull::from(memory).cast(), 0x5eed);
        linked.set_bound_bytes(512);
        linked
    }

    #[test]
    fn both_homes_give_back_what_was_pushed() {
        let mut memory = [0u64; 64];
        let linked = linked(&mut memory);
        for offset in [0usize, 128, 64, 448] {
            // SAFETY: blocks of this slab, each pushed once.
            unsafe {
                let located = linked.locate(offset);
                assert!(!located.block.as_ref().looks_free(linked.key().mark()));
                linked.push(located);
                assert!(located.block.as_ref().looks_free(linked.key().mark()));
            }
        }
        assert_eq!(linked.count(), 4);
        let popped: Vec<_> = core::iter::from_fn(|| linked.pop()).map(|b| b.offset_bytes).collect();
        assert_eq!(popped, [448, 64, 128, 0]);
        // SAFETY: the offset is inside the slab.
        assert!(!unsafe { linked.locate(64).block.as_ref().looks_free(linked.key().mark()) });

        let mut words = [0; Bits::words(130)];
        let bits = Bits::all_free(&mut words, 130);
        let all: Vec<_> = core::iter::from_fn(|| bits.pop()).collect();
        assert_eq!(all, (0..130).collect::<Vec<_>>());
        // SAFETY: popped above.
        unsafe {
            bits.push(129);
            bits.push(3);
        }
        assert!(bits.contains(3) && !bits.contains(4) && bits.count() == 2);
        assert_eq!((bits.pop(), bits.pop(), bits.pop()), (Some(3), Some(129), None));
    }

    #[test]
    fn a_link_overwritten_after_the_free_is_not_followed() {
        let mut memory = [0u64; 64];
        let linked = linked(&mut memory);
        // SAFETY: blocks of this slab; the write is the bug under test, to memory of the test.
        unsafe {
            linked.push(linked.locate(0));
            linked.push(linked.locate(64));
            linked.locate(64).block.cast::<u64>().write(0x4141_4141_4141_4141);
        }
        assert_eq!(linked.pop().map(|located| located.offset_bytes), Some(64));
        assert!(linked.pop().is_none());
        assert!(linked.head() != Link::END, "the owner can tell this from an empty set");
    }
}
