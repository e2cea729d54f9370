//! Giving back pages of free blocks in slabs that stay in use; see [`offer`](crate::offer).

use core::{ops::Range, ptr::NonNull};

use super::{Arena, Middle};
use crate::{
    backend::{Backend, Region},
    buddy::Span,
    config::Config,
    descriptor::Descriptor,
    event::{Event, EventKind, EventSink},
    free_blocks::FreeBlock,
    heap::Heap,
    offer::Claim,
    remote::Chain,
    sync::atomic::Ordering::Relaxed,
};

/// A slab that may be purged in part has fewer blocks than this: eight of them fill all granules
/// but the last.
const MAX_BLOCKS: usize = 16;

/// Blocks that were taken out of a slab to be purged.
struct Begun<'a> {
    slab: &'a Descriptor,
    chain: Chain,
    /// Which of the slab's blocks were without pages already.
    before: u16,
}

impl<C: Config> Arena<C> {
    /// Offers the free blocks of a slab, all in its remote list. Owner only; the slab is open.
    pub(crate) fn offer(&self, slab: &Descriptor) {
        if slab.offer.make() {
            return;
        }
        let granule = self.granule_of(slab);
        let mut middle = self.middle.lock();
        let now = middle.pool.as_ref().map_or(0, |pool| pool.now());
        if slab.offer.enqueue(now) {
            self.push_offer(&mut middle, granule);
        }
        drop(middle);
        self.record(EventKind::BlocksOffered, Span { granule, granules: slab.granules.get() });
    }

    fn push_offer(&self, middle: &mut Middle, granule: u32) {
        let offer_of = |granule| &self.descriptor(granule).offer;
        middle.offers.push(granule, offer_of(granule), offer_of);
    }

    /// Ends the offer of a slab, if it has one: from now on nobody takes blocks out of it. Returns
    /// which blocks were without pages. Owner only.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(crate) fn withdraw(&self, slab: &Descriptor) -> u16 {
        if slab.offer.withdraw() {
            return 0;
        }
        let mut middle = self.middle.lock();
        let purged = slab.offer.end();
        if purged != 0 {
            middle.offers.purged_bytes -= self.purged_bytes(slab, purged);
            middle.note_peaks(C::GRANULE_BYTES);
        }
        purged
    }

    /// The blocks of a slab whose bits are set have no pages but the first, until they are used.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub(crate) fn note_purged_blocks(&self, slab: &Descriptor, blocks: u16) {
        for index in (0..MAX_BLOCKS).filter(|index| blocks & (1 << index) != 0) {
            self.note_gone(self.purgeable(slab, index));
        }
    }

    /// Whether free blocks of slabs wait to be purged.
    pub(super) fn has_offers(&self) -> bool {
        self.middle.lock().offers.first().is_some()
    }

    /// Gives back pages of free blocks in slabs that have offered them for at least `age_ticks`
    /// steps; returns how many bytes.
    pub(super) fn purge_offers(&self, region: &Region<NonNull<u8>>, age_ticks: u8) -> usize {
        let mut purged_bytes = 0;
        while let Some(begun) = self.begin_offer(age_ticks) {
            purged_bytes += self.purge_blocks(region, begun);
        }
        purged_bytes
    }

    /// Takes the blocks out of the next slab that is due.
    fn begin_offer(&self, age_ticks: u8) -> Option<Begun<'_>> {
        let mut middle = self.middle.lock();
        let now = middle.pool.as_ref()?.now();
        loop {
            let granule = middle.offers.first()?;
            let slab = self.descriptor(granule);
            let claim = slab.offer.claim(now, age_ticks);
            if claim == Claim::Wait {
                return None;
            }
            middle.offers.pop(&slab.offer);
            match claim {
                Claim::Purge => {
                    middle.pool.as_mut()?.begin_slab_purge();
                    let (chain, before) = (slab.remote.drain(), slab.offer.purged());
                    return Some(Begun { slab, chain, before });
                }
                Claim::Requeue => self.push_offer(&mut middle, granule),
                Claim::Drop | Claim::Wait => {}
            }
        }
    }

    /// Gives back the pages of the blocks that were taken out of a slab, and then the blocks.
    fn purge_blocks(&self, region: &Region<NonNull<u8>>, begun: Begun<'_>) -> usize {
        let Begun { slab, chain, before } = begun;
        let mut blocks = [0; MAX_BLOCKS];
        let mut count = 0;
        // SAFETY: I2: the offer let this thread take the chain out: nobody else has its blocks.
        let is_whole = unsafe {
            slab.walk(chain, |located| {
                blocks[count % MAX_BLOCKS] = located.offset_bytes;
                count += 1;
            })
        };
        if !is_whole && count > 0 {
            // Its link was overwritten, and what followed it is lost: neither is handed out again.
            count -= 1;
            Heap::<C>::report_overwritten(slab, blocks[count % MAX_BLOCKS]);
        }
        let blocks = &blocks[..count.min(MAX_BLOCKS)];
        let mut purged = 0;
        for index in blocks.iter().map(|offset| offset / slab.block_bytes.get()) {
            if before & (1 << index) == 0 && self.purge_block(region, slab, index) {
                purged |= 1 << index;
            }
        }
        let purged_bytes = self.purged_bytes(slab, purged);
        if purged_bytes > 0 {
            let start = self.granule_of(slab);
            let granules = start..start + slab.granules.get();
            self.note_sparse(granules.clone());
            // SAFETY: the span is in use, so its pages are committed.
            unsafe { self.backend.expect_sparse(region, self.bytes_of(granules)) };
        }
        self.finish_offer(slab, blocks, purged, purged_bytes);
        purged_bytes as usize
    }

    fn finish_offer(&self, slab: &Descriptor, blocks: &[usize], purged: u16, purged_bytes: u64) {
        let mut middle = self.middle.lock();
        // The blocks are still out, so no holder has touched them, whatever became of the offer.
        if slab.offer.note_purged(purged) {
            middle.offers.purged_bytes += purged_bytes;
        }
        if let (Some(&first), Some(&last)) = (blocks.first(), blocks.last()) {
            let last = slab.own.locate(last).block;
            // SAFETY: I2: the chain is as it was taken out, as far as it is whole.
            unsafe { Heap::send_chain(self, slab, first, last, blocks.len() as u32) };
        }
        if let Some(pool) = &mut middle.pool {
            pool.finish_slab_purge();
        }
    }

    /// The pages of a block that don't hold its link, from the region's base, bytes.
    fn purgeable(&self, slab: &Descriptor, index: usize) -> Range<usize> {
        let block_bytes = slab.block_bytes.get();
        let start = self.granule_of(slab) as usize * C::GRANULE_BYTES + index * block_bytes;
        let page_bytes = self.page_bytes();
        let after_link = (start + size_of::<FreeBlock>()).next_multiple_of(page_bytes);
        after_link..((start + block_bytes) & !(page_bytes - 1)).max(after_link)
    }

    /// Bytes in the pages that blocks whose bits are set give back.
    fn purged_bytes(&self, slab: &Descriptor, blocks: u16) -> u64 {
        (0..MAX_BLOCKS)
            .filter(|index| blocks & (1 << index) != 0)
            .map(|index| self.purgeable(slab, index).len() as u64)
            .sum()
    }

    /// Gives the pages of a free block back but the first; false if there are none, or the backend
    /// refuses.
    fn purge_block(&self, region: &Region<NonNull<u8>>, slab: &Descriptor, index: usize) -> bool {
        let range = self.purgeable(slab, index);
        if range.is_empty() {
            return false;
        }
        self.count_call();
        // SAFETY: I2: the block is the caller's, and free; its first page stays.
        if unsafe { self.backend.purge(region, range.clone()) }.is_err() {
            return false;
        }
        self.counts.purges.fetch_add(1, Relaxed);
        self.counts.purged_bytes.fetch_add(range.len() as u64, Relaxed);
        if C::Sink::ENABLED {
            let address = region.base().addr().get() + range.start;
            self.sink.record(Event::new(EventKind::Purge, address, range.len(), 0));
        }
        true
    }
}
