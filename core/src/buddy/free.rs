//! The free blocks: a bitmap for each order.
#![forbid(unsafe_code)]

use core::{mem, ops::Range};

use super::block::{Block, Blocks};
use crate::bitmap::Bitmap;

/// Orders of the largest buddy.
pub(super) const ORDERS: usize = Bitmap::MAX_BITS.ilog2() as usize + 1;

/// Always: bit `i` of bitmap `k` stands for the free block of `1 << k` granules from `i << k`;
/// `counts` are the bits set in each, and `orders` has a bit for each count that is not zero.
pub(super) struct FreeBlocks<'m> {
    pub(super) bitmaps: [Bitmap<'m>; ORDERS],
    pub(super) counts: [u32; ORDERS],
    pub(super) orders: u32,
}

impl<'m> FreeBlocks<'m> {
    pub(super) const fn words(capacity_granules: u32) -> usize {
        let mut words = 0;
        let mut order = 0;
        while order < ORDERS {
            words += Bitmap::words(capacity_granules >> order);
            order += 1;
        }
        words
    }

    pub(super) fn new(capacity_granules: u32, words: &'m mut [u64]) -> Self {
        let mut rest = &mut words[..Self::words(capacity_granules)];
        // Cut from the end: the small bitmaps of the high orders share their pages.
        let bitmaps = core::array::from_fn(|order| {
            let bits = capacity_granules >> order;
            let start = rest.len() - Bitmap::words(bits);
            let (above, this) = mem::take(&mut rest).split_at_mut(start);
            rest = above;
            Bitmap::new(this, bits)
        });
        Self { bitmaps, counts: [0; ORDERS], orders: 0 }
    }

    /// Goes on in the bitmaps of `larger`, which has no blocks.
    pub(super) fn move_to(&mut self, larger: Self) {
        for (bitmap, larger) in self.bitmaps.iter_mut().zip(larger.bitmaps) {
            bitmap.move_to(larger);
        }
    }

    /// The lowest block of the smallest order from `order` up that has one.
    #[inline]
    pub(super) fn first(&self, order: u32) -> Option<Block> {
        let orders = self.orders.checked_shr(order).filter(|orders| *orders != 0)?;
        let order = order + orders.trailing_zeros();
        Some(Block { granule: self.bitmaps[order as usize].first()? << order, order })
    }

    #[inline]
    pub(super) fn contains(&self, block: Block) -> bool {
        // The first test spares a look at a bitmap that may have no page yet.
        self.orders >> block.order & 1 != 0
            && self.bitmaps[block.order as usize].test(block.granule >> block.order)
    }

    /// The block that contains `granule`.
    pub(super) fn around(&self, granule: u32) -> Option<Block> {
        let mut orders = self.orders;
        while orders != 0 {
            let block = Block::around(granule, orders.trailing_zeros());
            if self.contains(block) {
                return Some(block);
            }
            orders &= orders - 1;
        }
        None
    }

    /// Adds `range`, merging each of its blocks with free buddies on the way up.
    #[inline]
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn merge(&mut self, range: Range<u32>) {
        for mut block in Blocks(range) {
            while self.contains(block.buddy()) {
                self.remove(block.buddy());
                block = block.parent();
            }
            self.insert(block);
        }
    }

    /// Adds what is left of a removed block: the buddies of its blocks are not free.
    #[inline]
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn put_back(&mut self, rest: Range<u32>) {
        for block in Blocks(rest) {
            self.insert(block);
        }
    }

    /// Removes all of `range`, or nothing.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn claim(&mut self, range: Range<u32>) -> bool {
        let mut at = range.start;
        while at < range.end {
            let Some(block) = self.around(at) else { return false };
            at = block.range().end;
        }
        at = range.start;
        while let Some(block) = (at < range.end).then(|| self.around(at)).flatten() {
            self.remove(block);
            self.put_back(block.granule..at);
            at = block.range().end;
        }
        self.put_back(range.end..at);
        true
    }

    #[inline]
    fn insert(&mut self, block: Block) {
        let order = block.order as usize;
        self.bitmaps[order].set(block.granule >> order);
        self.counts[order] += 1;
        self.orders |= 1 << order;
    }

    /// Removes `block`, which is free.
    #[inline]
    pub(super) fn remove(&mut self, block: Block) {
        let order = block.order as usize;
        let was_free = self.bitmaps[order].clear(block.granule >> order);
        debug_assert!(was_free, "{block:?} is not free");
        self.counts[order] -= 1;
        self.orders &= !(u32::from(self.counts[order] == 0) << order);
    }
}
