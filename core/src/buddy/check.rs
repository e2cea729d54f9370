//! The full walk that proves the invariants of a buddy.
#![forbid(unsafe_code)]

use super::{
    Buddy,
    block::Blocks,
    free::ORDERS,
    live::{HEAD, MORE},
};

impl Buddy<'_> {
    /// Checks the invariants of the type; reads all state.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn assert_valid(&self) {
        let (mut at, mut live) = (0, 0);
        let mut counts = [0; ORDERS];
        while at < self.capacity_granules {
            let start = at;
            if let Some(block) = self.free.around(at) {
                assert_eq!(block.granule, at, "a free block starts inside another or a live span");
                assert!(!self.free.contains(block.buddy()), "{block:?} and its buddy not merged");
                at = block.range().end;
                counts[block.order as usize] += 1;
                assert!(self.marks(start..at).iter().all(|mark| *mark == 0), "marks in {block:?}");
            } else if let Some(span) = self.live.at(at) {
                at = span.range().end;
                live += span.granules;
                let mut mark = HEAD;
                for piece in Blocks(span.range()) {
                    let marks = self.marks(piece.range());
                    assert_eq!(marks[0], mark | piece.order as u8, "a piece of {span:?}");
                    assert!(marks[1..].iter().all(|mark| *mark == 0), "marks inside {piece:?}");
                    mark = MORE;
                }
            } else {
                at += 1;
                assert_eq!(self.marks(start..at), [0], "granule {start} belongs to no span");
            }
        }
        assert_eq!((live, counts), (self.live.granules, self.free.counts));
        let free: u32 = counts.iter().enumerate().map(|(order, blocks)| blocks << order).sum();
        assert_eq!(self.open_granules, free + live, "open == free + live");
        for (order, bitmap) in self.free.bitmaps.iter().enumerate() {
            bitmap.assert_valid();
            // More bits than blocks that the walk met would be blocks inside others.
            assert_eq!(bitmap.count(), counts[order], "blocks of order {order}");
            assert_eq!(self.free.orders >> order & 1 != 0, counts[order] != 0);
        }
    }

    fn marks(&self, range: core::ops::Range<u32>) -> &[u8] {
        &self.live.marks[range.start as usize..range.end as usize]
    }
}
