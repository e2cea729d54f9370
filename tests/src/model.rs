//! What an allocator must have in mind: which blocks are live, and what their holders wrote.

use std::{collections::BTreeMap, ptr::NonNull};

/// A live block, as its holder knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Where it is.
    pub address: NonNull<u8>,
    /// How much was asked for, bytes.
    pub bytes: usize,
    /// The alignment asked for, bytes.
    pub align: usize,
    /// What its contents are made from.
    seed: u64,
}

/// Live blocks by address. No two overlap; each holds what was written into it.
#[derive(Debug, Default)]
pub struct Blocks {
    blocks: BTreeMap<usize, Live>,
    seeds: u64,
}

impl Blocks {
    /// How many blocks live.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether none do.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// All of them, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Live> {
        self.blocks.values()
    }

    /// Bytes that the holders asked for.
    pub fn requested_bytes(&self) -> u64 {
        self.iter().map(|live| live.bytes as u64).sum()
    }

    /// The `index`-th block, modulo how many there are.
    pub fn pick(&self, index: u16) -> Option<Live> {
        let count = self.blocks.len();
        (count > 0).then(|| *self.blocks.values().nth(usize::from(index) % count).unwrap())
    }

    /// The live block that `address` lies in.
    pub fn containing(&self, address: usize) -> Option<&Live> {
        let (start, live) = self.blocks.range(..=address).next_back()?;
        (address < start + live.bytes.max(1)).then_some(live)
    }

    /// Notes a new block and fills it.
    ///
    /// # Panics
    /// If it is misaligned, overlaps another, or should read as zero and does not.
    ///
    /// # Safety
    /// - The block is the caller's, `bytes` long if the allocator is right.
    pub unsafe fn insert(
        &mut self,
        address: NonNull<u8>,
        bytes: usize,
        align: usize,
        zeroed: bool,
    ) -> Live {
        self.seeds += 1;
        let live = Live { address, bytes, align, seed: self.seeds };
        self.place(live);
        // SAFETY: forwarded.
        unsafe {
            if zeroed {
                live.check_zero();
            }
            live.fill();
        }
        live
    }

    /// Forgets a block, whose contents must be whole.
    ///
    /// # Safety
    /// - The block is still the holder's.
    pub unsafe fn remove(&mut self, address: NonNull<u8>) -> Live {
        let live = self.forget(address);
        // SAFETY: forwarded.
        unsafe { live.check(live.bytes) };
        live
    }

    /// Forgets a block without looking at it: it is gone.
    pub fn forget(&mut self, address: NonNull<u8>) -> Live {
        self.blocks.remove(&address.addr().get()).expect("a live block")
    }

    /// Notes that a block has a new size and perhaps a new place. What both sizes hold must have
    /// come along.
    ///
    /// # Safety
    /// - The new block is the caller's.
    pub unsafe fn resize(&mut self, old: &Live, address: NonNull<u8>, bytes: usize) {
        self.forget(old.address);
        let mut live = Live { address, bytes, ..*old };
        self.place(live);
        // SAFETY: forwarded.
        unsafe {
            // What the old block held, where the new one is.
            Live { address, ..*old }.check(bytes.min(old.bytes));
            self.seeds += 1;
            live.seed = self.seeds;
            live.fill();
        }
        self.blocks.insert(address.addr().get(), live);
    }

    fn place(&mut self, live: Live) {
        let start = live.address.addr().get();
        assert!(start.is_multiple_of(live.align), "misaligned: {live:?}");
        let end = start.checked_add(live.bytes.max(1)).expect("inside the address space");
        if let Some((_, below)) = self.blocks.range(..end).next_back() {
            let below_end = below.address.addr().get() + below.bytes.max(1);
            assert!(below_end <= start, "{live:?} overlaps {below:?}");
        }
        self.blocks.insert(start, live);
    }

    /// Checks the contents of every block.
    ///
    /// # Safety
    /// - All of them are still their holders'.
    pub unsafe fn check_contents(&self) {
        for live in self.iter() {
            // SAFETY: forwarded.
            unsafe { live.check(live.bytes) };
        }
    }
}

/// Blocks up to here are checked byte by byte, larger ones by samples.
const WHOLE_BYTES: usize = 1024;
const STRIDE_BYTES: usize = 509;

impl Live {
    fn pattern(&self, offset: usize) -> u8 {
        let mixed = (offset as u64 ^ self.seed << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Never zero, so that lost contents show.
        (mixed >> 56) as u8 | 1
    }

    /// Where the block is written and checked.
    fn samples(&self) -> impl Iterator<Item = usize> + use<> {
        let edge = if self.bytes <= WHOLE_BYTES { self.bytes } else { WHOLE_BYTES / 2 };
        let tail = self.bytes - edge.min(self.bytes - edge);
        (0..edge).chain((edge..tail).step_by(STRIDE_BYTES)).chain(tail..self.bytes)
    }

    /// # Safety
    /// - The block is the caller's.
    unsafe fn fill(&self) {
        for offset in self.samples() {
            // SAFETY: forwarded; the offset lies in the block.
            unsafe { self.address.add(offset).write(self.pattern(offset)) };
        }
    }

    /// Checks what was written below `first_bytes`.
    ///
    /// # Safety
    /// - That much of the block is the caller's.
    unsafe fn check(&self, first_bytes: usize) {
        for offset in self.samples().filter(|offset| *offset < first_bytes) {
            // SAFETY: forwarded; the offset lies in the block.
            let byte = unsafe { self.address.add(offset).read() };
            let wanted = self.pattern(offset);
            assert_eq!(byte, wanted, "byte {offset} of {self:?} is not what was written");
        }
    }

    /// # Safety
    /// - The block is the caller's.
    unsafe fn check_zero(&self) {
        for offset in self.samples() {
            // SAFETY: forwarded; the offset lies in the block.
            let byte = unsafe { self.address.add(offset).read() };
            assert_eq!(byte, 0, "byte {offset} of {self:?} is not zero");
        }
    }
}
