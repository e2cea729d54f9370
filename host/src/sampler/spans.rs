//! What the arena's ground is used for, as a recording has it.
#![forbid(unsafe_code)]

use genesis_mem_core::{
    arena::Use,
    size_class::{HostClasses, MAX_CLASSES},
    stats::Snapshot,
};

use super::{
    memory::List,
    records::{Live, Span},
};
use crate::process;

/// All stretches, by address; `None` where there is no memory.
///
/// How much of a slab is used is known where every block is a sample. Else it is taken to be the share
/// that slabs of its class are used on average.
pub(super) fn copy(stats: &Snapshot, live: &[Live], is_full: bool) -> Option<List<Span>> {
    let mut spans = List::new();
    let is_copied = process::arena().map(|stretch| {
        let bytes = stretch.bytes as u64;
        let (kind, used_bytes, block_bytes) = match stretch.used_for {
            Use::Purged => (0, 0, 0),
            Use::Dirty => (1, 0, 0),
            Use::Slab { block_bytes } => (2, 0, block_bytes as u32),
            _ => (3, bytes, 0),
        };
        spans.push(Span { address: stretch.address as u64, bytes, used_bytes, kind, block_bytes })
    });
    if !is_copied {
        return None;
    }
    if is_full {
        add_samples(&mut spans, live)
    } else {
        add_shares(&mut spans, stats)
    }
    Some(spans)
}

fn add_samples(spans: &mut [Span], live: &[Live]) {
    for sample in live {
        let after = spans.partition_point(|span| span.address <= sample.address);
        if let Some(span) = after.checked_sub(1).map(|index| &mut spans[index])
            && span.kind == 2
            && sample.address - span.address < span.bytes
        {
            span.used_bytes = (span.used_bytes + sample.block_bytes).min(span.bytes);
        }
    }
}

fn add_shares(spans: &mut [Span], stats: &Snapshot) {
    let class_of =
        |span: &Span| HostClasses::of(span.block_bytes as usize).map(|class| class.index());
    let mut slab_bytes = [0_u64; MAX_CLASSES];
    let slabs = |span: &&mut Span| span.kind == 2;
    for span in spans.iter_mut().filter(slabs) {
        if let Some(class) = class_of(span) {
            slab_bytes[class] += span.bytes;
        }
    }
    for span in spans.iter_mut().filter(slabs) {
        let Some(class) = class_of(span) else { continue };
        let used_bytes = u128::from(stats.classes[class].allocated_bytes) * u128::from(span.bytes);
        let share = used_bytes / u128::from(slab_bytes[class].max(1));
        span.used_bytes = u64::try_from(share).unwrap_or(span.bytes).min(span.bytes);
    }
}
