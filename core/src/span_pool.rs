//! The middle layer: spans in and out, and which free pages are due to go back.
//!
//! Integers only: nothing here touches memory or calls the system. The lock around it belongs to
//! the [arena](crate::arena), which also makes the calls that the pool says are due.
#![forbid(unsafe_code)]

use core::ops::Range;

use crate::{
    bitmap::Bitmap,
    buddy::{Buddy, Span},
};

/// How many spans wait, uncoalesced, for the next request of their length.
const RECENT: usize = 16;
/// How many free blocks of an order a search across neighbours looks at.
const SEARCHED: usize = 64;

/// Spans of one region: the buddy, what of its free memory is dirty, and since when.
///
/// ```text
/// open == active + cached       cached == free in the buddy + recent + being purged
/// dirty <= cached               the rest was never used, or purged
/// ```
#[derive(Debug)]
pub struct SpanPool<'m> {
    buddy: Buddy<'m>,
    /// Free granules in the buddy that may be backed by memory.
    dirty: Bitmap<'m>,
    dirty_granules: u32,
    /// When a dirty granule was freed, in ticks.
    freed_at: &'m mut [u8],
    now: u8,
    /// Spans freed last, oldest first: live in the buddy, so that the next request of the same
    /// length costs neither a split nor a merge.
    recent: [Span; RECENT],
    recent_len: usize,
    recent_granules: u32,
    /// Where the search for due granules goes on.
    purge_from: u32,
    /// Free granules that are out of the buddy while their pages are given back.
    purging_granules: u32,
    /// Slabs in use of which free blocks are out while their pages are given back.
    purging_slabs: u32,
    /// Purges finished so far.
    purged_times: u64,
}

/// A part of a free block that is due, taken out of the pool while its pages are given back.
#[derive(Debug)]
#[must_use = "the block is out of the pool until `finish_purge`"]
pub struct Purge {
    block: Span,
    run: Range<u32>,
}

impl Purge {
    /// The granules whose pages are due.
    pub fn run(&self) -> Range<u32> {
        self.run.clone()
    }
}

/// How many free granules are looked at at once, at most.
const LOOKED_AT: u32 = 1024;

/// What is known of ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Handed out, or kept for a request of its length, or being purged.
    Taken,
    /// Free; it may be backed by memory.
    Dirty,
    /// Free; it was never used, or purged.
    Clean,
}

/// A span handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which granules.
    pub span: Span,
    /// None of them was used since it was committed or purged.
    pub clean: bool,
}

impl<'m> SpanPool<'m> {
    /// Words of bitmap that a pool of `granules` borrows besides its buddy's.
    pub const fn bitmap_words(granules: u32) -> usize {
        Bitmap::words(granules)
    }

    /// An empty pool; `dirty` and `freed_at` (a byte a granule) are zeroed.
    pub fn new(buddy: Buddy<'m>, dirty: &'m mut [u64], freed_at: &'m mut [u8]) -> Self {
        let granules = buddy.capacity_granules();
        Self {
            buddy,
            dirty: Bitmap::new(dirty, granules),
            dirty_granules: 0,
            freed_at,
            now: 0,
            recent: [Span { granule: 0, granules: 0 }; RECENT],
            recent_len: 0,
            recent_granules: 0,
            purge_from: 0,
            purging_granules: 0,
            purging_slabs: 0,
            purged_times: 0,
        }
    }

    /// Goes on in the tables of `larger`, an empty pool.
    ///
    /// # Panics
    /// If it has room for fewer granules.
    pub fn move_to(&mut self, larger: Self) {
        self.buddy.move_to(larger.buddy);
        self.dirty.move_to(larger.dirty);
        larger.freed_at[..self.freed_at.len()].copy_from_slice(self.freed_at);
        self.freed_at = larger.freed_at;
    }

    /// For how many granules there is room.
    pub fn capacity_granules(&self) -> u32 {
        self.buddy.capacity_granules()
    }

    /// Adds fresh granules.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub fn open(&mut self, range: Range<u32>) {
        self.buddy.open(range);
    }

    /// Adds granules that may be backed by memory before they are used.
    pub fn open_dirty(&mut self, range: Range<u32>) {
        self.buddy.open(range.clone());
        self.note_dirt(range);
    }

    /// Takes a span of `granules` at a multiple of `align_granules`, a power of two.
    pub fn take(&mut self, granules: u32, align_granules: u32) -> Option<Taken> {
        if align_granules == 1
            && let Some(span) = self.take_recent(granules)
        {
            return Some(Taken { span, clean: false });
        }
        let span = self.buddy.alloc_aligned(granules, align_granules).or_else(|| {
            // What waits uncoalesced may be what is missing.
            self.flush_recent();
            self.buddy.alloc_aligned(granules, align_granules)
        });
        let Some(span) = span else { return self.take_across(granules, align_granules) };
        let clean = self.forget_dirt(span.range()) == 0;
        Some(Taken { span, clean })
    }

    /// Takes the span of `granules` at `granule`, if all of it is free.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub fn take_at(&mut self, granule: u32, granules: u32) -> Option<Taken> {
        let span = self.buddy.alloc_at(granule, granules)?;
        let clean = self.forget_dirt(span.range()) == 0;
        Some(Taken { span, clean })
    }

    /// Where the free memory that ends at `end` starts; `end` if there is none.
    pub fn free_from(&self, end: u32) -> u32 {
        let mut start = end;
        while let Some(block) =
            start.checked_sub(1).and_then(|g| self.buddy.free_block_containing(g))
        {
            start = block.granule;
        }
        start
    }

    /// Finds room across neighbouring free blocks, none of which is large enough alone.
    ///
    /// A run of `granules` granules holds an aligned block of at least a quarter of it, so only
    /// blocks of two orders and their neighbours are looked at, and no more than [`SEARCHED`].
    fn take_across(&mut self, granules: u32, align_granules: u32) -> Option<Taken> {
        let highest = granules.ilog2();
        for order in (highest.saturating_sub(2)..=highest).rev() {
            let mut from = 0;
            for _ in 0..SEARCHED {
                let Some(block) = self.buddy.first_free_block(order, from) else { break };
                let start = self.free_from(block.granule);
                let mut end = block.range().end;
                while let Some(next) = self.buddy.free_block_containing(end) {
                    end = next.range().end;
                }
                let aligned = start.next_multiple_of(align_granules);
                if aligned.checked_add(granules).is_some_and(|needed| needed <= end) {
                    return self.take_at(aligned, granules);
                }
                from = end;
            }
        }
        None
    }

    fn take_recent(&mut self, granules: u32) -> Option<Span> {
        let recent = &mut self.recent[..self.recent_len];
        let index = recent.iter().rposition(|span| span.granules == granules)?;
        let span = recent[index];
        recent.copy_within(index + 1.., index);
        self.recent_len -= 1;
        self.recent_granules -= granules;
        Some(span)
    }

    /// Gives back the span that starts at `granule`. False: none does, and nothing has changed.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub fn put(&mut self, granule: u32) -> bool {
        let Some(granules) = self.buddy.len(granule) else { return false };
        if self.recent_len == RECENT {
            let oldest = self.recent[0];
            self.recent.copy_within(1.., 0);
            self.recent_len -= 1;
            self.recent_granules -= oldest.granules;
            self.give_back(oldest);
        }
        self.recent[self.recent_len] = Span { granule, granules };
        self.recent_len += 1;
        self.recent_granules += granules;
        true
    }

    /// Gives back the span that starts at `granule`, of which no page was touched. False: none
    /// does, and nothing has changed.
    pub fn put_clean(&mut self, granule: u32) -> bool {
        self.buddy.free(granule).is_ok()
    }

    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    fn flush_recent(&mut self) {
        let spans = self.recent;
        for &span in &spans[..core::mem::take(&mut self.recent_len)] {
            self.give_back(span);
        }
        self.recent_granules = 0;
    }

    fn give_back(&mut self, span: Span) {
        self.note_dirt(span.range());
        let freed = self.buddy.free(span.granule);
        debug_assert!(freed.is_ok(), "recent spans are live in the buddy");
    }

    fn note_dirt(&mut self, range: Range<u32>) {
        self.dirty_granules += range.len() as u32;
        self.freed_at[range.start as usize..range.end as usize].fill(self.now);
        self.dirty.set_range(range);
    }

    /// Clears the dirt of `range`; returns how much there was.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    fn forget_dirt(&mut self, range: Range<u32>) -> u32 {
        let mut cleared = 0;
        let mut from = range.start;
        while let Some(granule) = self.dirty.first_from(from).filter(|&g| g < range.end) {
            self.dirty.clear(granule);
            cleared += 1;
            from = granule + 1;
        }
        self.dirty_granules -= cleared;
        cleared
    }

    /// The span, handed out or waiting for a request of its length, that `granule` lies in.
    pub fn live_span_around(&self, granule: u32) -> Option<Span> {
        self.buddy.live_span_containing(granule)
    }

    /// A span of one kind of ground from `granule` on, as long as it is, or as it is looked at at once;
    /// `None` where no more is open.
    pub fn ground(&self, granule: u32) -> Option<(Span, Ground)> {
        if granule >= self.open_granules() {
            return None;
        }
        let kind = |granule| match self.live_span_around(granule) {
            Some(_) => Ground::Taken,
            None if self.dirty.test(granule) => Ground::Dirty,
            None => Ground::Clean,
        };
        let ground = kind(granule);
        let end = match self.live_span_around(granule) {
            Some(span) => span.granule + span.granules,
            None => {
                let most = self.open_granules().min(granule.saturating_add(LOOKED_AT));
                (granule..most).find(|&end| kind(end) != ground).unwrap_or(most)
            }
        };
        Some((Span { granule, granules: end - granule }, ground))
    }

    /// Cuts the span that starts at `granule` to its first `granules`, more than none. False: no
    /// such span, or it is not longer.
    pub fn shrink(&mut self, granule: u32, granules: u32) -> bool {
        let Some(len) = self.buddy.len(granule) else { return false };
        let cut = self.buddy.shrink(granule, granules).is_ok() && granules < len;
        if cut {
            self.note_dirt(granule + granules..granule + len);
        }
        cut
    }

    /// Lengthens the span that starts at `granule` to `granules` if what follows is free; says
    /// whether what was added is clean.
    pub fn extend(&mut self, granule: u32, granules: u32) -> Option<Taken> {
        let len = self.buddy.len(granule)?;
        if !self.buddy.extend(granule, granules) {
            // What follows may be free and wait uncoalesced.
            self.flush_recent();
            if !self.buddy.extend(granule, granules) {
                return None;
            }
        }
        let clean = self.forget_dirt(granule + len..granule + granules) == 0;
        Some(Taken { span: Span { granule, granules }, clean })
    }

    /// The pool's clock, which wraps.
    pub fn now(&self) -> u8 {
        self.now
    }

    /// A step of the pool's clock. Spans that wait for a request of their length stop waiting.
    pub fn tick(&mut self) {
        self.flush_recent();
        self.now = self.now.wrapping_add(1);
    }

    /// Takes out the next run of free dirty granules that were freed at least `age_ticks` ago;
    /// `None` ends the round.
    pub fn begin_purge(&mut self, age_ticks: u8) -> Option<Purge> {
        if age_ticks == 0 {
            self.flush_recent();
        }
        while let Some(start) = self.dirty.first_from(self.purge_from) {
            if !self.is_due(start, age_ticks) {
                self.purge_from = start + 1;
                continue;
            }
            let block = self.buddy.take_block_at(start)?;
            let end = (start..block.range().end)
                .find(|&granule| !self.is_due(granule, age_ticks))
                .unwrap_or(block.range().end);
            self.purge_from = end;
            self.purging_granules += block.granules;
            return Some(Purge { block, run: start..end });
        }
        self.purge_from = 0;
        None
    }

    fn is_due(&self, granule: u32, age_ticks: u8) -> bool {
        let age = self.now.wrapping_sub(self.freed_at[granule as usize]);
        self.dirty.test(granule) && age >= age_ticks
    }

    /// Puts back what [`begin_purge`](Self::begin_purge) took out; `purged` if the pages are gone,
    /// else their age starts over.
    pub fn finish_purge(&mut self, purge: Purge, purged: bool) {
        if purged {
            self.forget_dirt(purge.run);
        } else {
            self.freed_at[purge.run.start as usize..purge.run.end as usize].fill(self.now);
        }
        self.purging_granules -= purge.block.granules;
        let freed = self.buddy.free(purge.block.granule);
        debug_assert!(freed.is_ok(), "the block was taken out by `begin_purge`");
        self.purged_times += 1;
    }

    /// A purge of blocks in a slab begins, which is none of the pool's but by its clock and here.
    pub fn begin_slab_purge(&mut self) {
        self.purging_slabs += 1;
    }

    /// That purge is over.
    pub fn finish_slab_purge(&mut self) {
        self.purging_slabs -= 1;
        self.purged_times += 1;
    }

    /// Whether anything free is out of its place while its pages are given back.
    pub fn is_purging(&self) -> bool {
        self.purging_granules + self.purging_slabs > 0
    }

    /// How many purges were finished so far.
    pub fn purged_times(&self) -> u64 {
        self.purged_times
    }

    /// Whether anything could be purged, now or later.
    pub fn has_dirt(&self) -> bool {
        self.dirty_granules + self.recent_granules > 0
    }

    /// Granules opened so far.
    pub fn open_granules(&self) -> u32 {
        self.buddy.open_granules()
    }

    /// Free granules.
    pub fn cached_granules(&self) -> u32 {
        self.buddy.free_granules() + self.recent_granules + self.purging_granules
    }

    /// Free granules that may be backed by memory.
    pub fn dirty_granules(&self) -> u32 {
        self.dirty_granules + self.recent_granules
    }

    /// Free blocks by order; the spans that wait uncoalesced are not in it.
    pub fn free_blocks_by_order(&self) -> &[u32] {
        self.buddy.free_blocks_by_order()
    }

    /// Granules of the largest free block.
    pub fn largest_free_granules(&self) -> u32 {
        let waiting = self.recent[..self.recent_len].iter().map(|span| span.granules).max();
        let coalesced = self.buddy.largest_free_order().map(|order| 1 << order);
        waiting.max(coalesced).unwrap_or(0)
    }

    /// Panics where the equations of the type do not hold. For tests: walks everything.
    pub fn assert_valid(&self) {
        self.buddy.assert_valid();
        let recent = &self.recent[..self.recent_len];
        assert_eq!(recent.iter().map(|span| span.granules).sum::<u32>(), self.recent_granules);
        assert!(recent.iter().all(|span| self.buddy.len(span.granule) == Some(span.granules)));
        assert_eq!(self.dirty.count(), self.dirty_granules);
        assert!(self.dirty_granules <= self.cached_granules());
    }
}

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;

    const GRANULES: u32 = 256;

    fn pool(f: impl FnOnce(SpanPool<'_>)) {
        let mut bitmaps = vec![0; Buddy::bitmap_words(GRANULES)];
        let mut marks = vec![0; Buddy::mark_bytes(GRANULES)];
        let (mut dirty, mut ages) =
            (vec![0; SpanPool::bitmap_words(GRANULES)], vec![0; GRANULES as usize]);
        let buddy = Buddy::new(GRANULES, &mut bitmaps, &mut marks);
        let mut pool = SpanPool::new(buddy, &mut dirty, &mut ages);
        pool.open(0..GRANULES);
        f(pool);
    }

    #[test]
    fn a_span_freed_last_serves_the_next_request_of_its_length() {
        pool(|mut pool| {
            let a = pool.take(5, 1).unwrap();
            let b = pool.take(5, 1).unwrap();
            assert!(a.clean && b.clean);
            assert!(pool.put(a.span.granule) && pool.put(b.span.granule));
            assert_eq!(pool.take(5, 1), Some(Taken { span: b.span, clean: false }));
            assert_eq!(pool.take(5, 1), Some(Taken { span: a.span, clean: false }));
            assert!(!pool.put(a.span.granule + 1));
            pool.assert_valid();
        });
    }

    #[test]
    fn what_waits_is_flushed_before_a_request_fails() {
        pool(|mut pool| {
            let halves = [pool.take(128, 1).unwrap(), pool.take(128, 1).unwrap()];
            assert!(halves.iter().all(|half| pool.put(half.span.granule)));
            assert_eq!(pool.largest_free_granules(), 128);
            assert!(pool.take(GRANULES, 1).is_some());
            pool.assert_valid();
        });
    }

    #[test]
    fn a_pool_that_moves_to_larger_tables_is_as_it_was() {
        const MORE: u32 = 70_000;
        fn empty(granules: u32) -> SpanPool<'static> {
            let bitmaps = vec![0; Buddy::bitmap_words(granules)].leak();
            let marks = vec![0; Buddy::mark_bytes(granules)].leak();
            let dirty = vec![0; SpanPool::bitmap_words(granules)].leak();
            let ages = vec![0; granules as usize].leak();
            SpanPool::new(Buddy::new(granules, bitmaps, marks), dirty, ages)
        }
        let mut pool = empty(GRANULES);
        pool.open(0..GRANULES);
        let held = pool.take(100, 1).unwrap().span;
        let freed = [pool.take(5, 1).unwrap().span, pool.take(3, 1).unwrap().span];
        pool.take(1, 1).unwrap();
        assert!(freed.iter().all(|span| pool.put(span.granule)));
        pool.tick();
        let before = (pool.cached_granules(), pool.dirty_granules());
        pool.move_to(empty(MORE));
        pool.assert_valid();
        assert_eq!((pool.cached_granules(), pool.dirty_granules()), before);
        assert_eq!(pool.live_span_around(held.granule + 99), Some(held));
        pool.open(GRANULES..MORE);
        assert!(pool.take(1 << 15, 1).unwrap().clean);
        let purge = pool.begin_purge(0).unwrap();
        assert!(freed.iter().any(|span| span.range().contains(&purge.run().start)));
        pool.finish_purge(purge, true);
        assert!(pool.put(held.granule));
        pool.assert_valid();
    }

    #[test]
    fn only_what_is_old_enough_is_purged_and_then_clean() {
        pool(|mut pool| {
            let old = pool.take(7, 1).unwrap().span;
            let young = pool.take(9, 1).unwrap().span;
            pool.put(old.granule);
            pool.tick();
            pool.put(young.granule);
            pool.tick();
            let mut purged = 0;
            while let Some(purge) = pool.begin_purge(2) {
                purged += purge.run().len() as u32;
                assert!(purge.run().all(|g| old.range().contains(&g)));
                pool.finish_purge(purge, true);
                pool.assert_valid();
            }
            assert_eq!((purged, pool.dirty_granules()), (7, 9));
            let again = pool.take(7, 1).unwrap();
            assert_eq!(again, Taken { span: old, clean: true });
            while let Some(purge) = pool.begin_purge(0) {
                pool.finish_purge(purge, false);
            }
            assert_eq!(pool.dirty_granules(), 9);
        });
    }

    #[test]
    fn a_span_is_found_across_free_neighbours() {
        pool(|mut pool| {
            let wall = pool.take_at(0, 40).unwrap().span;
            let hole = pool.take_at(40, 90).unwrap().span;
            let _rest = pool.take_at(130, GRANULES - 130).unwrap();
            pool.put(hole.granule);
            pool.tick();
            assert_eq!(pool.free_from(130), 40);
            // No free block of 128 exists, but 90 granules in a row do.
            assert_eq!(pool.take(90, 1).unwrap().span, hole);
            assert_eq!(pool.take(1, 1), None);
            pool.put(wall.granule);
            assert!(pool.take(32, 8).is_some());
            pool.assert_valid();
        });
    }

    #[test]
    fn spans_grow_and_shrink_where_they_are() {
        pool(|mut pool| {
            let span = pool.take(4, 1).unwrap().span;
            assert!(pool.extend(span.granule, 11).unwrap().clean);
            assert!(pool.shrink(span.granule, 3) && !pool.shrink(span.granule, 3));
            assert_eq!(pool.dirty_granules(), 8);
            assert!(!pool.extend(span.granule, 12).unwrap().clean);
            let _wall = pool.take(1, 1).unwrap();
            assert_eq!(pool.extend(span.granule, 200), None);
            pool.assert_valid();
        });
    }
}
