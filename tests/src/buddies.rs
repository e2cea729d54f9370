//! The buddy and the span pool on it, beside a model of one entry a granule.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use genesis_mem_core::{
    buddy::{Buddy, Span},
    span_pool::{Purge, SpanPool},
};

use crate::ops::Op;

/// Bytes of a granule in this reading of the language.
const GRANULE_BYTES: usize = 512;

fn granules(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(GRANULE_BYTES)).unwrap_or(u32::MAX)
}

/// What a granule is, in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granule {
    Clean,
    Dirty,
    Live,
}

/// Live spans by head, and the state of every granule.
#[derive(Debug)]
struct Model {
    granules: Vec<Granule>,
    live: BTreeMap<u32, u32>,
}

impl Model {
    fn take(&mut self, span: Span) -> bool {
        let mut is_clean = true;
        for granule in span.range() {
            let before = std::mem::replace(&mut self.granules[granule as usize], Granule::Live);
            assert_ne!(before, Granule::Live, "granule {granule} of {span:?} is live");
            is_clean &= before == Granule::Clean;
        }
        self.live.insert(span.granule, span.granules);
        is_clean
    }

    fn give(&mut self, head: u32, len: u32) {
        self.granules[head as usize..(head + len) as usize].fill(Granule::Dirty);
    }

    fn pick(&self, index: u16) -> Option<(u32, u32)> {
        let index = usize::from(index).checked_rem(self.live.len())?;
        self.live.iter().nth(index).map(|(head, len)| (*head, *len))
    }

    fn is_free(&self, start: u32, end: u32) -> bool {
        let range = self.granules.get(start as usize..end as usize);
        range.is_some_and(|range| !range.contains(&Granule::Live))
    }

    fn count(&self, state: Granule) -> u32 {
        self.granules.iter().filter(|granule| **granule == state).count() as u32
    }
}

/// Runs a program on a bare buddy of `capacity` granules, and on a span pool over another one.
///
/// # Panics
/// Where one of the two disagrees with the model.
pub fn run(capacity: u32, program: impl IntoIterator<Item = Op> + Clone) {
    let mut bitmaps = vec![0; Buddy::bitmap_words(capacity)];
    let mut marks = vec![0; Buddy::mark_bytes(capacity)];
    run_buddy(Buddy::new(capacity, &mut bitmaps, &mut marks), program.clone());
    bitmaps.fill(0);
    marks.fill(0);
    let mut dirty = vec![0; SpanPool::bitmap_words(capacity)];
    let mut ages = vec![0; capacity as usize];
    let buddy = Buddy::new(capacity, &mut bitmaps, &mut marks);
    run_pool(SpanPool::new(buddy, &mut dirty, &mut ages), capacity, program);
}

fn run_buddy(mut buddy: Buddy<'_>, program: impl IntoIterator<Item = Op>) {
    let capacity = buddy.capacity_granules();
    let mut model =
        Model { granules: vec![Granule::Clean; capacity as usize], live: BTreeMap::new() };
    buddy.open(0..capacity);
    for op in program {
        match op {
            Op::Alloc { bytes, align, .. } => {
                if let Some(span) = buddy.alloc_aligned(granules(bytes), granules(align)) {
                    assert_eq!(span.granules, granules(bytes));
                    assert!(span.granule.is_multiple_of(granules(align)));
                    model.take(span);
                }
            }
            Op::Free { block, .. } => {
                let Some((head, len)) = model.pick(block) else { continue };
                model.live.remove(&head);
                model.give(head, len);
                assert_eq!(buddy.free(head), Ok(Span { granule: head, granules: len }));
            }
            Op::Realloc { block, bytes, .. } => {
                let Some((head, len)) = model.pick(block) else { continue };
                resize_buddy(&mut buddy, &mut model, head, len, granules(bytes));
            }
            Op::Misuse { block, amount, .. } => {
                let granule = u32::from(block ^ amount) % (capacity + 8);
                if !model.live.contains_key(&granule) {
                    assert!(buddy.free(granule).is_err(), "{granule} is no head");
                    assert!(buddy.shrink(granule, 1).is_err());
                }
            }
            _ => {}
        }
        assert_eq!(buddy.live_granules(), model.count(Granule::Live));
    }
    buddy.assert_valid();
}

fn resize_buddy(buddy: &mut Buddy<'_>, model: &mut Model, head: u32, len: u32, new_len: u32) {
    if new_len <= len {
        assert_eq!(buddy.shrink(head, new_len), Ok(len - new_len));
        model.give(head + new_len, len - new_len);
        model.live.insert(head, new_len);
        return;
    }
    let end = head.checked_add(new_len);
    let fits = end.is_some_and(|end| model.is_free(head + len, end));
    assert_eq!(buddy.extend(head, new_len), fits, "from {len} to {new_len} at {head}");
    if fits {
        model.take(Span { granule: head + len, granules: new_len - len });
        model.live.remove(&(head + len));
        model.live.insert(head, new_len);
    }
}

fn run_pool(mut pool: SpanPool<'_>, capacity: u32, program: impl IntoIterator<Item = Op>) {
    let mut model =
        Model { granules: vec![Granule::Clean; capacity as usize], live: BTreeMap::new() };
    pool.open(0..capacity);
    for op in program {
        match op {
            Op::Alloc { bytes, align, .. } if bytes > 0 => {
                if let Some(taken) = pool.take(granules(bytes), granules(align)) {
                    assert_eq!(taken.span.granules, granules(bytes));
                    assert!(taken.span.granule.is_multiple_of(granules(align)));
                    let is_clean = model.take(taken.span);
                    assert!(is_clean || !taken.clean, "{taken:?} was used");
                }
            }
            Op::Free { block, .. } => {
                let Some((head, len)) = model.pick(block) else { continue };
                model.live.remove(&head);
                model.give(head, len);
                assert!(pool.put(head));
            }
            Op::Realloc { block, bytes, .. } => {
                let Some((head, len)) = model.pick(block) else { continue };
                resize_in_pool(&mut pool, &mut model, head, len, granules(bytes));
            }
            Op::Tick => pool.tick(),
            Op::Purge { age_ticks } => purge(&mut pool, &mut model, age_ticks, true),
            Op::Fail { .. } => purge(&mut pool, &mut model, 0, false),
            _ => {}
        }
        let live = model.count(Granule::Live);
        assert_eq!(pool.cached_granules(), capacity - live, "cached");
        assert!(pool.dirty_granules() <= model.count(Granule::Dirty), "dirty");
    }
    pool.assert_valid();
    purge(&mut pool, &mut model, 0, true);
    assert!(!pool.has_dirt());
    assert_eq!(model.count(Granule::Dirty), 0);
}

fn resize_in_pool(pool: &mut SpanPool<'_>, model: &mut Model, head: u32, len: u32, new_len: u32) {
    if new_len < len {
        assert!(pool.shrink(head, new_len));
        model.give(head + new_len, len - new_len);
        model.live.insert(head, new_len);
    } else if new_len > len {
        // What waits uncoalesced is free for the model, but not for the pool: it may say no.
        if let Some(taken) = pool.extend(head, new_len) {
            let is_clean = model.take(Span { granule: head + len, granules: new_len - len });
            assert!(is_clean || !taken.clean);
            model.live.remove(&(head + len));
            model.live.insert(head, new_len);
        }
    }
}

fn purge(pool: &mut SpanPool<'_>, model: &mut Model, age_ticks: u8, is_done: bool) {
    while let Some(purge) = pool.begin_purge(age_ticks) {
        for granule in Purge::run(&purge) {
            let state = &mut model.granules[granule as usize];
            assert_eq!(*state, Granule::Dirty, "granule {granule} is not due");
            if is_done {
                *state = Granule::Clean;
            }
        }
        pool.finish_purge(purge, is_done);
    }
}
