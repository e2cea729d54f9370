//! Reserving the region on first use, and opening more of it.

use core::{fmt, num::NonZeroUsize, ops::Range, ptr::NonNull};

use super::{Arena, Held, layout::MetadataLayout};
use crate::{
    backend::{Backend, BackendError, Contents, Region},
    buddy::Span,
    config::Config,
    event::EventKind,
    span_pool::{SpanPool, Taken},
    sync::atomic::Ordering::{Relaxed, Release},
};

/// The state that the growth lock guards.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Heaps built so far, and how many have memory committed.
    pub(super) heaps_committed: usize,
    /// Why the backend refused last.
    pub(super) refusal: Option<Refusal>,
}

/// Why an arena could not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The limit on reserved bytes is reached.
    Limit {
        /// The limit, bytes.
        limit_bytes: usize,
        /// Bytes reserved already.
        reserved_bytes: usize,
        /// Bytes that were needed on top.
        needed_bytes: usize,
    },
    /// The region is used up.
    Region {
        /// Length of the region, bytes.
        region_bytes: usize,
        /// Bytes that were needed on top of what is in use.
        needed_bytes: usize,
    },
    /// The backend refused.
    Backend(BackendError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit_bytes, reserved_bytes, needed_bytes } => write!(
                f,
                "limit of {limit_bytes} bytes reached: {reserved_bytes} reserved, \
                 {needed_bytes} more needed"
            ),
            Self::Region { region_bytes, needed_bytes } => {
                write!(f, "region of {region_bytes} bytes used up, {needed_bytes} more needed")
            }
            Self::Backend(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Refusal {}

/// A program that has grown this far uses what it opens next, but for a small part, bytes.
const DENSE_FROM_BYTES: usize = 32 << 20;
/// A program is dense that has allocated this many parts of one more, of what its spans hold.
const DENSE_PARTS: u64 = 3;
/// What ground for many spans is opened in multiples of, bytes: the larger page of most machines.
pub(super) const LARGE_PAGE_BYTES: usize = 2 << 20;

impl<C: Config> Arena<C> {
    /// Reserves the region and its tables on first use; false if the backend refuses.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn set_up(&self, _growing: &mut Growth) -> bool {
        let () = C::VALID;
        if !self.base.load(Relaxed).is_null() {
            return true;
        }
        let mut granules = C::REGION_BYTES / C::GRANULE_BYTES;
        while granules >= 4 {
            if self.try_set_up(granules as u32) {
                return true;
            }
            granules /= 2;
        }
        false
    }

    pub(super) fn try_set_up(&self, granules: u32) -> bool {
        let layout = MetadataLayout::new::<C>(granules, self.metadata.page_bytes().get());
        let region_bytes = granules as usize * C::GRANULE_BYTES;
        let (Some(bytes), Some(metadata_bytes)) =
            (NonZeroUsize::new(region_bytes), NonZeroUsize::new(layout.bytes()))
        else {
            return false;
        };
        self.count_call();
        let Ok(tables) = self.metadata.reserve(metadata_bytes, layout.align()) else {
            return false;
        };
        self.count_call();
        let align = NonZeroUsize::MIN.saturating_add(
            (1usize << 30).min(region_bytes.next_power_of_two()).max(C::GRANULE_BYTES) - 1,
        );
        let region = self
            .backend
            .reserve(bytes, align)
            .or_else(|_| self.backend.reserve(bytes, granule_align::<C>()));
        let Ok(region) = region else {
            // SAFETY: nothing of the tables is in use yet.
            let _ = unsafe { self.metadata.release(tables) };
            return false;
        };
        self.metadata_base.store(tables.base().as_ptr(), Relaxed);
        self.region_bytes.store(region_bytes, Relaxed);
        if self.commit_metadata(layout.tables()).is_err() {
            self.region_bytes.store(0, Relaxed);
            // The last first, as a backend over lent memory needs it.
            // SAFETY: nothing of either is in use yet.
            unsafe {
                let _ = self.backend.release(region);
                let _ = self.metadata.release(tables);
            }
            return false;
        }
        // SAFETY: I4: the tables are committed and zeroed, and each part is lent once.
        let pool = unsafe { layout.first_tables().build(tables.base()) };
        self.middle.lock().pool = Some(pool);
        // SAFETY: the offsets are inside the reserved metadata.
        unsafe {
            self.descriptors
                .store(tables.base().add(layout.descriptors_start()).cast().as_ptr(), Relaxed);
            self.heaps.store(tables.base().add(layout.heaps(0..0).start).cast().as_ptr(), Relaxed);
            self.touched.store(tables.base().add(layout.touched_start()).cast().as_ptr(), Relaxed);
        }
        self.secret.store(C::secret(), Relaxed);
        self.base.store(region.base().as_ptr(), Release);
        true
    }

    pub(super) fn metadata_layout(&self) -> MetadataLayout {
        let granules = self.region_bytes.load(Relaxed) / C::GRANULE_BYTES;
        MetadataLayout::new::<C>(granules as u32, self.metadata.page_bytes().get())
    }

    /// Commits a page-aligned range of the metadata, zeroed.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn commit_metadata(&self, range: Range<usize>) -> Result<(), Refusal> {
        let base = NonNull::new(self.metadata_base.load(Relaxed));
        let Some((base, bytes)) = base.zip(NonZeroUsize::new(self.metadata_layout().bytes()))
        else {
            return Ok(());
        };
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: this is the region that `try_set_up` reserved.
        let region = unsafe { Region::new(base, bytes) };
        self.count_call();
        // SAFETY: the layout's ranges are page aligned and inside the region.
        let contents = unsafe { self.metadata.commit(&region, range.clone()) };
        if contents.map_err(Refusal::Backend)? == Contents::Unspecified {
            // SAFETY: I4: just committed, and nothing lives there yet.
            unsafe { base.add(range.start).write_bytes(0, range.len()) };
        }
        Ok(())
    }

    /// Opens more of the region, unless somebody did since `seen` bytes were open.
    pub(super) fn grow(
        &self,
        seen: usize,
        granules: u32,
        align_granules: u32,
        large: Held,
    ) -> Grown {
        let mut growth = self.growth.lock();
        if !self.set_up(&mut growth) {
            return Grown::Refused;
        }
        let opened = self.opened_bytes.load(Relaxed);
        if opened != seen {
            return Grown::Retry;
        }
        let opened = (opened / C::GRANULE_BYTES) as u32;
        let start = self.with_pool(|pool| pool.free_from(opened)).unwrap_or(opened);
        let Some(start) = start.checked_next_multiple_of(align_granules) else {
            return Grown::Refused;
        };
        let Some(end) = start.checked_add(granules) else { return Grown::Refused };
        let capacity = (self.region_bytes.load(Relaxed) / C::GRANULE_BYTES) as u32;
        let ahead = (opened / 4).max(1 << 20 >> C::GRANULE_BYTES.ilog2());
        let ahead = ahead.min((C::GROWTH_BYTES / C::GRANULE_BYTES) as u32);
        let room = self.limit_granules().unwrap_or(capacity).min(capacity).max(opened);
        if end > room {
            growth.refusal = Some(self.refusal(end.min(capacity + granules) - opened, capacity));
            return Grown::Refused;
        }
        let stride = (LARGE_PAGE_BYTES / C::GRANULE_BYTES) as u32;
        let stride = if ahead < stride { 1 } else { stride.max(1) };
        let generous = (opened + ahead).next_multiple_of(stride).clamp(end, room);
        // Ground for many spans fills from its start; ground for a single large one may stay empty.
        let dense = granules <= ahead / 2 && self.is_dense();
        let mut open = |to| self.open(&mut growth, opened..to, dense);
        if !open(generous) && !open(end) {
            return Grown::Refused;
        }
        match self.with_pool_holding(large, |pool| pool.take_at(start, granules)) {
            Some(taken) => Grown::Taken(taken),
            // Somebody else was quicker.
            None => Grown::Retry,
        }
    }

    /// Whether the program has grown enough, and fills what it has.
    fn is_dense(&self) -> bool {
        let active = self.with_pool(|pool| pool.open_granules() - pool.cached_granules());
        let active_bytes = active.unwrap_or(0) as usize * C::GRANULE_BYTES;
        active_bytes >= DENSE_FROM_BYTES
            && self.held_bytes() / DENSE_PARTS >= active_bytes as u64 / (DENSE_PARTS + 1)
    }

    /// Opens the region as far as `granules` behind `end`, if all between `end` and what is not
    /// open yet is free.
    pub(crate) fn open_behind(&self, end: u32, granules: u32) -> bool {
        let mut growth = self.growth.lock();
        let opened = (self.opened_bytes.load(Relaxed) / C::GRANULE_BYTES) as u32;
        if self.with_pool(|pool| pool.free_from(opened)) != Some(end) {
            return false;
        }
        let capacity = (self.region_bytes.load(Relaxed) / C::GRANULE_BYTES) as u32;
        let room = self.limit_granules().unwrap_or(capacity).min(capacity);
        end.checked_add(granules)
            .filter(|&to| to <= room)
            .is_some_and(|to| self.open(&mut growth, opened..to, false))
    }

    pub(super) fn limit_granules(&self) -> Option<u32> {
        let limit = self.limit_bytes.load(Relaxed);
        (limit != 0).then(|| (limit / C::GRANULE_BYTES).min(u32::MAX as usize) as u32)
    }

    pub(super) fn refusal(&self, needed: u32, capacity: u32) -> Refusal {
        let needed_bytes = needed as usize * C::GRANULE_BYTES;
        let reserved_bytes = self.opened_bytes.load(Relaxed);
        match self.limit_bytes.load(Relaxed) {
            limit_bytes if limit_bytes != 0 && reserved_bytes + needed_bytes > limit_bytes => {
                Refusal::Limit { limit_bytes, reserved_bytes, needed_bytes }
            }
            _ => {
                Refusal::Region { region_bytes: capacity as usize * C::GRANULE_BYTES, needed_bytes }
            }
        }
    }

    /// Commits `range` and its descriptors, and gives it to the pool.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn open(&self, growth: &mut Growth, range: Range<u32>, dense: bool) -> bool {
        if range.is_empty() {
            return true;
        }
        let layout = self.metadata_layout();
        if let Err(refusal) = self.commit_metadata(layout.new_descriptors(range.clone())) {
            growth.refusal = Some(refusal);
            return false;
        }
        let Some(region) = self.region() else { return false };
        let bytes = self.bytes_of(range.clone());
        self.count_call();
        // SAFETY: the range is granule aligned, inside the region, and new.
        match unsafe { self.backend.commit(&region, bytes.clone()) } {
            Ok(_) => {}
            Err(error) => {
                growth.refusal = Some(Refusal::Backend(error));
                return false;
            }
        }
        let dense = dense && {
            self.count_call();
            // SAFETY: the range was just committed, and lies inside the region.
            unsafe { self.backend.expect_dense(&region, bytes.clone()) }
        };
        if dense {
            self.note_dense(range.clone());
        }
        // Release pairs with the Acquire of whoever looks a pointer up: descriptors first.
        self.opened_bytes.store(bytes.end, Release);
        self.with_pool(|pool| {
            self.make_room(pool, range.end);
            match dense {
                // A larger page is backed as a whole, whichever part of it is touched.
                true => pool.open_dirty(range.clone()),
                false => pool.open(range.clone()),
            }
        });
        let span = Span { granule: range.start, granules: range.end - range.start };
        self.record(EventKind::Grow, span);
        true
    }

    /// Moves the pool to its tables for all granules, if it has outgrown its first ones.
    fn make_room(&self, pool: &mut SpanPool<'static>, end: u32) {
        let Some(base) = NonNull::new(self.metadata_base.load(Relaxed)) else { return };
        if end > pool.capacity_granules() {
            // SAFETY: I4: they were committed with the first ones, and are lent once: no pool outgrows
            // them.
            pool.move_to(unsafe { self.metadata_layout().all_tables().build(base) });
        }
    }
}

/// What came of an attempt to grow.
pub(super) enum Grown {
    Taken(Taken),
    Retry,
    Refused,
}

fn granule_align<C: Config>() -> NonZeroUsize {
    NonZeroUsize::new(C::GRANULE_BYTES).unwrap_or(NonZeroUsize::MIN)
}
