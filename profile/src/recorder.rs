//! Takes note of what an allocator does.
//!
//! What is known lies in shards, each behind a lock of its own: an allocator gives each heap a
//! shard, so that two heaps do not wait for each other. In it a block has a slot, a number that is
//! its own while it is live and that allocators have anyway, such as its place in a table; so
//! nothing is searched for. While a recorder is off it holds nothing
//! and costs its allocator one load; while it is on it takes its memory from the global allocator
//! of the program, so that must not be the one observed.
#![forbid(unsafe_code)]

mod ring;
mod shard;

use std::{
    panic::Location,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use self::shard::{Entry, Shard};
use crate::{
    Event, EventKind, Level, Mark, Memory, Pool, Recording, Report, StackId, Stacks, Weight, clock,
};

/// How many shards a recorder has, numbered from zero.
pub const SHARDS: usize = 256;

/// The most marks that are kept.
const MOST_MARKS: usize = 1 << 16;

/// A block that was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first address.
    pub address: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Bytes of the block, rounded up.
    pub block_bytes: u64,
    /// The stream or thread that it is for.
    pub owner: u64,
}

/// A shard on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Alone(Mutex<Shard>);

#[derive(Debug, Default)]
struct Session {
    begin_ns: u64,
    marks: Vec<Mark>,
    lost_marks: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    on: AtomicBool,
    recording: AtomicBool,
    memory: Memory,
    /// Chunks of events that shards may still take.
    budget: AtomicUsize,
    shards: OnceLock<Box<[Alone]>>,
    session: Mutex<Session>,
}

impl Recorder {
    /// Off, for blocks in one kind of memory.
    pub const fn new(memory: Memory) -> Self {
        Self {
            on: AtomicBool::new(false),
            recording: AtomicBool::new(false),
            memory,
            budget: AtomicUsize::new(0),
            shards: OnceLock::new(),
            session: Mutex::new(Session { begin_ns: 0, marks: Vec::new(), lost_marks: 0 }),
        }
    }

    /// Which memory it is for.
    pub const fn memory(&self) -> Memory {
        self.memory
    }

    /// Whether the allocator should tell anything.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        // Relaxed: whoever switches it on looks at all heaps afterwards, under their locks.
        self.on.load(Ordering::Relaxed)
    }

    /// Begins with nothing known, or ends and forgets. Returns whether that is a change.
    pub fn switch(&self, on: bool) -> bool {
        let changed = self.on.swap(on, Ordering::AcqRel) != on;
        if changed {
            self.recording.store(false, Ordering::Relaxed);
            self.all().iter().for_each(|shard| *lock(&shard.0) = Shard::default());
        }
        changed
    }

    fn all(&self) -> &[Alone] {
        self.shards.get_or_init(|| (0..SHARDS).map(|_| Alone::default()).collect())
    }

    /// # Panics
    /// There are not so many.
    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        lock(&self.all()[index].0)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block was allocated at `at`; a hit came from a free block at hand.
    ///
    /// # Panics
    /// There is no such shard; also below.
    #[cold]
    pub fn alloc(
        &self,
        (shard, slot): (usize, u32),
        block: Block,
        at: &'static Location<'static>,
        hit: bool,
    ) {
        let mut shard = self.shard(shard);
        let time_ns = clock::now_ns();
        let site = shard.insert(slot, block, Some(at), time_ns);
        self.push(&mut shard, time_ns, EventKind::Alloc { hit }, block, site);
    }

    /// A block was there before. Nothing, where it is known.
    pub fn seed(&self, (shard, slot): (usize, u32), block: Block) {
        let mut shard = self.shard(shard);
        if !shard.knows(slot) {
            shard.insert(slot, block, None, 0);
        }
    }

    /// A block is freed: call it before anybody else can get the slot or the address.
    #[cold]
    pub fn free(&self, (shard, slot): (usize, u32)) {
        let mut shard = self.shard(shard);
        let time_ns = clock::now_ns();
        if let Some((entry, owner, site)) = shard.remove(slot, time_ns) {
            let block = block_of(entry, owner);
            self.push(&mut shard, time_ns, EventKind::Free, block, site);
        }
    }

    /// A block has another size now.
    #[cold]
    pub fn resize(&self, (shard, slot): (usize, u32), bytes: u64, block_bytes: u64) {
        let mut shard = self.shard(shard);
        let time_ns = clock::now_ns();
        if let Some((entry, owner, site)) = shard.resize(slot, bytes, block_bytes) {
            let old = block_of(entry, owner);
            let new = Block { bytes, block_bytes, ..old };
            self.push(&mut shard, time_ns, EventKind::Free, old, site);
            let kind = EventKind::Alloc { hit: true };
            self.push(&mut shard, time_ns, kind, new, site);
        }
    }

    /// Anything else happened, to `block.bytes` at `block.address`.
    #[cold]
    pub fn note(
        &self,
        shard: usize,
        kind: EventKind,
        block: Block,
        at: Option<&'static Location<'static>>,
    ) {
        if self.is_recording() {
            let mut shard = self.shard(shard);
            let site = at.map_or(StackId::UNKNOWN, |at| shard.site(at));
            self.push(&mut shard, clock::now_ns(), kind, block, site);
        }
    }

    /// The program says where it is, as in `epoch 3`. Kept only while events are.
    pub fn mark(&self, label: &str) {
        if self.is_recording() {
            let mut session = self.session();
            if session.marks.len() < MOST_MARKS {
                session.marks.push(Mark { time_ns: clock::now_ns(), label: label.into() });
            } else {
                session.lost_marks += 1;
            }
        }
    }

    fn push(&self, shard: &mut Shard, time_ns: u64, kind: EventKind, block: Block, stack: StackId) {
        if self.is_recording() {
            let (Block { address, bytes, block_bytes, owner }, memory) = (block, self.memory);
            let weight = Weight::ONE;
            let event =
                Event { time_ns, address, bytes, block_bytes, owner, stack, kind, memory, weight };
            shard.ring.push(event, &self.budget);
        }
    }

    /// Whether events are kept.
    pub fn is_recording(&self) -> bool {
        self.recording.load(Ordering::Relaxed)
    }

    /// Keeps events from now on, the last `most_events` of them; earlier ones are forgotten.
    /// Each shard in use has at least 1,024 of its own.
    /// Returns the time, which tells recordings apart.
    pub fn begin(&self, most_events: usize) -> u64 {
        self.recording.store(false, Ordering::Relaxed);
        self.budget.store(most_events / ring::CHUNK, Ordering::Relaxed);
        self.all().iter().for_each(|shard| lock(&shard.0).ring.clear());
        let begin_ns = clock::now_ns();
        *self.session() = Session { begin_ns, ..Session::default() };
        self.recording.store(true, Ordering::Relaxed);
        begin_ns
    }

    /// When the recording that goes on began.
    pub fn session_begin_ns(&self) -> Option<u64> {
        self.is_recording().then(|| self.session().begin_ns)
    }

    /// Keeps no more events, and forgets those there are.
    pub fn end(&self) {
        self.recording.store(false, Ordering::Relaxed);
        self.all().iter().for_each(|shard| lock(&shard.0).ring.clear());
    }

    /// Adds the events so far, of an allocator that holds `reserved_bytes` now;
    /// [`Recording::finish`] puts them in order.
    pub fn read_recording(&self, recording: &mut Recording, reserved_bytes: u64) {
        let session = self.session();
        if session.begin_ns > 0 {
            recording.begin_ns = recording.begin_ns.min(session.begin_ns);
        }
        recording.lost_events += session.lost_marks;
        recording.marks.extend(session.marks.iter().cloned());
        drop(session);
        let mut level = Level { reserved_bytes, ..Level::default() };
        for shard in self.all() {
            let shard = lock(&shard.0);
            let stacks = shard.stacks(&mut recording.stacks);
            let events = shard.ring.events();
            recording.events.extend(
                events.map(|event| Event { stack: stacks[event.stack.0 as usize], ..*event }),
            );
            recording.lost_events += shard.ring.lost();
            recording.complete_from_ns =
                recording.complete_from_ns.max(shard.ring.complete_from_ns());
            level.live_bytes += shard.live_bytes;
            level.allocated_bytes += shard.allocated_bytes;
        }
        recording.end_ns = clock::now_ns();
        recording.end.push((self.memory, level));
    }

    /// Adds what is live and what was allocated so far.
    pub fn read_report(&self, report: &mut Report) {
        let mut pool = Pool { memory: self.memory, ..Pool::default() };
        for shard in self.all() {
            let shard = lock(&shard.0);
            let stacks = shard.stacks(&mut report.stacks);
            report.usages.extend(shard.usages(self.memory, &stacks));
            report.live.extend(shard.live(self.memory, &stacks));
            pool.live_bytes += shard.live_bytes;
            pool.allocated_bytes += shard.allocated_bytes;
        }
        report.pools.push(pool);
    }

    /// From where each live block was allocated, by its address.
    pub fn live_stacks(&self, stacks: &mut Stacks) -> impl Fn(u64) -> StackId + use<> {
        let mut found = rustc_hash::FxHashMap::default();
        for shard in self.all() {
            let shard = lock(&shard.0);
            let ids = shard.stacks(stacks);
            found.extend(shard.live(self.memory, &ids).map(|live| (live.address, live.stack)));
        }
        move |address| found.get(&address).copied().unwrap_or_default()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn block_of(entry: Entry, owner: u64) -> Block {
    let Entry { address, bytes, block_bytes, .. } = entry;
    Block { address, bytes, block_bytes, owner }
}
