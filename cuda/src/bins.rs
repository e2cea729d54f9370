//! Free ranges by size: which free node serves a request best.
//!
//! Two levels of bits over lists: a doubling, and 32 steps in it, after Masmano and others,
//! "TLSF: a new dynamic memory allocator for real-time systems" (2004). Sizes up to 64 quanta
//! have a list each. Lists are kept in order of size, then address, as far as a short walk on
//! insertion can see, so the first node that fits is the best fit at the lowest address.
#![forbid(unsafe_code)]

/// Steps in a doubling.
const STEPS: usize = 32;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();
/// Doublings of a `u32` above the linear ones.
const ROWS: usize = 32 - STEPS_LOG2 as usize + 1;
/// How far an insertion looks for its place.
const WALK: usize = 16;

/// No node.
pub(crate) const NONE: u32 = u32::MAX;

/// What the bins need to know of a node.
pub(crate) trait Links {
    /// Length and start of `node`, in quanta: the order within a list.
    fn key(&self, node: u32) -> (u32, u32);
    /// Neighbours of `node` in its list.
    fn links(&self, node: u32) -> (u32, u32);
    /// Sets the neighbour before `node`.
    fn set_before(&mut self, node: u32, before: u32);
    /// Sets the neighbour after `node`.
    fn set_after(&mut self, node: u32, after: u32);
}

/// The lists. `heads[row][step]` is non-empty exactly where bit `step` of `steps[row]` is set,
/// and bit `row` of `rows` exactly where `steps[row]` is not zero.
#[derive(Debug)]
pub(crate) struct Bins {
    rows: u32,
    steps: [u32; ROWS],
    heads: Box<[[u32; STEPS]; ROWS]>,
}

/// The list that holds nodes of `len` quanta.
#[inline]
const fn bin_of(len: u32) -> (usize, usize) {
    let top = 31 - (len | STEPS as u32).leading_zeros();
    let shift = top - STEPS_LOG2;
    let row = if len < STEPS as u32 { 0 } else { shift as usize + 1 };
    (row, (len >> shift) as usize & (STEPS - 1))
}

impl Bins {
    pub(crate) fn new() -> Self {
        Self { rows: 0, steps: [0; ROWS], heads: Box::new([[NONE; STEPS]; ROWS]) }
    }

    /// Adds a free node.
    #[inline]
    pub(crate) fn insert(&mut self, nodes: &mut impl Links, node: u32) {
        let key = nodes.key(node);
        let (row, step) = bin_of(key.0);
        let (mut before, mut after) = (NONE, self.heads[row][step]);
        let mut walked = 0;
        while after != NONE && walked < WALK && nodes.key(after) < key {
            (before, after) = (after, nodes.links(after).1);
            walked += 1;
        }
        nodes.set_before(node, before);
        nodes.set_after(node, after);
        if after != NONE {
            nodes.set_before(after, node);
        }
        if before == NONE {
            self.heads[row][step] = node;
            self.steps[row] |= 1 << step;
            self.rows |= 1 << row;
        } else {
            nodes.set_after(before, node);
        }
    }

    /// Takes a free node out, before its length changes.
    #[inline]
    pub(crate) fn remove(&mut self, nodes: &mut impl Links, node: u32) {
        let (before, after) = nodes.links(node);
        if after != NONE {
            nodes.set_before(after, before);
        }
        if before != NONE {
            nodes.set_after(before, after);
            return;
        }
        let (row, step) = bin_of(nodes.key(node).0);
        self.heads[row][step] = after;
        if after == NONE {
            self.steps[row] &= !(1 << step);
            if self.steps[row] == 0 {
                self.rows &= !(1 << row);
            }
        }
    }

    /// The best fit for `len` quanta.
    #[inline]
    pub(crate) fn find(&self, nodes: &impl Links, len: u32) -> Option<u32> {
        let (row, step) = bin_of(len);
        let mut node = self.heads[row][step];
        while node != NONE {
            if nodes.key(node).0 >= len {
                return Some(node);
            }
            node = nodes.links(node).1;
        }
        self.next_after(row, step).map(|(row, step)| self.heads[row][step])
    }

    /// The next list in order of size that is not empty.
    #[inline]
    fn next_after(&self, row: usize, step: usize) -> Option<(usize, usize)> {
        let steps = self.steps[row] & (u32::MAX << step << 1);
        if steps != 0 {
            return Some((row, steps.trailing_zeros() as usize));
        }
        let rows = self.rows & (u32::MAX << row << 1);
        if rows == 0 {
            return None;
        }
        let row = rows.trailing_zeros() as usize;
        Some((row, self.steps[row].trailing_zeros() as usize))
    }

    /// Calls `visit` with every node of at least `len` quanta, small ones first.
    pub(crate) fn for_each_from(&self, nodes: &impl Links, len: u32, mut visit: impl FnMut(u32)) {
        let (row, step) = bin_of(len);
        let mut at = Some((row, step));
        while let Some((row, step)) = at {
            let mut node = self.heads[row][step];
            while node != NONE {
                if nodes.key(node).0 >= len {
                    visit(node);
                }
                node = nodes.links(node).1;
            }
            at = self.next_after(row, step);
        }
    }

    /// The length of the longest free node, zero where there is none.
    pub(crate) fn largest(&self, nodes: &impl Links) -> u32 {
        if self.rows == 0 {
            return 0;
        }
        let row = 31 - self.rows.leading_zeros() as usize;
        let step = 31 - self.steps[row].leading_zeros() as usize;
        let (mut node, mut longest) = (self.heads[row][step], 0);
        while node != NONE {
            longest = longest.max(nodes.key(node).0);
            node = nodes.links(node).1;
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_in_order_of_size() {
        let mut last = (0, 0);
        for len in (1..100_000).chain((0..12).map(|bit| (1 << 20) << bit)) {
            let bin = bin_of(len);
            assert!(bin >= last, "{len}");
            assert!(bin.0 < ROWS && bin.1 < STEPS);
            last = bin;
        }
        assert_eq!(bin_of(u32::MAX), (ROWS - 1, STEPS - 1));
    }
}
