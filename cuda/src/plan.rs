//! Which free memory to move, so that a request finds contiguous room. Arithmetic alone.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::{
    arena::QUANTUM_BYTES,
    bins::NONE,
    driver::Driver,
    free_ranges::{Arenas, Free, FreeRanges},
    pool::Pool,
};

/// A range of a piece of memory, quanta; all of it is free.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) memory: u32,
    pub(crate) range: Range<u32>,
}

impl Piece {
    /// The piece whose parts these are.
    pub(crate) fn of(parts: &[Free]) -> Self {
        let end = parts.last().map_or(0, |part| part.range.end);
        Self { memory: parts.first().map_or(NONE, |part| part.memory), range: 0..end }
    }

    /// Quanta.
    fn len(&self) -> u32 {
        self.range.end - self.range.start
    }
}

impl From<&Free> for Piece {
    fn from(part: &Free) -> Self {
        Self { memory: part.memory, range: part.range.clone() }
    }
}

/// Pieces to map once more, in this order, and how much new memory to map behind them.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) fresh_bytes: u64,
}

/// What is known when room for `len` quanta is to be made at the end of an arena.
pub(crate) struct Planner<'a, D: Driver> {
    pool: &'a Pool<D>,
    free: &'a FreeRanges,
    /// The arena's heap.
    own: u32,
    /// The free node at the end of the arena, and its length.
    tail: Option<u32>,
    at_hand: u32,
    len: u32,
}

impl<'a, D: Driver> Planner<'a, D> {
    pub(crate) fn new(
        pool: &'a Pool<D>,
        arenas: &Arenas<'_>,
        free: &'a FreeRanges,
        len: u32,
    ) -> Self {
        let tail = arenas.own().free_tail();
        let at_hand = tail.map_or(0, |node| arenas.own().node(node).len);
        Self { pool, free, own: arenas.heap().index, tail, at_hand, len }
    }

    /// How to make the room, with `affordable_bytes` of new memory within the budget and
    /// `most_bytes` within the limit.
    ///
    /// All pieces of a run are wholly free, but for its ends: it may begin with the free end of a
    /// piece, and end with the free beginning of another.
    pub(crate) fn plan(
        &self,
        affordable_bytes: u64,
        most_bytes: u64,
        granule_bytes: u64,
    ) -> Option<Plan> {
        let wholes: Vec<&[Free]> = self.free.wholes(self.pool).collect();
        let mut movable = wholes.clone();
        movable.retain(|parts| !parts.iter().any(|part| self.is_in_tail(part)));
        let short = self.len.saturating_sub(self.at_hand);
        let want_bytes = bytes(short).next_multiple_of(granule_bytes);
        let lacking_bytes = want_bytes.saturating_sub(bytes(len_of(&movable)));
        if lacking_bytes > affordable_bytes
            && let Some(plan) = self.behind_the_tail(&movable, short)
        {
            return Some(plan);
        }
        if lacking_bytes > affordable_bytes
            && let Some(plan) =
                self.starting_within_a_piece(&wholes, affordable_bytes, granule_bytes)
        {
            return Some(plan);
        }
        let fresh_bytes = affordable_bytes.min(want_bytes).max(lacking_bytes);
        (fresh_bytes <= most_bytes).then(|| {
            let short = ((want_bytes - fresh_bytes) / QUANTUM_BYTES) as u32;
            Plan { pieces: choose(movable, short, self.own), fresh_bytes }
        })
    }

    fn is_in_tail(&self, part: &Free) -> bool {
        part.place.heap == self.own && Some(part.node) == self.tail
    }

    /// All that can move, behind the free end of the arena, and the beginning of a piece.
    fn behind_the_tail(&self, movable: &[&[Free]], short: u32) -> Option<Plan> {
        let lacking = short.saturating_sub(len_of(movable));
        let head = self.head(lacking, NONE, movable)?;
        let mut pieces = choose(movable.to_vec(), short.saturating_sub(head.len()), self.own);
        pieces.push(head);
        Some(Plan { pieces, fresh_bytes: 0 })
    }

    /// The end of a piece, then all that can move, then new memory or the beginning of a piece.
    fn starting_within_a_piece(
        &self,
        wholes: &[&[Free]],
        affordable_bytes: u64,
        granule_bytes: u64,
    ) -> Option<Plan> {
        let lacking = self.len.saturating_sub(len_of(wholes));
        let fresh = lacking.min((affordable_bytes / QUANTUM_BYTES) as u32);
        if let Some(end) = self.end(lacking - fresh, wholes) {
            let fresh_bytes = bytes(lacking.saturating_sub(end.len()));
            let fresh_bytes = fresh_bytes.next_multiple_of(granule_bytes);
            if fresh_bytes <= affordable_bytes {
                let rest = bytes(self.len - end.len().min(self.len)).saturating_sub(fresh_bytes);
                let mut pieces = vec![end];
                pieces.extend(choose(
                    wholes.to_vec(),
                    rest.div_ceil(QUANTUM_BYTES) as u32,
                    self.own,
                ));
                return Some(Plan { pieces, fresh_bytes });
            }
        }
        let end = self.end(0, wholes).filter(|end| end.len() < lacking)?;
        let head = self.head(lacking - end.len(), end.memory, wholes)?;
        let rest = self.len - end.len() - head.len().min(self.len - end.len());
        let mut pieces = vec![end];
        pieces.extend(choose(wholes.to_vec(), rest, self.own));
        pieces.push(head);
        Some(Plan { pieces, fresh_bytes: 0 })
    }

    /// The shortest free beginning of a piece that has `least` quanta, of none of `wholes`.
    fn head(&self, least: u32, but: u32, wholes: &[&[Free]]) -> Option<Piece> {
        let heads = self.free.iter().filter(|part| {
            let whole = self.pool.memory(part.memory).len;
            part.range.start == 0 && part.range.end < whole && part.memory != but
        });
        let heads = heads.filter(|part| !is_among(part, wholes));
        let enough = heads.filter(|part| part.range.end >= least && !self.is_in_tail(part));
        enough.min_by_key(|part| part.range.end).map(Piece::from)
    }

    /// The shortest free end of a piece that has `least` quanta, of none of `wholes`; the longest
    /// of all for zero.
    fn end(&self, least: u32, wholes: &[&[Free]]) -> Option<Piece> {
        let ends = self.free.iter().filter(|part| {
            part.range.start > 0 && part.range.end == self.pool.memory(part.memory).len
        });
        let ends = ends
            .filter(|part| !is_among(part, wholes))
            .map(Piece::from)
            .filter(|end| end.len() >= least);
        if least == 0 { ends.max_by_key(Piece::len) } else { ends.min_by_key(Piece::len) }
    }
}

/// Whether a part belongs to one of `wholes`, which are in order of their piece. Its bytes may be
/// usable at several places, and then the part is not the whole, but moves with it.
fn is_among(part: &Free, wholes: &[&[Free]]) -> bool {
    wholes.binary_search_by_key(&part.memory, |parts| parts[0].memory).is_ok()
}

/// The fewest pieces that hold `short` quanta: one that is large enough, the smallest such, or
/// else the largest and so on, those of the heap `own` first. All of them where they are too small
/// together.
pub(crate) fn choose(mut free: Vec<&[Free]>, mut short: u32, own: u32) -> Vec<Piece> {
    free.sort_by_key(|parts| {
        let place = parts[0].place;
        (Piece::of(parts).len(), place.heap != own, place.window)
    });
    let mut chosen = Vec::new();
    while short > 0 {
        if let Some(enough) = free.iter().position(|parts| Piece::of(parts).len() >= short) {
            chosen.push(Piece::of(free.remove(enough)));
            break;
        }
        let Some(largest) = free.pop() else { break };
        let largest = Piece::of(largest);
        short -= largest.len();
        chosen.push(largest);
    }
    chosen
}

fn bytes(len: u32) -> u64 {
    u64::from(len) * QUANTUM_BYTES
}

fn len_of(wholes: &[&[Free]]) -> u32 {
    wholes.iter().map(|parts| Piece::of(parts).len()).sum()
}

/// The windows to open in own holes so that the request fits, moving the fewest bytes: what of
/// each piece, and the index of its window.
pub(crate) fn best_run(
    arenas: &Arenas<'_>,
    free: &FreeRanges,
    need: u32,
) -> Option<Vec<(Piece, u32)>> {
    let arena = arenas.own();
    let mut best: Option<(u32, Vec<(Piece, u32)>)> = None;
    for hole in arena.holes() {
        let (before, after) = arena.free_neighbours(hole);
        let len_of = |node: Option<u32>| node.map_or(0, |node| arena.node(node).len);
        let (start, end) = (arena.node(hole).start, arena.node(hole).end());
        let beside = |part: &Free| {
            let beside = Some(part.node) == before || Some(part.node) == after;
            part.place.heap == arenas.heap().index && beside
        };
        let pieces: Vec<(Piece, u32, bool)> = arena
            .windows_in(start, end)
            .map(|index| {
                let window = arena.windows()[index];
                let from = start.max(window.start) - window.start;
                let to = end.min(window.start + window.len) - window.start;
                let piece = Piece { memory: window.memory, range: from..to };
                let usable = window.memory != NONE
                    && free.covers(&piece)
                    && !free.within(&piece).any(|part| beside(&part));
                (piece, index as u32, usable)
            })
            .collect();
        for first in 0..pieces.len() {
            let mut have = if first == 0 { len_of(before) } else { 0 };
            let mut moved = 0;
            for last in first..pieces.len() {
                let (piece, _, usable) = &pieces[last];
                let twice = pieces[first..last].iter().any(|p| p.0.memory == piece.memory);
                moved += piece.len();
                if !usable || twice || best.as_ref().is_some_and(|(least, _)| moved >= *least) {
                    break;
                }
                have += piece.len();
                let behind = if last + 1 == pieces.len() { len_of(after) } else { 0 };
                if have + behind >= need {
                    let run = pieces[first..=last].iter().map(|p| (p.0.clone(), p.1));
                    best = Some((moved, run.collect()));
                    break;
                }
            }
        }
    }
    best.map(|(_, run)| run)
}
