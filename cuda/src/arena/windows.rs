//! Windows and holes: which physical memory is usable where.

use core::ops::Range;

use super::{Arena, Node, ROWS, Row, State, Window};
use crate::bins::NONE;

impl Arena {
    /// Adds a window of `len` quanta for `memory` at the end, as a hole; returns its index.
    pub(crate) fn append(&mut self, len: u32, memory: u32) -> u32 {
        let start = self.end();
        self.windows.push(Window { start, len, memory });
        let node = self.new_node(Node {
            start,
            len,
            prev: self.last,
            next: NONE,
            before: NONE,
            after: NONE,
            stamp: self.clock,
            state: State::Hole,
        });
        if self.last != NONE {
            self.nodes.0[self.last as usize].next = node;
        }
        self.last = node;
        self.insert_hole(node);
        self.windows.len() as u32 - 1
    }

    /// A window of just this length, more than a quantum, whose memory is gone.
    pub(crate) fn dead(&self, len: u32) -> Option<u32> {
        let dead = |window: &Window| window.memory == NONE && window.len == len && len > 1;
        self.windows.iter().position(dead).map(|index| index as u32)
    }

    /// Gives a dead window to `memory`; it is still a hole.
    pub(crate) fn revive(&mut self, window: u32, memory: u32) {
        self.windows[window as usize].memory = memory;
    }

    /// Marks the window as unmapped: its addresses stay a hole for good.
    pub(crate) fn unmap(&mut self, window: u32) {
        self.windows[window as usize].memory = NONE;
    }

    /// Whether no byte is usable here: all memory is in use elsewhere.
    pub(crate) fn is_hollow(&self) -> bool {
        self.last == NONE || (self.node(self.last).start == 0 && self.holes == self.last)
    }

    /// Forgets everything, once nothing is mapped here.
    pub(crate) fn reset_if_empty(&mut self) {
        let nothing_mapped = self.windows.iter().all(|window| window.memory == NONE);
        if nothing_mapped && !self.windows.is_empty() && self.pending.is_empty() {
            let rows = core::mem::replace(&mut self.rows, Box::new([Row::default(); ROWS]));
            let Self { clock, sums, .. } = *self;
            *self = Self { clock, sums, rows, ..Self::new() };
        }
    }

    /// Puts a node that is in no list into the list of holes, merged with its neighbours there.
    fn insert_hole(&mut self, mut node: u32) {
        let Node { prev, next, .. } = *self.node(node);
        if next != NONE && self.node(next).state == State::Hole {
            self.remove_hole(next);
            self.absorb(node, next);
        }
        if prev != NONE && self.node(prev).state == State::Hole {
            self.remove_hole(prev);
            self.absorb(prev, node);
            node = prev;
        }
        let head = self.holes;
        let entry = &mut self.nodes.0[node as usize];
        entry.state = State::Hole;
        (entry.before, entry.after) = (NONE, head);
        if head != NONE {
            self.nodes.0[head as usize].before = node;
        }
        self.holes = node;
    }

    fn remove_hole(&mut self, node: u32) {
        let Node { before, after, .. } = *self.node(node);
        match before {
            NONE => self.holes = after,
            before => self.nodes.0[before as usize].after = after,
        }
        if after != NONE {
            self.nodes.0[after as usize].before = before;
        }
    }

    /// Cuts `range` out of `node`, which covers it, is in no list and passes for live, so that
    /// nothing merges with it. The parts beside it go to a list by `put_back`.
    fn isolate(&mut self, node: u32, range: Range<u32>, put_back: fn(&mut Self, u32)) -> u32 {
        let whole = *self.node(node);
        debug_assert!(whole.start <= range.start && range.end <= whole.end());
        let mut middle = node;
        if range.start > whole.start {
            middle = self.split(node, range.start - whole.start);
        }
        if whole.end() > range.end {
            let tail = self.split(middle, range.end - range.start);
            put_back(self, tail);
        }
        if middle != node {
            put_back(self, node);
        }
        middle
    }

    /// Takes a free range out of use: it becomes a hole.
    pub(crate) fn close(&mut self, range: Range<u32>) {
        let node = self.free_at(&range).expect("the range is free");
        self.bins.remove(&mut self.nodes, node);
        self.nodes.0[node as usize].state = State::Live;
        let middle = self.isolate(node, range, Self::insert_free);
        self.insert_hole(middle);
    }

    /// The free node that covers `range`. Linear in the number of free nodes of that size.
    fn free_at(&self, range: &Range<u32>) -> Option<u32> {
        let mut found = None;
        self.bins.for_each_from(&self.nodes, range.end - range.start, |node| {
            let Node { start, len, .. } = *self.node(node);
            if start <= range.start && range.end <= start + len {
                found = Some(node);
            }
        });
        found
    }

    /// Brings a range into use here: a hole becomes free space. It counts as freed now: our stream
    /// may just have been made to wait for another one that still uses the memory.
    pub(crate) fn open(&mut self, range: Range<u32>) {
        let node = self.hole_at(range.start).expect("the range is a hole");
        self.remove_hole(node);
        self.nodes.0[node as usize].state = State::Live;
        let middle = self.isolate(node, range, Self::insert_hole);
        self.clock = self.clock.wrapping_add(1);
        self.nodes.0[middle as usize].stamp = self.clock;
        self.insert_free(middle);
    }

    /// The hole that covers `start`. Linear in the number of holes.
    fn hole_at(&self, start: u32) -> Option<u32> {
        self.holes().find(|&node| {
            let node = self.node(node);
            node.start <= start && start < node.end()
        })
    }

    /// Whether there is a hole.
    pub(crate) fn has_holes(&self) -> bool {
        self.holes != NONE
    }

    /// All holes.
    pub(crate) fn holes(&self) -> impl Iterator<Item = u32> {
        let mut node = self.holes;
        core::iter::from_fn(move || {
            let this = node;
            (this != NONE).then(|| {
                node = self.node(this).after;
                this
            })
        })
    }

    /// The free neighbours of `node`, before and after it.
    pub(crate) fn free_neighbours(&self, node: u32) -> (Option<u32>, Option<u32>) {
        let Node { prev, next, .. } = *self.node(node);
        let free =
            |node: u32| (node != NONE && self.node(node).state == State::Free).then_some(node);
        (free(prev), free(next))
    }

    /// Whether nothing but free space lies behind `node`.
    pub(crate) fn is_last_block(&self, node: u32) -> bool {
        node == self.last || self.free_tail().is_some_and(|tail| self.node(node).next == tail)
    }

    /// The free node that ends the space in use.
    pub(crate) fn free_tail(&self) -> Option<u32> {
        (self.last != NONE && self.node(self.last).state == State::Free).then_some(self.last)
    }

    /// The windows that overlap `start .. end`, by index.
    pub(crate) fn windows_in(&self, start: u32, end: u32) -> Range<usize> {
        let first = self.windows.partition_point(|window| window.start + window.len <= start);
        let last = self.windows.partition_point(|window| window.start < end);
        first..last.max(first)
    }

    /// The ranges of a window that are no hole, in its coordinates. For checks: walks all nodes.
    pub(crate) fn usable_in(&self, window: u32) -> Vec<Range<u32>> {
        let Window { start, len, .. } = self.windows[window as usize];
        let mut usable: Vec<Range<u32>> = Vec::new();
        let mut node = self.first();
        while node != NONE {
            let Node { start: from, len: quanta, next, state, .. } = *self.node(node);
            let (from, to) = (from.max(start), (from + quanta).min(start + len));
            if state != State::Hole && from < to {
                match usable.last_mut() {
                    Some(last) if last.end == from - start => last.end = to - start,
                    _ => usable.push(from - start..to - start),
                }
            }
            node = next;
        }
        usable
    }

    /// Calls `visit(free node, window, range)` for every window that a free node of at least
    /// `min_len` quanta reaches into, with the part of the window that is free.
    pub(crate) fn for_each_free_range(
        &self,
        min_len: u32,
        mut visit: impl FnMut(u32, u32, Range<u32>),
    ) {
        self.bins.for_each_from(&self.nodes, min_len, |node| {
            let Node { start, len, .. } = *self.node(node);
            for index in self.windows_in(start, start + len) {
                let window = self.windows[index];
                let from = start.max(window.start) - window.start;
                let to = (start + len).min(window.start + window.len) - window.start;
                visit(node, index as u32, from..to);
            }
        });
    }
}
