//! Where an arena's tables lie in its metadata region.

use core::{num::NonZeroUsize, ops::Range, ptr::NonNull, slice};

use crate::{
    buddy::Buddy, config::Config, descriptor::Descriptor, heap::Heap, span_pool::SpanPool,
};

/// The tables of a pool, in order: buddy bitmaps, dirty bitmap, buddy marks, ages.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolTables {
    start: usize,
    granules: u32,
}

impl PoolTables {
    fn bitmap_words(&self) -> [usize; 2] {
        [Buddy::bitmap_words(self.granules), SpanPool::bitmap_words(self.granules)]
    }

    fn end(&self) -> usize {
        let words: usize = self.bitmap_words().iter().sum();
        self.start + words * size_of::<u64>() + 2 * self.granules as usize
    }

    /// The empty pool over these tables of the metadata at `base`.
    ///
    /// # Safety
    /// - The tables are committed, zeroed, immortal and lent nowhere else.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) unsafe fn build(&self, base: NonNull<u8>) -> SpanPool<'static> {
        let [buddy_words, dirty_words] = self.bitmap_words();
        let granules = self.granules as usize;
        // SAFETY: the four parts are disjoint and inside the tables; see the layout.
        let (bitmaps, dirty, marks, ages) = unsafe {
            let words = base.add(self.start).cast::<u64>().as_ptr();
            let bytes = words.add(buddy_words + dirty_words).cast::<u8>();
            (
                slice::from_raw_parts_mut(words, buddy_words),
                slice::from_raw_parts_mut(words.add(buddy_words), dirty_words),
                slice::from_raw_parts_mut(bytes, granules),
                slice::from_raw_parts_mut(bytes.add(granules), granules),
            )
        };
        SpanPool::new(Buddy::new(self.granules, bitmaps, marks), dirty, ages)
    }
}

/// How many granules the first tables of a pool are for, which share a page: a small program touches
/// no others, where those of a large region would be in a page each.
const FIRST_GRANULES: u32 = 1024;

/// The parts of the metadata of `granules` granules, in order: the pool's first tables, its tables for
/// all granules, what is touched, heaps, descriptors. The tables before the heaps are committed at once
/// and touched as they are needed; heaps and descriptors are committed as they come into use.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetadataLayout {
    granules: u32,
    page_bytes: usize,
    heap_bytes: usize,
    heap_align: usize,
    max_heaps: usize,
}

impl MetadataLayout {
    pub(super) fn new<C: Config>(granules: u32, page_bytes: usize) -> Self {
        Self {
            granules,
            page_bytes,
            heap_bytes: size_of::<Heap<C>>(),
            heap_align: align_of::<Heap<C>>(),
            // A region that the system has cut short needs no room for as many owners.
            max_heaps: C::MAX_HEAPS.min((granules as usize / 4).max(16)),
        }
    }

    /// The tables of the pool to begin with: the only ones where there is little to save.
    pub(super) fn first_tables(&self) -> PoolTables {
        let has_first = self.granules >= 16 * FIRST_GRANULES;
        let granules = if has_first { FIRST_GRANULES } else { self.granules };
        PoolTables { start: 0, granules }
    }

    /// The tables for all granules.
    pub(super) fn all_tables(&self) -> PoolTables {
        let first = self.first_tables();
        let is_first = first.granules == self.granules;
        let start = if is_first { 0 } else { first.end().next_multiple_of(self.page_bytes) };
        PoolTables { start, granules: self.granules }
    }

    fn heaps_start(&self) -> usize {
        (self.touched_start() + self.granules as usize).next_multiple_of(self.align().get())
    }

    /// The bytes that say what is touched.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn touched_start(&self) -> usize {
        self.all_tables().end()
    }

    /// The tables that are committed at once.
    pub(super) fn tables(&self) -> Range<usize> {
        0..self.heaps_start()
    }

    /// The pages that hold the heaps of `indices`, without those that hold earlier ones.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(super) fn heaps(&self, indices: Range<usize>) -> Range<usize> {
        self.pages(self.heaps_start(), self.heap_bytes, indices)
    }

    /// How many heaps to commit together: what fills whole pages best.
    pub(super) fn heaps_at_once(&self) -> usize {
        (4 * self.page_bytes).div_ceil(self.heap_bytes)
    }

    /// How many heaps there is room for.
    pub(super) fn max_heaps(&self) -> usize {
        self.max_heaps
    }

    pub(super) fn descriptors_start(&self) -> usize {
        self.heaps(0..self.max_heaps).end
    }

    /// The pages that hold the descriptors of `granules`, without those that hold earlier ones.
    pub(super) fn new_descriptors(&self, granules: Range<u32>) -> Range<usize> {
        let indices = granules.start as usize..granules.end as usize;
        self.pages(self.descriptors_start(), size_of::<Descriptor>(), indices)
    }

    fn pages(&self, start: usize, item_bytes: usize, indices: Range<usize>) -> Range<usize> {
        let page_end = |index: usize| (index * item_bytes).next_multiple_of(self.page_bytes);
        start + page_end(indices.start)..start + page_end(indices.end)
    }

    /// Bytes in pages that were touched: heaps, descriptors, and of the tables as much as stands for
    /// what is open, in each of them.
    pub(super) fn used_bytes(
        &self,
        open_granules: usize,
        heaps: usize,
        descriptor_pages: usize,
    ) -> usize {
        let pages = |bytes: usize| bytes.div_ceil(self.page_bytes);
        let first_granules = self.first_tables().granules;
        let has_first = first_granules < self.granules;
        let mut tables = pages(open_granules) + usize::from(has_first);
        if !has_first || open_granules > first_granules as usize {
            // Marks and ages; a bit each for what is free, and for what is dirty.
            tables += 2 * pages(open_granules) + 2 * pages(open_granules.div_ceil(8));
        }
        let bytes = (tables + descriptor_pages) * self.page_bytes;
        (heaps * self.heap_bytes).next_multiple_of(self.page_bytes) + bytes
    }

    pub(super) fn bytes(&self) -> usize {
        self.new_descriptors(0..self.granules).end
    }

    /// Of the whole metadata, and of the heaps in it.
    pub(super) fn align(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.page_bytes.max(self.heap_align)).unwrap_or(NonZeroUsize::MIN)
    }
}
