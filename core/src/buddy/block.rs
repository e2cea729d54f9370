//! Runs of granules: spans of any length, aligned blocks, and a range as blocks.
#![forbid(unsafe_code)]

use core::ops::Range;

/// `granules` granules from `granule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first granule.
    pub granule: u32,
    /// The length, granules.
    pub granules: u32,
}

impl Span {
    /// The granules of the span.
    pub const fn range(self) -> Range<u32> {
        self.granule..self.granule + self.granules
    }
}

/// `1 << order` granules from `granule`, a multiple of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) granule: u32,
    pub(super) order: u32,
}

impl Block {
    /// The block of `order` that contains `granule`.
    #[inline]
    pub(super) const fn around(granule: u32, order: u32) -> Self {
        Self { granule: granule >> order << order, order }
    }

    #[inline]
    pub(super) const fn granules(self) -> u32 {
        1 << self.order
    }

    #[inline]
    pub(super) const fn range(self) -> Range<u32> {
        self.granule..self.granule + self.granules()
    }

    pub(super) const fn span(self) -> Span {
        Span { granule: self.granule, granules: self.granules() }
    }

    #[inline]
    pub(super) const fn buddy(self) -> Self {
        Self { granule: self.granule ^ self.granules(), order: self.order }
    }

    /// The block that this one and its buddy make up.
    #[inline]
    pub(super) const fn parent(self) -> Self {
        Self { granule: self.granule & !self.granules(), order: self.order + 1 }
    }
}

/// The fewest blocks that make up a range, in address order; at most two of each order.
pub(super) struct Blocks(pub(super) Range<u32>);

impl Iterator for Blocks {
    type Item = Block;

    #[inline]
    fn next(&mut self) -> Option<Block> {
        let Range { start, end } = self.0;
        let order = end.checked_sub(start)?.checked_ilog2()?.min(start.trailing_zeros());
        let block = Block { granule: start, order };
        self.0.start = block.range().end;
        Some(block)
    }
}
