//! How much of each granule the system has backed with memory: what was carved into blocks or handed
//! out whole since the last purge.
//!
//! A byte a granule. Whoever hands memory out or gives pages back is the only one to do so in that
//! granule; readers sum the bytes up. Nothing but statistics depends on them, so they may be off by
//! the slab from which a thread allocates: blocks whose pages had gone come out of it unseen, until it
//! is full.

use core::{ops::Range, slice};

use super::{Arena, growth::LARGE_PAGE_BYTES};
use crate::{
    config::Config,
    descriptor::Descriptor,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

/// All of a granule; a byte counts in these parts, from the granule's start.
const WHOLE: u8 = 16;
/// Beside the count: the granule lies in a larger page, which is backed as a whole.
const IN_LARGE_PAGE: u8 = 0x80;
/// Beside the count: the granule's descriptor was written to, which is never given back.
const DESCRIBED: u8 = 0x40;
const PARTS: u8 = !(IN_LARGE_PAGE | DESCRIBED);

impl<C: Config> Arena<C> {
    const PART_BYTES: usize = C::GRANULE_BYTES / WHOLE as usize;
    const LARGE_PAGE_GRANULES: usize = match LARGE_PAGE_BYTES / C::GRANULE_BYTES {
        0 => 1,
        granules => granules,
    };

    /// The bytes of these granules, as far as the region has them: pages may reach beyond it.
    fn touched(&self, granules: Range<usize>) -> &[AtomicU8] {
        let table = self.touched.load(Relaxed);
        let end = granules.end.min(self.region_bytes.load(Relaxed) / C::GRANULE_BYTES);
        if table.is_null() || granules.start >= end {
            return &[];
        }
        // SAFETY: I3: the table has a byte for each granule, and is never given back.
        unsafe { slice::from_raw_parts(table.add(granules.start), end - granules.start) }
    }

    /// Blocks were carved from a slab, at these offsets. Owner only.
    pub(crate) fn note_carved(&self, slab: &Descriptor, bytes: Range<usize>) {
        let start = self.granule_of(slab) as usize * C::GRANULE_BYTES;
        let end = (start + bytes.end).next_multiple_of(self.page_bytes());
        self.note_touched(start + bytes.start..end);
    }

    /// How much of the first granule of a slab is backed with memory, from its start, bytes.
    pub(crate) fn touched_in(&self, slab: &Descriptor) -> usize {
        let granule = self.granule_of(slab) as usize;
        let parts = |byte: &AtomicU8| (byte.load(Relaxed) & PARTS) as usize;
        self.touched(granule..granule + 1).first().map_or(0, parts) * Self::PART_BYTES
    }

    /// Bytes from the region's base, from the start of which their granules were in use before, are
    /// in use from now on.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn note_touched(&self, bytes: Range<usize>) {
        let granules = bytes.start / C::GRANULE_BYTES..bytes.end.div_ceil(C::GRANULE_BYTES);
        let first = granules.start;
        for (granule, byte) in granules.clone().zip(self.touched(granules)) {
            let end = bytes.end.min((granule + 1) * C::GRANULE_BYTES);
            let parts = (end - granule * C::GRANULE_BYTES).div_ceil(Self::PART_BYTES) as u8;
            // Of the descriptors of a large block, the first is written to.
            let described = if granule == first { DESCRIBED } else { 0 };
            let before = byte.load(Relaxed);
            if before & PARTS < parts || before & described != described {
                let flags = before & !PARTS | described;
                byte.store(flags | parts.max(before & PARTS), Relaxed);
            }
            if before & IN_LARGE_PAGE != 0 && before & PARTS < WHOLE {
                self.note_large_page(granule);
            }
        }
    }

    /// A larger page was touched that `granule` lies in.
    fn note_large_page(&self, granule: usize) {
        let first = granule - granule % Self::LARGE_PAGE_GRANULES;
        for byte in self.touched(first..first + Self::LARGE_PAGE_GRANULES) {
            let before = byte.load(Relaxed);
            if before & IN_LARGE_PAGE != 0 {
                let whole = before & !PARTS | WHOLE;
                // Where it fails, the granule was purged meanwhile, or is in use itself.
                let _ = byte.compare_exchange(before, whole, Relaxed, Relaxed);
            }
        }
    }

    /// Granules that were just opened will be backed by larger pages, but for the ends.
    pub(super) fn note_dense(&self, granules: Range<u32>) {
        let first = (granules.start as usize).next_multiple_of(Self::LARGE_PAGE_GRANULES);
        let end = granules.end as usize / Self::LARGE_PAGE_GRANULES * Self::LARGE_PAGE_GRANULES;
        for byte in self.touched(first..end.max(first)) {
            byte.store(IN_LARGE_PAGE, Relaxed);
        }
    }

    /// Granules will not be backed by larger pages any more, nor will what shares one with them.
    pub(super) fn note_sparse(&self, granules: Range<u32>) {
        let first = granules.start as usize / Self::LARGE_PAGE_GRANULES * Self::LARGE_PAGE_GRANULES;
        let end = (granules.end as usize).next_multiple_of(Self::LARGE_PAGE_GRANULES);
        for byte in self.touched(first..end) {
            byte.fetch_and(!IN_LARGE_PAGE, Relaxed);
        }
    }

    /// Granules, in nobody's use, have no pages any more.
    pub(super) fn note_untouched(&self, granules: Range<u32>) {
        for byte in self.touched(granules.start as usize..granules.end as usize) {
            byte.fetch_and(!PARTS, Relaxed);
        }
    }

    /// Pages between others of a span have been given back. Owner only.
    pub(super) fn note_gone(&self, bytes: Range<usize>) {
        let granules = bytes.start / C::GRANULE_BYTES..bytes.end.div_ceil(C::GRANULE_BYTES);
        for (granule, byte) in granules.clone().zip(self.touched(granules)) {
            let start = bytes.start.max(granule * C::GRANULE_BYTES);
            let end = bytes.end.min((granule + 1) * C::GRANULE_BYTES);
            let gone = ((end - start) / Self::PART_BYTES) as u8;
            let before = byte.load(Relaxed);
            let parts = (before & PARTS).saturating_sub(gone);
            byte.store(before & !PARTS | parts, Relaxed);
        }
    }

    /// Bytes of all granules, as far as they were touched since their last purge.
    pub(super) fn touched_bytes(&self) -> u64 {
        let parts = |byte: &AtomicU8| u64::from(byte.load(Relaxed) & PARTS);
        let open = self.touched(0..self.opened_bytes() / C::GRANULE_BYTES);
        open.iter().map(parts).sum::<u64>() * Self::PART_BYTES as u64
    }

    /// Pages of descriptors that were written to.
    pub(super) fn descriptor_pages(&self) -> usize {
        let in_page = (self.page_bytes() / size_of::<Descriptor>()).max(1);
        let described = |byte: &AtomicU8| byte.load(Relaxed) & DESCRIBED != 0;
        let open = self.touched(0..self.opened_bytes() / C::GRANULE_BYTES);
        open.chunks(in_page).filter(|page| page.iter().any(described)).count()
    }
}
