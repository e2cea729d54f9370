//! Looks for damage: live blocks that overlap, or that somebody else has written to.
//!
//! Keeps its own books in a `static`, since it must not rely on the allocator whose state it doubts.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, MutexGuard};
use std::thread;

/// How much is allocated to find damage, bytes of each size; and how many blocks at most and least.
const PROBED_BYTES: usize = 4 << 20;
const MOST_BLOCKS: usize = 4096;
const LEAST_BLOCKS: usize = 6;
/// Blocks beyond this are written to in one word of each [`SPARSE_BYTES`].
const DENSE_BYTES: usize = 64 << 10;
const SPARSE_BYTES: usize = 512;
/// Other sizes that are live beside the block under test.
const OTHER_SIZES: [usize; 7] = [16, 104, 496, 2000, 12_000, 80_000, 600_000];

/// What a block is aligned to unless an act says otherwise.
pub(super) const ALIGN_BYTES: usize = 8;

/// Memory that the program holds, filled with a pattern of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live {
    start: usize,
    bytes: usize,
    pattern: u64,
    foreign: bool,
}

impl Live {
    /// Memory that is not the allocator's.
    pub(super) fn foreign(start: *mut u8, bytes: usize) -> Self {
        Self { start: start.expose_provenance(), bytes, pattern: 0, foreign: true }
    }

    fn words(&self) -> impl Iterator<Item = (*mut u64, u64)> + use<> {
        let (start, pattern) = (self.start, self.pattern);
        let step = if self.bytes <= DENSE_BYTES { 8 } else { SPARSE_BYTES };
        (0..self.bytes - 7).step_by(step).map(move |offset| {
            let word = std::ptr::with_exposed_provenance_mut(start + offset);
            (word, pattern.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (offset as u64) << 32)
        })
    }
}

/// What is wrong after an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    Overlap,
    Overwritten,
    Refused,
}

impl Damage {
    /// The line that says so; see [`CORRUPTED`](super::CORRUPTED).
    pub(super) const fn line(self) -> &'static str {
        match self {
            Self::Overlap => "corrupted: two live blocks overlap",
            Self::Overwritten => "corrupted: a live block was written to",
            Self::Refused => "corrupted: the allocator has no memory any more",
        }
    }
}

struct Books {
    live: [Live; 4 * MOST_BLOCKS],
    count: usize,
    patterns: u64,
}

static BOOKS: Mutex<Books> = Mutex::new(Books {
    live: [Live { start: 0, bytes: 0, pattern: 0, foreign: false }; 4 * MOST_BLOCKS],
    count: 0,
    patterns: 0,
});

fn books() -> MutexGuard<'static, Books> {
    BOOKS.lock().expect("nobody panics while holding the books")
}

/// An allocator under test, and the blocks that the program holds.
pub(super) struct Probe<A: 'static> {
    pub(super) alloc: &'static A,
}

impl<A: GlobalAlloc + Sync> Probe<A> {
    /// A program that holds a few blocks of many sizes.
    pub(super) fn new(alloc: &'static A) -> Self {
        let mut probe = Self { alloc };
        OTHER_SIZES.iter().for_each(|&bytes| _ = probe.take(bytes));
        probe
    }

    /// Allocates `bytes`, which are live from now on; null where the allocator refuses.
    pub(super) fn take(&mut self, bytes: usize) -> *mut u8 {
        self.take_aligned(bytes, ALIGN_BYTES)
    }

    /// The same with an alignment.
    pub(super) fn take_aligned(&mut self, bytes: usize, align: usize) -> *mut u8 {
        // SAFETY: no act asks for nothing.
        let start = unsafe { self.alloc.alloc(layout(bytes, align)) };
        self.hold(start, bytes);
        start
    }

    /// Counts memory that the allocator gave as live, unless it is null.
    pub(super) fn hold(&mut self, start: *mut u8, bytes: usize) {
        if !start.is_null() {
            let live = Live { foreign: false, ..Live::foreign(start, bytes) };
            self.enter(live);
        }
    }

    /// Counts memory as live.
    pub(super) fn enter(&mut self, mut live: Live) {
        let mut books = books();
        books.patterns += 1;
        live.pattern = books.patterns;
        // SAFETY: the memory is the program's; where the allocator is wrong about that, this is how it
        // comes out.
        live.words().for_each(|(word, value)| unsafe { word.write_volatile(value) });
        let place = books.count;
        books.live[place] = live;
        books.count += 1;
    }

    /// Strikes a block from the books, which is about to be freed.
    pub(super) fn give_up(&mut self, start: *mut u8) {
        let mut books = books();
        let count = books.count;
        let place = books.live[..count].iter().position(|live| live.start == start.addr());
        books.live.swap(place.expect("only live blocks are given up"), count - 1);
        books.count -= 1;
    }

    /// Frees a live block as it should be.
    pub(super) fn free(&mut self, start: *mut u8, bytes: usize) {
        self.give_up(start);
        // SAFETY: the block was live, and allocated so.
        unsafe { self.alloc.dealloc(start, layout(bytes, ALIGN_BYTES)) };
    }

    /// Whether a live block starts here.
    pub(super) fn is_live(&self, start: *mut u8) -> bool {
        let books = books();
        books.live[..books.count].iter().any(|live| live.start == start.addr())
    }

    /// Uses the allocator for a while, with blocks of `bytes`, `given_bytes` and other sizes, frees by
    /// this thread and by another.
    ///
    /// # Errors
    /// The damage that was found.
    pub(super) fn aftermath(&mut self, bytes: usize, given_bytes: usize) -> Result<(), Damage> {
        sound()?;
        for _ in 0..2 {
            self.take_many(bytes)?;
            if given_bytes != bytes {
                self.take_many(given_bytes)?;
            }
            for other in OTHER_SIZES {
                (0..8).try_for_each(|_| self.take_some(other))?;
            }
            sound()?;
            self.free_part(2);
            let alloc = self.alloc;
            // A thread that cannot be started frees nothing, which does no harm.
            let _ = thread::Builder::new()
                .spawn(move || Self { alloc }.free_part(2))
                .map(|it| it.join());
            sound()?;
        }
        self.free_part(1);
        Ok(())
    }

    fn take_many(&mut self, bytes: usize) -> Result<(), Damage> {
        let count = (PROBED_BYTES / bytes).clamp(LEAST_BLOCKS, MOST_BLOCKS);
        (0..count).try_for_each(|_| self.take_some(bytes))
    }

    fn take_some(&mut self, bytes: usize) -> Result<(), Damage> {
        if self.take(bytes).is_null() { Err(Damage::Refused) } else { Ok(()) }
    }

    /// Frees every `nth` block.
    fn free_part(&mut self, nth: usize) {
        let mut kept = 0;
        let mut books = books();
        for place in 0..books.count {
            let live = books.live[place];
            if live.foreign || place % nth != 0 {
                books.live[kept] = live;
                kept += 1;
            } else {
                let start = std::ptr::with_exposed_provenance_mut(live.start);
                // SAFETY: the block is live, was allocated so, and is struck from the books.
                unsafe { self.alloc.dealloc(start, layout(live.bytes, ALIGN_BYTES)) };
            }
        }
        books.count = kept;
    }
}

/// Whether every live block is where no other is, and as it was left.
fn sound() -> Result<(), Damage> {
    let mut books = books();
    let count = books.count;
    let live = &mut books.live[..count];
    live.sort_unstable_by_key(|live| live.start);
    if live.windows(2).any(|pair| pair[0].start + pair[0].bytes > pair[1].start) {
        return Err(Damage::Overlap);
    }
    // SAFETY: live memory is readable.
    let as_left = |(word, value): (*mut u64, u64)| unsafe { word.read_volatile() } == value;
    match live.iter().all(|live| live.words().all(as_left)) {
        true => Ok(()),
        false => Err(Damage::Overwritten),
    }
}

/// A layout that may be wrong for the block, but is one.
pub(super) fn layout(bytes: usize, align: usize) -> Layout {
    Layout::from_size_align(bytes, align).expect("sizes and alignments of acts are layouts")
}
