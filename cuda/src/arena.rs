//! One stream's address space: blocks in it, and which physical memory is where.
//!
//! Addresses are numbers from zero, in quanta of 512 bytes, cut without gaps into nodes in
//! address order. Windows, the places at which physical memory is mapped, tile the same space.
//! A piece of memory may have windows in several places but its bytes are usable in one of them;
//! the others are holes, and turning a hole back into free space costs no driver call.
//!
//! Pure integers: no driver, no lock, no clock.
#![forbid(unsafe_code)]

mod walk;
mod windows;

use genesis_mem_core::size_class::{DeviceClasses, SizeClass};

use crate::bins::{Bins, Links, NONE};

/// Bytes of the unit of sizes and addresses.
pub(crate) const QUANTUM_BYTES: u64 = 512;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// In use by somebody.
    Live,
    /// Mapped and free; in a bin.
    Free,
    /// Freed, but another stream may still use it; in no bin.
    Pending,
    /// Not usable here: its memory is in use at another window, or gone. In the list of holes.
    Hole,
    /// Not a node at all; in the list of unused entries.
    Unused,
}

/// A range of addresses. 32 bytes, two to a cache line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) start: u32,
    pub(crate) len: u32,
    /// Neighbours in address order.
    prev: u32,
    next: u32,
    /// Neighbours in a bin or in the list of holes; for a live node the bytes asked for.
    before: u32,
    after: u32,
    /// When a part of it was last freed, by the arena's clock.
    pub(crate) stamp: u32,
    pub(crate) state: State,
}

impl Node {
    /// The end of the range.
    pub(crate) const fn end(&self) -> u32 {
        self.start + self.len
    }

    /// Bytes that the holder of a live node asked for.
    pub(crate) const fn requested_bytes(&self) -> u64 {
        self.before as u64 | (self.after as u64) << 32
    }
}

#[derive(Debug)]
struct Nodes(Vec<Node>);

impl Links for Nodes {
    #[inline]
    fn key(&self, node: u32) -> (u32, u32) {
        let node = &self.0[node as usize];
        (node.len, node.start)
    }
    #[inline]
    fn links(&self, node: u32) -> (u32, u32) {
        let node = &self.0[node as usize];
        (node.before, node.after)
    }
    #[inline]
    fn set_before(&mut self, node: u32, before: u32) {
        self.0[node as usize].before = before;
    }
    #[inline]
    fn set_after(&mut self, node: u32, after: u32) {
        self.0[node as usize].after = after;
    }
}

/// A place where physical memory is mapped: `len` quanta from `start`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: u32,
    pub(crate) len: u32,
    /// The memory's index in the pool, or [`NONE`] once it is unmapped here.
    pub(crate) memory: u32,
}

/// Sums over an arena, bytes. `allocated + free + pending` is what is mapped and usable here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) requested_bytes: u64,
    pub(crate) requested_peak_bytes: u64,
    pub(crate) allocated_bytes: u64,
    pub(crate) allocated_peak_bytes: u64,
    /// The most allocated since the last look for what is idle.
    recent_peak_bytes: u64,
    pub(crate) pending_bytes: u64,
}

/// What the blocks of one size class have done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    pub(crate) allocations: u64,
    pub(crate) frees: u64,
    pub(crate) allocated_bytes: u64,
    pub(crate) requested_bytes: u64,
}

/// The rows: one a class, and one for what is larger.
pub(crate) const ROWS: usize = DeviceClasses::COUNT + 1;

#[inline]
fn row_of(requested_bytes: u64) -> usize {
    DeviceClasses::of(requested_bytes as usize).map_or(ROWS - 1, SizeClass::index)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Arena {
    nodes: Nodes,
    unused: u32,
    last: u32,
    bins: Bins,
    holes: u32,
    windows: Vec<Window>,
    /// Counts frees; orders them against fences.
    pub(crate) clock: u32,
    /// The clock at the last look for what is idle.
    looked_at: u32,
    pub(crate) sums: Sums,
    pub(crate) rows: Box<[Row; ROWS]>,
    /// Freed nodes that wait for other streams, with those streams' bits.
    pub(crate) pending: Vec<(u32, u64)>,
}

impl Arena {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Nodes(Vec::with_capacity(256)),
            unused: NONE,
            last: NONE,
            bins: Bins::new(),
            holes: NONE,
            windows: Vec::new(),
            clock: 0,
            looked_at: 0,
            sums: Sums::default(),
            rows: Box::new([Row::default(); ROWS]),
            pending: Vec::new(),
        }
    }

    /// The end of the space in use, quanta.
    pub(crate) fn end(&self) -> u32 {
        if self.last == NONE { 0 } else { self.node(self.last).end() }
    }

    #[inline]
    pub(crate) fn node(&self, node: u32) -> &Node {
        &self.nodes.0[node as usize]
    }

    pub(crate) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Bytes of the arena's own tables.
    pub(crate) fn metadata_bytes(&self) -> u64 {
        (self.nodes.0.capacity() * size_of::<Node>()
            + self.windows.capacity() * size_of::<Window>()
            + size_of::<Self>()) as u64
            + 4096
    }

    /// Makes the best fit for `len` quanta live, for `requested` bytes.
    #[inline]
    pub(crate) fn alloc(&mut self, len: u32, requested_bytes: u64) -> Option<u32> {
        let node = self.bins.find(&self.nodes, len)?;
        self.bins.remove(&mut self.nodes, node);
        let rest = self.node(node).len - len;
        if rest > 0 {
            let tail = self.split(node, len);
            self.bins.insert(&mut self.nodes, tail);
        }
        self.set_live(node, requested_bytes);
        Some(node)
    }

    #[inline]
    fn set_live(&mut self, node: u32, requested_bytes: u64) {
        let entry = &mut self.nodes.0[node as usize];
        entry.state = State::Live;
        entry.before = requested_bytes as u32;
        entry.after = (requested_bytes >> 32) as u32;
        let allocated_bytes = u64::from(entry.len) * QUANTUM_BYTES;
        let row = &mut self.rows[row_of(requested_bytes)];
        row.allocations += 1;
        row.allocated_bytes += allocated_bytes;
        row.requested_bytes += requested_bytes;
        let sums = &mut self.sums;
        sums.allocated_bytes += allocated_bytes;
        sums.requested_bytes += requested_bytes;
        sums.allocated_peak_bytes = sums.allocated_peak_bytes.max(sums.allocated_bytes);
        sums.recent_peak_bytes = sums.recent_peak_bytes.max(sums.allocated_bytes);
        sums.requested_peak_bytes = sums.requested_peak_bytes.max(sums.requested_bytes);
    }

    /// Ends a live node's life; it is in no list then. Returns the bytes that were asked for.
    #[inline]
    fn bury(&mut self, node: u32) -> u64 {
        self.clock = self.clock.wrapping_add(1);
        let entry = &mut self.nodes.0[node as usize];
        let requested_bytes = entry.requested_bytes();
        entry.stamp = self.clock;
        let allocated_bytes = u64::from(entry.len) * QUANTUM_BYTES;
        let row = &mut self.rows[row_of(requested_bytes)];
        row.frees += 1;
        row.allocated_bytes -= allocated_bytes;
        row.requested_bytes -= requested_bytes;
        self.sums.allocated_bytes -= allocated_bytes;
        self.sums.requested_bytes -= requested_bytes;
        requested_bytes
    }

    /// Whether `node` is the live node that starts at `start`.
    #[inline]
    pub(crate) fn is_live(&self, node: u32, start: u32) -> bool {
        self.nodes.0.get(node as usize).is_some_and(|n| n.state == State::Live && n.start == start)
    }

    /// Frees a live node; returns the bytes that were asked for.
    #[inline]
    pub(crate) fn free(&mut self, node: u32) -> u64 {
        let requested_bytes = self.bury(node);
        self.insert_free(node);
        requested_bytes
    }

    /// Frees a live node that the streams of `mask` may still use.
    pub(crate) fn free_pending(&mut self, node: u32, mask: u64) -> u64 {
        let requested_bytes = self.bury(node);
        let entry = &mut self.nodes.0[node as usize];
        entry.state = State::Pending;
        self.sums.pending_bytes += u64::from(entry.len) * QUANTUM_BYTES;
        self.pending.push((node, mask));
        requested_bytes
    }

    /// Makes a pending node free: the streams that used it are through, or this one waits.
    pub(crate) fn settle(&mut self, node: u32) {
        self.clock = self.clock.wrapping_add(1);
        let entry = &mut self.nodes.0[node as usize];
        debug_assert_eq!(entry.state, State::Pending);
        entry.stamp = self.clock;
        self.sums.pending_bytes -= u64::from(entry.len) * QUANTUM_BYTES;
        self.insert_free(node);
    }

    /// Puts a node that is in no list into a bin, merged with its free neighbours.
    #[inline]
    fn insert_free(&mut self, mut node: u32) {
        let Node { prev, next, stamp, .. } = *self.node(node);
        if next != NONE && self.node(next).state == State::Free {
            self.bins.remove(&mut self.nodes, next);
            self.absorb(node, next);
        }
        if prev != NONE && self.node(prev).state == State::Free {
            self.bins.remove(&mut self.nodes, prev);
            self.absorb(prev, node);
            node = prev;
        }
        let entry = &mut self.nodes.0[node as usize];
        entry.state = State::Free;
        entry.stamp = stamp;
        self.bins.insert(&mut self.nodes, node);
    }

    /// Joins `node` and the neighbour after it; neither is in a list.
    #[inline]
    fn absorb(&mut self, node: u32, gone: u32) {
        let Node { len, next, .. } = *self.node(gone);
        let entry = &mut self.nodes.0[node as usize];
        entry.len += len;
        entry.next = next;
        match next {
            NONE => self.last = node,
            next => self.nodes.0[next as usize].prev = node,
        }
        let entry = &mut self.nodes.0[gone as usize];
        entry.state = State::Unused;
        entry.next = self.unused;
        self.unused = gone;
    }

    /// Cuts `node`, which is in no list, after `len` quanta; returns the second part, which has
    /// the same state and is in no list either.
    #[inline]
    fn split(&mut self, node: u32, len: u32) -> u32 {
        let whole = *self.node(node);
        let tail = self.new_node(Node {
            start: whole.start + len,
            len: whole.len - len,
            prev: node,
            ..whole
        });
        let entry = &mut self.nodes.0[node as usize];
        entry.len = len;
        entry.next = tail;
        match whole.next {
            NONE => self.last = tail,
            next => self.nodes.0[next as usize].prev = tail,
        }
        tail
    }

    #[inline]
    fn new_node(&mut self, node: Node) -> u32 {
        if self.unused == NONE {
            self.nodes.0.push(node);
            return self.nodes.0.len() as u32 - 1;
        }
        let index = self.unused;
        self.unused = self.nodes.0[index as usize].next;
        self.nodes.0[index as usize] = node;
        index
    }

    /// The node that [`alloc`](Self::alloc) would take, and its length.
    pub(crate) fn best_fit(&self, len: u32) -> Option<(u32, u32)> {
        self.bins.find(&self.nodes, len).map(|node| (node, self.node(node).len))
    }

    /// The longest free range, bytes.
    pub(crate) fn largest_free_bytes(&self) -> u64 {
        u64::from(self.bins.largest(&self.nodes)) * QUANTUM_BYTES
    }

    /// Calls `visit` with the length in quanta of each free range.
    pub(crate) fn for_each_free(&self, mut visit: impl FnMut(u32)) {
        self.bins.for_each_from(&self.nodes, 1, |node| visit(self.node(node).len));
    }

    /// Free bytes that no allocation has needed since the last call, however the free ranges
    /// were used in turn; zero while that was less than `idle_frees` frees ago.
    pub(crate) fn idle_bytes(&mut self, idle_frees: u32) -> u64 {
        if self.clock.wrapping_sub(self.looked_at) < idle_frees {
            return 0;
        }
        let mut free_bytes = 0;
        self.for_each_free(|len| free_bytes += u64::from(len) * QUANTUM_BYTES);
        let sums = &mut self.sums;
        let needed_bytes = sums.recent_peak_bytes - sums.allocated_bytes;
        sums.recent_peak_bytes = sums.allocated_bytes;
        self.looked_at = self.clock;
        free_bytes.saturating_sub(needed_bytes)
    }

    /// Resizes a live node in place: it takes from the free node after it, or frees its own end.
    pub(crate) fn extend(&mut self, node: u32, len: u32, requested_bytes: u64) -> bool {
        let Node { len: old, next, .. } = *self.node(node);
        if len > old {
            let more = len - old;
            if next == NONE || self.node(next).state != State::Free || self.node(next).len < more {
                return false;
            }
            self.bins.remove(&mut self.nodes, next);
            if self.node(next).len > more {
                let rest = self.split(next, more);
                self.bins.insert(&mut self.nodes, rest);
            }
            self.absorb(node, next);
        }
        let was_requested = self.node(node).requested_bytes();
        let row = &mut self.rows[row_of(was_requested)];
        row.allocations -= 1;
        row.allocated_bytes -= u64::from(old) * QUANTUM_BYTES;
        row.requested_bytes -= was_requested;
        self.sums.allocated_bytes -= u64::from(old) * QUANTUM_BYTES;
        self.sums.requested_bytes -= was_requested;
        if len < old {
            let tail = self.split(node, len);
            self.clock = self.clock.wrapping_add(1);
            self.nodes.0[tail as usize].stamp = self.clock;
            self.insert_free(tail);
        }
        self.set_live(node, requested_bytes);
        true
    }

    /// Checks every invariant that the structure itself can show. Debug builds and tests.
    pub(crate) fn assert_valid(&self) {
        let (mut node, mut prev, mut at) = (self.first(), NONE, 0);
        let (mut free, mut holes, mut pending, mut allocated, mut requested) = (0, 0, 0, 0, 0);
        while node != NONE {
            let n = *self.node(node);
            assert_eq!((n.start, n.prev), (at, prev), "nodes tile the space");
            assert!(n.len > 0);
            match n.state {
                State::Free => free += 1,
                State::Hole => holes += 1,
                State::Pending => pending += 1,
                State::Live => {
                    allocated += u64::from(n.len) * QUANTUM_BYTES;
                    requested += n.requested_bytes();
                }
                State::Unused => panic!("an unused entry is linked"),
            }
            if prev != NONE && matches!(n.state, State::Free | State::Hole) {
                assert_ne!(self.node(prev).state, n.state, "neighbours are merged");
            }
            (at, prev, node) = (n.end(), node, n.next);
        }
        assert_eq!(prev, self.last);
        let mut binned = 0;
        self.bins.for_each_from(&self.nodes, 1, |_| binned += 1);
        assert_eq!((free, holes), (binned, self.holes().count()), "each node is in its list");
        assert_eq!(self.sums.allocated_bytes, allocated);
        assert_eq!(self.sums.requested_bytes, requested);
        assert!(pending >= self.pending.len());
        let mut at = 0;
        for window in &self.windows {
            assert_eq!(window.start, at, "windows tile the space");
            at += window.len;
        }
        assert_eq!(at, self.end());
    }

    fn first(&self) -> u32 {
        let mut node = self.last;
        while node != NONE && self.node(node).prev != NONE {
            node = self.node(node).prev;
        }
        node
    }
}
