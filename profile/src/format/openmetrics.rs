//! Statistics for Prometheus, in the text format of OpenMetrics 1.0.
//!
//! Every name begins with `genesis_mem_`; `docs/stats.md` lists them. What belongs to a stream or a
//! private pool has names of its own, so that no sum counts anything twice.

use std::fmt::{self, Write};

use genesis_mem_core::{
    frag::Ratio,
    stats::{Level, Snapshot},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};

use crate::Memory;

/// The value of the header `Content-Type` for the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(String, String)>;

/// The statistics of one allocator or of a part of it, and the labels that tell it from others.
#[derive(Clone, Debug)]
pub struct Source {
    labels: Labels,
    is_part: bool,
    snapshot: Box<Snapshot>,
}

impl Source {
    /// A whole allocator of that kind of memory.
    pub fn new(memory: Memory, snapshot: Snapshot) -> Self {
        let source = Self { labels: Vec::new(), is_part: false, snapshot: Box::new(snapshot) };
        source.label("memory", memory)
    }

    /// The part of an allocator that belongs to a stream and a private pool. Parts are shown beside
    /// their whole, which they add up to.
    pub fn part(
        memory: Memory,
        stream: impl fmt::Display,
        pool: impl fmt::Display,
        snapshot: Snapshot,
    ) -> Self {
        let part = Self { is_part: true, ..Self::new(memory, snapshot) };
        part.label("stream", stream).label("pool", pool)
    }

    /// Adds a label, such as `device`, or replaces its value. Of its name, characters that a name
    /// may not have become `_`.
    #[must_use]
    pub fn label(mut self, name: &str, value: impl fmt::Display) -> Self {
        let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut name: String = name.chars().map(allowed).collect();
        if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            name.insert(0, '_');
        }
        let value = value.to_string();
        match self.labels.iter_mut().find(|(other, _)| *other == name) {
            Some(label) => label.1 = value,
            None => self.labels.push((name, value)),
        }
        self
    }
}

/// Writes the statistics as one exposition, which ends with `# EOF`. Sources with the same labels
/// are added up, as [`Snapshot::merge`] does.
///
/// # Errors
/// Those of `out`.
pub fn write(sources: impl IntoIterator<Item = Source>, out: &mut impl Write) -> fmt::Result {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition::of(sources)));
    text::encode(out, &registry)
}

/// The same as a text.
pub fn to_string(sources: impl IntoIterator<Item = Source>) -> String {
    let mut text = String::new();
    write(sources, &mut text).expect("a string takes any text");
    text
}

/// Wholes and parts, each with labels of its own.
#[derive(Debug, Default)]
struct Exposition {
    wholes: Vec<Source>,
    parts: Vec<Source>,
}

impl Exposition {
    fn of(sources: impl IntoIterator<Item = Source>) -> Self {
        let mut exposition = Self::default();
        for source in sources {
            let list = match source.is_part {
                true => &mut exposition.parts,
                false => &mut exposition.wholes,
            };
            match list.iter_mut().find(|other| other.labels == source.labels) {
                Some(other) => other.snapshot.merge(&source.snapshot),
                None => list.push(source),
            }
        }
        exposition
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let families = &mut Families(&mut encoder);
        if !self.wholes.is_empty() {
            families.info("genesis_mem", "The version of Genesis Memory")?;
        }
        for (name, help, level) in LEVELS {
            families.bytes(name, help, &self.wholes, |s| Some(level(s).current))?;
        }
        for (name, help, level) in PEAKS {
            families.bytes(name, help, &self.wholes, |s| Some(level(s).peak))?;
        }
        for (name, help, size) in SIZES {
            families.bytes(name, help, &self.wholes, |s| Some(size(s)).filter(|&size| size > 0))?;
        }
        families.gauge("genesis_mem_heaps", HEAPS, &self.wholes, |s| s.heaps)?;
        families.fragmentation(&self.wholes)?;
        for (name, help, count) in COUNTS {
            families.counter(name, help, None, &self.wholes, count)?;
        }
        let purged_bytes = |s: &Snapshot| s.purged_bytes;
        families.counter("genesis_mem_purged", PURGED, BYTES, &self.wholes, purged_bytes)?;
        families.classes(&self.wholes)?;
        for (name, help, level) in PART_LEVELS {
            families.bytes(name, help, &self.parts, |s| Some(level(s).current))?;
        }
        for (name, help, count) in PART_COUNTS {
            families.counter(name, help, None, &self.parts, count)?;
        }
        Ok(())
    }
}

/// Writes one family of metrics after the other; none that is empty.
struct Families<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Families<'_, '_> {
    fn info(&mut self, name: &str, help: &str) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    /// A gauge in bytes, where there is a value.
    fn bytes(
        &mut self,
        name: &str,
        help: &str,
        sources: &[Source],
        value: impl Fn(&Snapshot) -> Option<u64>,
    ) -> fmt::Result {
        let values = sources.iter().filter_map(|source| Some((source, value(&source.snapshot)?)));
        let mut values = values.peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, BYTES, MetricType::Gauge)?;
        values.try_for_each(|(source, value)| {
            family.encode_family(&source.labels)?.encode_gauge(&value)
        })
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        sources: &[Source],
        value: impl Fn(&Snapshot) -> u64,
    ) -> fmt::Result {
        if sources.is_empty() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        sources.iter().try_for_each(|source| {
            let value = value(&source.snapshot);
            family.encode_family(&source.labels)?.encode_gauge(&value)
        })
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        sources: &[Source],
        value: impl Fn(&Snapshot) -> u64,
    ) -> fmt::Result {
        if sources.is_empty() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        sources.iter().try_for_each(|source| {
            let metric = family.encode_family(&source.labels)?;
            encode_counter(metric, value(&source.snapshot))
        })
    }

    fn fragmentation(&mut self, sources: &[Source]) -> fmt::Result {
        if sources.is_empty() {
            return Ok(());
        }
        let (name, unit) = ("genesis_mem_fragmentation", Unit::Other("ratio".to_owned()));
        let gauge = MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, FRAGMENTATION, Some(&unit), gauge)?;
        for source in sources {
            let s = &source.snapshot;
            let kinds: [(&str, Ratio); 3] = [
                ("internal", s.internal_fragmentation()),
                ("external", s.external_fragmentation()),
                ("reserved", s.reserved_fragmentation()),
            ];
            for (kind, ratio) in kinds {
                let labels = (source.labels.clone(), [("kind", kind)]);
                family.encode_family(&labels)?.encode_gauge(&ratio.as_f64())?;
            }
        }
        Ok(())
    }

    /// What each size class in use holds and has done.
    fn classes(&mut self, sources: &[Source]) -> fmt::Result {
        let used = |s: &Snapshot| s.rows().any(|row| row.allocations > 0);
        if !sources.iter().any(|source| used(&source.snapshot)) {
            return Ok(());
        }
        for (name, help, unit, metric_type, value) in CLASSES {
            let mut family = self.0.encode_descriptor(name, help, unit, metric_type)?;
            for source in sources {
                for row in source.snapshot.rows().filter(|row| row.allocations > 0) {
                    let block_bytes = match row.block_bytes {
                        0 => "large".to_owned(),
                        bytes => bytes.to_string(),
                    };
                    let labels = (source.labels.clone(), [("block_bytes", block_bytes)]);
                    let mut metric = family.encode_family(&labels)?;
                    match metric_type {
                        MetricType::Counter => encode_counter(metric, value(row))?,
                        _ => metric.encode_gauge(&value(row))?,
                    }
                }
            }
        }
        Ok(())
    }
}

fn encode_counter(mut metric: MetricEncoder<'_>, count: u64) -> fmt::Result {
    metric.encode_counter(&count, None::<&Exemplar<Labels, f64>>)
}

const BYTES: Option<&Unit> = Some(&Unit::Bytes);

mod tables;
use tables::{
    CLASSES, COUNTS, FRAGMENTATION, HEAPS, LEVELS, PART_COUNTS, PART_LEVELS, PEAKS, PURGED, SIZES,
};

type LevelOf = fn(&Snapshot) -> Level;
type CountOf = fn(&Snapshot) -> u64;
