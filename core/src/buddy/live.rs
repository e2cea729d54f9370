//! The live spans: one byte a granule.
#![forbid(unsafe_code)]

use super::{
    block::{Block, Blocks, Span},
    free::ORDERS,
};

/// Marks the first piece of a span; the low bits of a mark are the order of the piece.
pub(super) const HEAD: u8 = 0x80;
/// Marks the further pieces of a span.
pub(super) const MORE: u8 = 0x40;
const ORDER: u8 = 0x1f;

/// Always: a span has a mark at the start of each piece of its division into the fewest blocks;
/// every other byte is zero. Its length is therefore known exactly, and so is its head.
pub(super) struct LiveSpans<'m> {
    pub(super) marks: &'m mut [u8],
    /// The granules of all spans.
    pub(super) granules: u32,
}

impl LiveSpans<'_> {
    /// Goes on in the marks of `larger`, which has no spans.
    pub(super) fn move_to(&mut self, larger: Self) {
        larger.marks[..self.marks.len()].copy_from_slice(self.marks);
        self.marks = larger.marks;
    }

    #[inline]
    pub(super) fn insert(&mut self, span: Span) {
        let mut mark = HEAD;
        for piece in Blocks(span.range()) {
            self.marks[piece.granule as usize] = mark | piece.order as u8;
            mark = MORE;
        }
        self.granules += span.granules;
    }

    /// Removes `span`, which is live.
    #[inline]
    pub(super) fn remove(&mut self, span: Span) {
        for piece in Blocks(span.range()) {
            self.marks[piece.granule as usize] = 0;
        }
        self.granules -= span.granules;
    }

    /// The span that starts at `granule`.
    #[inline]
    pub(super) fn at(&self, granule: u32) -> Option<Span> {
        let head = *self.marks.get(granule as usize)?;
        if head & HEAD == 0 {
            return None;
        }
        let mut end = granule + (1 << (head & ORDER));
        while let Some(mark) = self.marks.get(end as usize).filter(|mark| **mark & MORE != 0) {
            end += 1 << (mark & ORDER);
        }
        Some(Span { granule, granules: end - granule })
    }

    /// The span that contains `granule`.
    pub(super) fn around(&self, granule: u32) -> Option<Span> {
        let mut piece = self.piece(granule)?;
        while self.marks[piece.granule as usize] & HEAD == 0 {
            piece = self.piece(piece.granule - 1)?;
        }
        self.at(piece.granule)
    }

    /// The piece that contains `granule`.
    fn piece(&self, granule: u32) -> Option<Block> {
        (0..ORDERS as u32).find_map(|order| {
            let Block { granule, .. } = Block::around(granule, order);
            let mark = *self.marks.get(granule as usize)?;
            let reaches = u32::from(mark & ORDER);
            (mark != 0 && reaches >= order).then_some(Block { granule, order: reaches })
        })
    }
}
