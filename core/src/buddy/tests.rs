//! The buddy against a model of one entry a granule.

use std::{collections::BTreeMap, eprintln, string::ToString, vec, vec::Vec};

use super::{block::Block, free::ORDERS, *};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Granule {
    Closed,
    Free,
    Live { head: u32 },
}

struct Model {
    granules: Vec<Granule>,
    spans: BTreeMap<u32, u32>,
}

impl Model {
    fn is_free(&self, start: u32, end: u32) -> bool {
        let granules = self.granules.get(start as usize..end as usize);
        granules.is_some_and(|granules| granules.iter().all(|state| *state == Granule::Free))
    }

    /// The largest aligned block around a granule that is all free.
    fn free_block(&self, granule: u32) -> Option<Block> {
        let blocks = (0..ORDERS as u32).map(|order| Block::around(granule, order));
        blocks.take_while(|block| self.is_free(block.range().start, block.range().end)).last()
    }

    fn free_blocks(&self) -> Vec<Block> {
        let mut blocks = vec![];
        let mut at = 0;
        while at < self.granules.len() as u32 {
            let block = self.free_block(at);
            at = block.map_or(at + 1, |block| block.range().end);
            blocks.extend(block);
        }
        blocks
    }

    /// What `alloc_aligned` promises.
    fn choice(&self, granules: u32, align_granules: u32) -> Option<Span> {
        let enough = |block: &Block| block.granules() >= granules.max(align_granules);
        let blocks = self.free_blocks().into_iter().filter(enough);
        let best = blocks.min_by_key(|block| (block.order, block.granule))?;
        Some(Span { granule: best.granule, granules })
    }

    /// What `free` promises, without doing it.
    fn verdict(&self, granule: u32) -> Result<Span, FreeError> {
        match self.granules.get(granule as usize) {
            None => {
                let capacity_granules = self.granules.len() as u32;
                Err(FreeError::BeyondCapacity { granule, capacity_granules })
            }
            Some(Granule::Closed) => Err(FreeError::NotOpen { granule }),
            Some(Granule::Free) => {
                let block = self.free_block(granule).unwrap().span();
                Err(FreeError::Free { granule, block })
            }
            Some(&Granule::Live { head }) => {
                let span = Span { granule: head, granules: self.spans[&head] };
                if head == granule { Ok(span) } else { Err(FreeError::Interior { granule, span }) }
            }
        }
    }

    fn fill(&mut self, range: Range<u32>, state: Granule) {
        self.granules[range.start as usize..range.end as usize].fill(state);
    }

    fn allocate(&mut self, span: Span) {
        assert!(self.is_free(span.granule, span.range().end));
        self.fill(span.range(), Granule::Live { head: span.granule });
        self.spans.insert(span.granule, span.granules);
    }

    fn free(&mut self, span: Span) {
        assert_eq!(self.spans.remove(&span.granule), Some(span.granules));
        self.fill(span.range(), Granule::Free);
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32 % bound
    }

    /// From zero to beyond `capacity`, mostly short, half of the time no power of two.
    fn length(&mut self, capacity: u32) -> u32 {
        let length = (1 << self.below(capacity.ilog2() + 2)) >> 1;
        if self.below(2) == 0 { length } else { length + self.below(length + 1) }
    }
}

/// One random operation on both; every answer must be what the model foretells.
fn step(buddy: &mut Buddy, model: &mut Model, random: &mut Random) {
    let capacity = buddy.capacity_granules();
    let any = random.below(capacity + 2);
    let length = random.length(capacity);
    // The head of a live span, if there is one from `any` up.
    let head = model.spans.range(any..).next().map_or(any, |(head, _)| *head);
    match random.below(16) {
        0..3 => {
            let span = buddy.alloc(length);
            assert_eq!(span, model.choice(length, 1).filter(|_| length > 0), "alloc {length}");
            span.into_iter().for_each(|span| model.allocate(span));
        }
        3 => {
            let align = random.below(10);
            let wanted = model.choice(length, align);
            let span = buddy.alloc_aligned(length, align);
            assert_eq!(span, wanted.filter(|_| length > 0 && align.is_power_of_two()));
            assert!(span.is_none_or(|span| span.granule.is_multiple_of(align)));
            span.into_iter().for_each(|span| model.allocate(span));
        }
        4 => {
            let fits = length > 0 && model.is_free(any, any + length);
            let span = buddy.alloc_at(any, length);
            assert_eq!(span, fits.then_some(Span { granule: any, granules: length }));
            span.into_iter().for_each(|span| model.allocate(span));
        }
        5 => {
            let block = model.free_block(any).map(Block::span);
            assert_eq!(buddy.free_block_containing(any), block);
            assert_eq!(buddy.take_block_at(any), block);
            block.into_iter().for_each(|span| model.allocate(span));
        }
        6..8 => {
            let Ok(span) = model.verdict(head) else { return };
            let granules = 1 + random.below(span.granules + 2);
            let end = head + granules;
            let fits = granules <= span.granules || model.is_free(span.range().end, end);
            assert_eq!(buddy.extend(head, granules), fits, "extend {span:?} to {granules}");
            if fits && granules > span.granules {
                model.free(span);
                model.allocate(Span { granule: head, granules });
            }
        }
        8 => {
            let Ok(span) = model.verdict(head) else { return };
            let granules = random.below(span.granules + 2);
            let fits = granules > 0 && granules <= span.granules;
            let refusal = Err(ShrinkError::Length { span, granules });
            let answer = if fits { Ok(span.granules - granules) } else { refusal };
            assert_eq!(buddy.shrink(head, granules), answer);
            if fits {
                model.free(span);
                model.allocate(Span { granule: head, granules });
            }
        }
        9..14 => {
            let verdict = model.verdict(head);
            assert_eq!(buddy.free(head), verdict, "free {head}");
            verdict.into_iter().for_each(|span| model.free(span));
        }
        _ => {
            // Mostly wrong, in every way.
            let verdict = model.verdict(any);
            assert_eq!(buddy.len(any), verdict.ok().map(|span| span.granules));
            if let Err(refusal) = verdict {
                assert!(!buddy.extend(any, 1));
                assert_eq!(buddy.shrink(any, 1), Err(refusal.into()));
            }
            assert_eq!(buddy.free(any), verdict, "free {any}");
            verdict.into_iter().for_each(|span| model.free(span));
        }
    }
}

/// Random operations over `capacity` granules that are opened piece by piece, but for the last.
fn agree(seed: u64, capacity: u32, steps: u32) {
    eprintln!("seed {seed}, {capacity} granules");
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
    let mut bitmaps = vec![0; Buddy::bitmap_words(capacity)];
    let mut marks = vec![0; Buddy::mark_bytes(capacity)];
    let mut buddy = Buddy::new(capacity, &mut bitmaps, &mut marks);
    let granules = vec![Granule::Closed; capacity as usize];
    let mut model = Model { granules, spans: BTreeMap::new() };
    let mut frontier = 0;
    for round in 0..steps {
        if round % (steps / 16) == 0 {
            let end = (frontier + 1 + random.below(capacity / 6 + 1)).min(capacity - 1);
            buddy.open(frontier..end);
            model.fill(frontier..end, Granule::Free);
            frontier = frontier.max(end);
        }
        step(&mut buddy, &mut model, &mut random);
        let live = model.spans.values().sum::<u32>();
        assert_eq!((buddy.live_granules(), buddy.free_granules()), (live, frontier - live));
        if round % 128 == 0 {
            buddy.assert_valid();
            let blocks = model.free_blocks();
            assert_eq!(buddy.largest_free_order(), blocks.iter().map(|block| block.order).max());
            for (order, count) in buddy.free_blocks_by_order().iter().enumerate() {
                let same = blocks.iter().filter(|block| block.order as usize == order);
                assert_eq!(*count as usize, same.count(), "blocks of order {order}");
            }
        }
    }
    let spans: Vec<u32> = model.spans.keys().copied().collect();
    spans.into_iter().for_each(|head| model.free(buddy.free(head).unwrap()));
    buddy.open(frontier..capacity);
    buddy.assert_valid();
    // The binary digits of the capacity: nothing is left to merge.
    for (order, count) in buddy.free_blocks_by_order().iter().enumerate() {
        assert_eq!(*count, capacity >> order & 1, "blocks of order {order}");
    }
    assert_eq!(buddy.free_granules(), capacity);
}

#[test]
fn agrees_with_a_model_of_every_granule() {
    for (seed, capacity) in [1, 2, 3, 7, 64, 65, 100, 128, 191, 250, 333].into_iter().enumerate() {
        agree(seed as u64, capacity, 20_000);
    }
}

#[test]
fn lowest_address_first() {
    let mut bitmaps = vec![u64::MAX; Buddy::bitmap_words(100)];
    let mut marks = vec![u8::MAX; Buddy::mark_bytes(100)];
    let mut buddy = Buddy::new_clearing(100, &mut bitmaps, &mut marks);
    buddy.open(0..64);
    for granule in (0..64).step_by(4) {
        assert_eq!(buddy.alloc(3), Some(Span { granule, granules: 3 }));
    }
    // The smallest order that serves goes before the lowest address.
    buddy.free(8).unwrap();
    assert_eq!(buddy.alloc(1).unwrap().granule, 3);
    assert_eq!(buddy.alloc_aligned(1, 4).unwrap().granule, 8);
    assert_eq!(buddy.alloc(4), None);
    buddy.assert_valid();
}

#[test]
fn neighbouring_blocks_serve_a_span_longer_than_each() {
    let mut bitmaps = vec![0; Buddy::bitmap_words(3072)];
    let mut marks = vec![0; Buddy::mark_bytes(3072)];
    let mut buddy = Buddy::new(3072, &mut bitmaps, &mut marks);
    buddy.open(0..3072);
    assert_eq!(buddy.largest_free_order(), Some(11));
    assert_eq!(buddy.alloc(2049), None);
    assert_eq!(buddy.alloc_at(5, 3000), Some(Span { granule: 5, granules: 3000 }));
    assert_eq!(buddy.live_span_containing(2999), Some(Span { granule: 5, granules: 3000 }));
    buddy.assert_valid();
    assert_eq!(buddy.free(5).map(|span| span.granules), Ok(3000));
    assert_eq!(buddy.free_blocks_by_order()[10..], [1, 1]);
}

#[test]
fn requests_of_any_size_are_answered() {
    let mut bitmaps = vec![0; Buddy::bitmap_words(40)];
    let mut marks = vec![0; Buddy::mark_bytes(40)];
    let mut buddy = Buddy::new(40, &mut bitmaps, &mut marks);
    buddy.open(0..40);
    for granules in [0, 41, 1 << 24, (1 << 24) + 1, 1 << 31, u32::MAX] {
        assert_eq!(buddy.alloc(granules), None);
        assert_eq!(buddy.alloc_at(1, granules), None);
        assert_eq!(buddy.alloc_aligned(1, granules), None);
    }
    let head = buddy.alloc(8).unwrap().granule;
    assert!(!buddy.extend(head, u32::MAX));
    let message = buddy.free(head + 1).unwrap_err().to_string();
    assert_eq!(
        message,
        "granule 33 lies inside the live span 32..40: free its first granule instead"
    );
    assert!(buddy.free(u32::MAX).unwrap_err().to_string().contains("beyond the 40"));
    buddy.assert_valid();
}

#[test]
fn a_huge_capacity_costs_only_what_is_opened() {
    let capacity = Buddy::MAX_GRANULES;
    let mut bitmaps = vec![0; Buddy::bitmap_words(capacity)];
    let mut marks = vec![0; Buddy::mark_bytes(capacity)];
    assert!(bitmaps.len() < (capacity as usize / 32) * 64 / 63 + 64);
    let mut buddy = Buddy::new(capacity, &mut bitmaps, &mut marks);
    buddy.open(0..1000);
    while let Some(span) = buddy.alloc(1) {
        assert!(span.granule < 1000);
    }
    buddy.open(1000..4096);
    buddy.open(capacity - 1..capacity);
    // Free blocks of many orders, at both ends of the state.
    (0..1000).filter(|head| head % 2 == 0 || *head > 700).for_each(|head| {
        buddy.free(head).unwrap();
    });
    assert_eq!(buddy.alloc(1).map(|span| span.granule), Some(0));
    assert_eq!(buddy.largest_free_order(), Some(11));
    let written = |page: &&[u64]| page.iter().any(|word| *word != 0);
    assert!(bitmaps.chunks(512).filter(written).count() <= 32);
    assert!(marks[4096..].iter().all(|mark| *mark == 0));
}
