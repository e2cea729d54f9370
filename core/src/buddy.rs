//! Binary buddy over granule indices: spans of any length, all state out of band.
//!
//! It hands out numbers and touches no memory but its own, so the same code serves memory that
//! the CPU cannot reach, keeps purged pages purged, and cannot be corrupted by an overflow. A
//! free block of order `k` is `1 << k` granules at a multiple of that; free buddies are merged at
//! once, so free memory is always in the fewest blocks.
#![forbid(unsafe_code)]

mod block;
mod check;
mod error;
mod free;
mod live;
#[cfg(all(test, not(genesis_loom)))]
mod tests;

use core::{fmt, ops::Range};

pub use self::{
    block::Span,
    error::{FreeError, ShrinkError},
};
use self::{free::FreeBlocks, live::LiveSpans};
use crate::bitmap::Bitmap;

/// A buddy allocator of up to 2²⁴ granules, most of which may never be opened.
///
/// A granule is *open* from [`open`](Self::open) on, and then *free* or *live*. Always:
///
/// - `open == free + live`, and `free` is the sum of `blocks << order` over
///   [`free_blocks_by_order`](Self::free_blocks_by_order);
/// - no two free blocks are buddies of each other.
///
/// [`assert_valid`](Self::assert_valid) checks them. State of granules far from any that was
/// opened is never written. Owner only: put a lock around it.
///
/// ```
/// use genesis_mem_core::buddy::{Buddy, FreeError, Span};
/// let mut bitmaps = [0; Buddy::bitmap_words(1000)];
/// let mut marks = [0; Buddy::mark_bytes(1000)];
/// let mut buddy = Buddy::new(1000, &mut bitmaps, &mut marks);
/// buddy.open(0..1000);
/// let span = buddy.alloc(5).unwrap();
/// assert_eq!(span, Span { granule: 992, granules: 5 });
/// assert_eq!(buddy.free_granules(), 995);
/// assert_eq!(buddy.free(993), Err(FreeError::Interior { granule: 993, span }));
/// assert_eq!(buddy.free(992), Ok(span));
/// ```
pub struct Buddy<'m> {
    free: FreeBlocks<'m>,
    live: LiveSpans<'m>,
    capacity_granules: u32,
    open_granules: u32,
}

impl<'m> Buddy<'m> {
    /// The most granules a buddy can manage.
    pub const MAX_GRANULES: u32 = Bitmap::MAX_BITS;

    /// How many words of bitmaps a buddy of `capacity_granules` borrows: two bits a granule, and
    /// 1/63 more for summaries.
    pub const fn bitmap_words(capacity_granules: u32) -> usize {
        FreeBlocks::words(capacity_granules)
    }

    /// How many bytes of marks a buddy of `capacity_granules` borrows: one a granule.
    pub const fn mark_bytes(capacity_granules: u32) -> usize {
        capacity_granules as usize
    }

    /// A buddy of up to `capacity_granules` granules, none of them open.
    ///
    /// `bitmaps` and `marks` must be zero: they are not written here, so that memory from the
    /// system stays untouched until it is needed. Otherwise use
    /// [`new_clearing`](Self::new_clearing).
    ///
    /// # Panics
    /// If `capacity_granules` is zero or above [`MAX_GRANULES`](Self::MAX_GRANULES), or the memory
    /// is shorter than [`bitmap_words`](Self::bitmap_words) and [`mark_bytes`](Self::mark_bytes).
    pub fn new(capacity_granules: u32, bitmaps: &'m mut [u64], marks: &'m mut [u8]) -> Self {
        let capacity = 1..=Self::MAX_GRANULES;
        assert!(capacity.contains(&capacity_granules), "{capacity_granules} not in {capacity:?}");
        let marks = &mut marks[..Self::mark_bytes(capacity_granules)];
        Self {
            free: FreeBlocks::new(capacity_granules, bitmaps),
            live: LiveSpans { marks, granules: 0 },
            capacity_granules,
            open_granules: 0,
        }
    }

    /// As [`new`](Self::new), in memory that holds anything: writes all of it.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn new_clearing(
        capacity_granules: u32,
        bitmaps: &'m mut [u64],
        marks: &'m mut [u8],
    ) -> Self {
        bitmaps.fill(0);
        marks.fill(0);
        Self::new(capacity_granules, bitmaps, marks)
    }

    /// Goes on in the memory of `larger`, none of whose granules are open. `O(capacity)`.
    ///
    /// # Panics
    /// If its capacity is less.
    pub fn move_to(&mut self, larger: Self) {
        assert!(self.capacity_granules <= larger.capacity_granules, "{larger:?} for {self:?}");
        self.free.move_to(larger.free);
        self.live.move_to(larger.live);
        self.capacity_granules = larger.capacity_granules;
    }

    /// Adds the granules of `range` as free ones, merged with their free neighbours. `O(log²)`.
    ///
    /// No granule may be opened twice.
    ///
    /// # Panics
    /// If `range` reaches past the capacity. In debug builds also if one of its ends is open.
    pub fn open(&mut self, range: Range<u32>) {
        let capacity = self.capacity_granules;
        assert!(range.end <= capacity, "cannot open {range:?} of {capacity} granules");
        if range.is_empty() {
            return;
        }
        debug_assert!(!self.is_open(range.start), "granule {} is open already", range.start);
        debug_assert!(!self.is_open(range.end - 1), "granule {} is open already", range.end - 1);
        self.open_granules += range.end - range.start;
        self.free.merge(range);
    }

    /// Takes a span of `granules` granules.
    ///
    /// The smallest order that has a free block of at least `granules` granules serves, and of
    /// its blocks the lowest; the span starts where that block starts, and what it leaves stays
    /// free. `None` if `granules` is zero or no single free block is long enough, although
    /// several neighbours may be: [`alloc_at`](Self::alloc_at) takes those. `O(log)`.
    #[inline]
    pub fn alloc(&mut self, granules: u32) -> Option<Span> {
        self.alloc_aligned(granules, 1)
    }

    /// As [`alloc`](Self::alloc), at a multiple of `align_granules`.
    ///
    /// Only free blocks of at least `align_granules` granules serve. `None` also if
    /// `align_granules` is not a power of two.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub fn alloc_aligned(&mut self, granules: u32, align_granules: u32) -> Option<Span> {
        if granules == 0 || !align_granules.is_power_of_two() {
            return None;
        }
        let enough = granules.max(align_granules).checked_next_power_of_two()?;
        let block = self.free.first(enough.ilog2())?;
        let span = Span { granule: block.granule, granules };
        self.free.remove(block);
        self.free.put_back(span.range().end..block.range().end);
        self.live.insert(span);
        Some(span)
    }

    /// Takes exactly the `granules` granules from `granule`, if all of them are free; else
    /// changes nothing. `O(log²)`.
    pub fn alloc_at(&mut self, granule: u32, granules: u32) -> Option<Span> {
        let end = granule.checked_add(granules)?;
        if granules == 0 || !self.free.claim(granule..end) {
            return None;
        }
        let span = Span { granule, granules };
        self.live.insert(span);
        Some(span)
    }

    /// Takes the whole free block that contains `granule`, such as to purge it; freeing the span
    /// puts it back. `None` if the granule is not free. `O(log)`.
    pub fn take_block_at(&mut self, granule: u32) -> Option<Span> {
        let block = self.free.around(granule)?;
        self.free.remove(block);
        self.live.insert(block.span());
        Some(block.span())
    }

    /// Frees the live span that starts at `granule`, and says what it was. `O(log)`; `O(log²)`
    /// for a span of many pieces.
    ///
    /// # Errors
    /// `granule` is not the head of a live span; nothing has changed.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub fn free(&mut self, granule: u32) -> Result<Span, FreeError> {
        let span = self.live_span(granule)?;
        self.live.remove(span);
        self.free.merge(span.range());
        Ok(span)
    }

    /// Cuts the live span that starts at `granule` to `granules` granules, and says how many at
    /// its end became free.
    ///
    /// # Errors
    /// `granule` is not the head of a live span, or `granules` is zero or above its length;
    /// nothing has changed.
    pub fn shrink(&mut self, granule: u32, granules: u32) -> Result<u32, ShrinkError> {
        let span = self.live_span(granule)?;
        if granules == 0 || granules > span.granules {
            return Err(ShrinkError::Length { span, granules });
        }
        let kept = Span { granule, granules };
        self.live.remove(span);
        self.live.insert(kept);
        self.free.merge(kept.range().end..span.range().end);
        Ok(span.granules - granules)
    }

    /// Grows the live span that starts at `granule` to `granules` granules where it lies, and
    /// says whether it is at least that long now. If not, nothing has changed. `O(log²)`.
    pub fn extend(&mut self, granule: u32, granules: u32) -> bool {
        let Some(span) = self.live.at(granule) else { return false };
        if granules <= span.granules {
            return true;
        }
        let Some(end) = granule.checked_add(granules) else { return false };
        if !self.free.claim(span.range().end..end) {
            return false;
        }
        self.live.remove(span);
        self.live.insert(Span { granule, granules });
        true
    }

    /// The exact length of the live span that starts at `granule`, granules.
    #[inline]
    pub fn len(&self, granule: u32) -> Option<u32> {
        self.live.at(granule).map(|span| span.granules)
    }

    /// The live span that contains `granule`. `O(log²)`.
    pub fn live_span_containing(&self, granule: u32) -> Option<Span> {
        self.live.around(granule)
    }

    /// The free block that contains `granule`. `O(log)`.
    pub fn free_block_containing(&self, granule: u32) -> Option<Span> {
        self.free.around(granule).map(|block| block.span())
    }

    /// The first free block of exactly `order` at or after `granule`.
    pub fn first_free_block(&self, order: u32, granule: u32) -> Option<Span> {
        let from = granule.div_ceil(1 << order);
        let index = self.free.bitmaps.get(order as usize)?.first_from(from)?;
        Some(Span { granule: index << order, granules: 1 << order })
    }

    /// The number of free blocks of each order, up to the largest that the capacity allows.
    pub fn free_blocks_by_order(&self) -> &[u32] {
        &self.free.counts[..=self.capacity_granules.ilog2() as usize]
    }

    /// The order of the largest free block.
    pub const fn largest_free_order(&self) -> Option<u32> {
        self.free.orders.checked_ilog2()
    }

    /// How many granules are free.
    pub const fn free_granules(&self) -> u32 {
        self.open_granules - self.live.granules
    }

    /// How many granules are live.
    pub const fn live_granules(&self) -> u32 {
        self.live.granules
    }

    /// How many granules have been opened.
    pub const fn open_granules(&self) -> u32 {
        self.open_granules
    }

    /// How many granules can be opened in all.
    pub const fn capacity_granules(&self) -> u32 {
        self.capacity_granules
    }

    #[inline]
    fn live_span(&self, granule: u32) -> Result<Span, FreeError> {
        self.live.at(granule).ok_or_else(|| self.refusal(granule))
    }

    #[cold]
    fn refusal(&self, granule: u32) -> FreeError {
        if granule >= self.capacity_granules {
            FreeError::BeyondCapacity { granule, capacity_granules: self.capacity_granules }
        } else if let Some(block) = self.free_block_containing(granule) {
            FreeError::Free { granule, block }
        } else if let Some(span) = self.live_span_containing(granule) {
            FreeError::Interior { granule, span }
        } else {
            FreeError::NotOpen { granule }
        }
    }

    fn is_open(&self, granule: u32) -> bool {
        self.free.around(granule).is_some() || self.live.around(granule).is_some()
    }
}

impl fmt::Debug for Buddy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buddy")
            .field("capacity_granules", &self.capacity_granules)
            .field("open_granules", &self.open_granules)
            .field("live_granules", &self.live.granules)
            .field("free_blocks_by_order", &self.free_blocks_by_order())
            .finish_non_exhaustive()
    }
}
