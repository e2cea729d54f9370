//! Where everything lies: the spans of the arena as segments, and the live blocks in them.
#![forbid(unsafe_code)]

use genesis_mem_profile::{Area, AreaState, Memory, Segment, StackId};

use super::records::{RawLive, RawSpan, SpanKind};

/// Spans that touch are one segment; pages that were given back are none. Of a slab whose blocks
/// are all known each is an area; of others what is in use comes first, as one area.
pub(super) fn segments(
    spans: &[RawSpan],
    live: &[RawLive],
    is_sample: bool,
    stack_of: impl Fn(u32) -> StackId,
) -> Vec<Segment> {
    let mut spans: Vec<&RawSpan> = spans.iter().collect();
    spans.sort_by_key(|span| span.address);
    let mut blocks: Vec<&RawLive> =
        live.iter().filter(|live| live.memory == Memory::Host).collect();
    blocks.sort_by_key(|live| live.address);
    let mut segments: Vec<Segment> = Vec::new();
    let mut end = 0;
    for span in spans {
        let overlaps = span.address < end;
        if span.kind == SpanKind::Purged || overlaps || span.bytes == 0 {
            continue;
        }
        if span.address > end || segments.is_empty() {
            let (memory, address) = (Memory::Host, span.address);
            segments.push(Segment { memory, owner: 0, pool: 0, address, areas: Vec::new() });
        }
        end = span.address + span.bytes;
        let first = blocks.partition_point(|live| live.address < span.address);
        let within = blocks[first..].iter().take_while(|live| live.address < end);
        let within: Vec<(&RawLive, StackId)> =
            within.map(|live| (*live, stack_of(live.stack))).collect();
        if let Some(segment) = segments.last_mut() {
            areas(span, &within, is_sample, &mut segment.areas);
        }
    }
    segments
}

fn areas(span: &RawSpan, blocks: &[(&RawLive, StackId)], is_sample: bool, areas: &mut Vec<Area>) {
    let known_bytes: u64 = blocks.iter().map(|(live, _)| live.block_bytes).sum();
    if span.kind == SpanKind::Slab && (is_sample || known_bytes < span.used_bytes) {
        let used = area(span.address, span.used_bytes, AreaState::Live);
        let rest = span.bytes - span.used_bytes;
        let rest = area(span.address + span.used_bytes, rest, AreaState::Free);
        areas.extend([used, rest].into_iter().filter(|area| area.bytes > 0));
        return;
    }
    let end = span.address + span.bytes;
    let mut at = span.address;
    let mut push = |area: Area| {
        at = area.address + area.bytes;
        areas.push(area);
    };
    let mut next = span.address;
    for (live, stack) in blocks.iter().filter(|_| span.kind != SpanKind::Dirty) {
        if live.address < next || live.block_bytes == 0 {
            continue;
        }
        if live.address > next {
            push(area(next, live.address - next, AreaState::Free));
        }
        let bytes = live.block_bytes.min(end - live.address);
        let block = area(live.address, bytes, AreaState::Live);
        push(Area { requested_bytes: live.bytes.min(bytes), stack: *stack, ..block });
        next = live.address + bytes;
    }
    if span.kind == SpanKind::Large && next == span.address && span.used_bytes > 0 {
        push(area(next, span.used_bytes, AreaState::Live));
        next += span.used_bytes;
    }
    if next < end {
        push(area(next, end - next, AreaState::Free));
    }
    debug_assert_eq!(at, end, "no gap");
}

fn area(address: u64, bytes: u64, state: AreaState) -> Area {
    // Where nobody knows the blocks, all of their bytes count as asked for.
    let requested_bytes = if state == AreaState::Live { bytes } else { 0 };
    Area { address, bytes, requested_bytes, state, stack: StackId::UNKNOWN }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(address: u64, kind: SpanKind, used_bytes: u64) -> RawSpan {
        RawSpan { address, bytes: 0x1000, used_bytes, kind }
    }

    fn block(address: u64, block_bytes: u64) -> RawLive {
        let (stack, thread, memory, weight) = (7, 1, Memory::Host, 1.0);
        RawLive { address, bytes: 100, block_bytes, time_ns: 5, stack, thread, memory, weight }
    }

    #[test]
    fn blocks_lie_in_their_spans_without_gaps() {
        let spans = [
            span(0x3000, SpanKind::Large, 0xf00),
            span(0x1000, SpanKind::Slab, 0x200),
            span(0x2000, SpanKind::Dirty, 0),
            span(0x4000, SpanKind::Purged, 0),
            span(0x5000, SpanKind::Slab, 0x800),
        ];
        let live = [block(0x1400, 0x100), block(0x1000, 0x100), block(0x5100, 0x100)];
        let found = segments(&spans, &live, false, StackId);
        let shape = |segment: &Segment| (segment.address, segment.bytes(), segment.areas.len());
        assert_eq!(
            found.iter().map(shape).collect::<Vec<_>>(),
            [(0x1000, 0x3000, 7), (0x5000, 0x1000, 2)]
        );
        assert_eq!(found[0].bytes_in(AreaState::Live), 0x200 + 0xf00);
        assert_eq!((found[0].areas[0].stack, found[0].areas[0].requested_bytes), (StackId(7), 100));
        // Half of its blocks are not known.
        assert_eq!(
            (found[1].bytes_in(AreaState::Live), found[1].areas[0].stack),
            (0x800, StackId::UNKNOWN)
        );
        let sampled = segments(&spans, &live, true, StackId);
        assert_eq!(sampled[0].areas[0].bytes, 0x200);
    }
}
