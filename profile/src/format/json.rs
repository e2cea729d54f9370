//! Reports and timelines as JSON, for scripts.

use std::io::{self, Write};

use serde::Serialize;

use crate::{Frame, Live, Report, Timeline, Usage};

#[derive(Serialize)]
struct JsonReport {
    time_ns: u64,
    /// None where the figures are exact.
    sampling: Option<JsonSampling>,
    pools: Vec<JsonPool>,
    /// By stack: by live bytes, the largest first; then those that hold nothing.
    sites: Vec<JsonUsage>,
    sizes: Vec<JsonUsage>,
    owners: Vec<JsonUsage>,
    /// The largest first.
    live: Vec<JsonLive>,
}

#[derive(Serialize)]
struct JsonSampling {
    interval_bytes: u64,
    samples: u64,
}

#[derive(Serialize)]
struct JsonPool {
    memory: &'static str,
    live_bytes: u64,
    allocated_bytes: u64,
    reserved_bytes: u64,
    reserved_peak_bytes: u64,
    largest_free_bytes: u64,
    hits: f64,
    fragmentation: f64,
}

#[derive(Serialize)]
struct JsonUsage {
    memory: &'static str,
    /// The line of the program, which may be further out than the first of the stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to_bytes: Option<u64>,
    live_blocks: u64,
    live_bytes: u64,
    total_blocks: u64,
    total_bytes: u64,
    short_blocks: u64,
    mean_lifetime_ns: u64,
}

#[derive(Serialize)]
struct JsonLive {
    memory: &'static str,
    address: u64,
    bytes: u64,
    block_bytes: u64,
    owner: u64,
    location: String,
    /// How many blocks it stands for.
    weight: f32,
    /// None where it was there before.
    age_ns: Option<u64>,
}

#[derive(Serialize)]
struct JsonTimeline<'t> {
    memory: &'static str,
    /// One array a point.
    columns: [&'static str; 4],
    points: Vec<[u64; 4]>,
    marks: Vec<(u64, &'t str)>,
}

/// Writes a report.
///
/// # Errors
/// Those of `out`.
pub fn write_report(report: &Report, out: impl Write) -> io::Result<()> {
    let sites = report.paths_by(|usage| usage.live_bytes().saturating_add(1));
    let live = report.large_allocations(0);
    let json = JsonReport {
        time_ns: report.time_ns,
        sampling: report.sampling.map(|sampling| JsonSampling {
            interval_bytes: sampling.interval_bytes,
            samples: sampling.samples,
        }),
        pools: pools(report),
        sites: sites.iter().map(|site| site_of(report, &site.usage)).collect(),
        sizes: report.by_size().iter().map(|size| size_of_class(&size.usage)).collect(),
        owners: report.by_owner().iter().map(|owner| owner_of(&owner.usage)).collect(),
        live: live.iter().map(|live| block(report, live)).collect(),
    };
    serde_json::to_writer(out, &json).map_err(io::Error::from)
}

/// Writes a timeline: an array of times and levels.
///
/// # Errors
/// Those of `out`.
pub fn write_timeline(timeline: &Timeline, out: impl Write) -> io::Result<()> {
    let points = timeline.points.iter().map(|point| {
        let level = point.level;
        [point.time_ns, level.live_bytes, level.allocated_bytes, level.reserved_bytes]
    });
    let json = JsonTimeline {
        memory: timeline.memory.name(),
        columns: ["time_ns", "live_bytes", "allocated_bytes", "reserved_bytes"],
        points: points.collect(),
        marks: timeline.marks.iter().map(|mark| (mark.time_ns, &*mark.label)).collect(),
    };
    serde_json::to_writer(out, &json).map_err(io::Error::from)
}

fn pools(report: &Report) -> Vec<JsonPool> {
    let pools = report.pools.iter().map(|pool| JsonPool {
        memory: pool.memory.name(),
        live_bytes: pool.live_bytes,
        allocated_bytes: pool.allocated_bytes,
        reserved_bytes: pool.reserved_bytes,
        reserved_peak_bytes: pool.reserved_peak_bytes,
        largest_free_bytes: pool.largest_free_bytes,
        hits: pool.hits.as_f64(),
        fragmentation: pool.fragmentation.as_f64(),
    });
    pools.collect()
}

fn usage(usage: &Usage) -> JsonUsage {
    JsonUsage {
        memory: usage.memory.name(),
        site: None,
        stack: None,
        owner: None,
        up_to_bytes: None,
        live_blocks: usage.live_blocks(),
        live_bytes: usage.live_bytes(),
        total_blocks: usage.total_blocks,
        total_bytes: usage.total_bytes,
        short_blocks: usage.short_blocks,
        mean_lifetime_ns: usage.mean_lifetime_ns(),
    }
}

fn site_of(report: &Report, of: &Usage) -> JsonUsage {
    let frames = report.stacks.of(of.stack).map(Frame::description);
    let site = report.stacks.location(of.stack);
    JsonUsage { site: Some(site), stack: Some(frames.collect()), ..usage(of) }
}

fn size_of_class(of: &Usage) -> JsonUsage {
    let up_to_bytes = 1u64.checked_shl(of.size_class.into()).unwrap_or(u64::MAX);
    JsonUsage { up_to_bytes: Some(up_to_bytes), ..usage(of) }
}

fn owner_of(of: &Usage) -> JsonUsage {
    JsonUsage { owner: Some(of.owner), ..usage(of) }
}

fn block(report: &Report, live: &Live) -> JsonLive {
    JsonLive {
        memory: live.memory.name(),
        address: live.address,
        bytes: live.bytes,
        block_bytes: live.block_bytes,
        owner: live.owner,
        location: live.location(&report.stacks),
        weight: live.weight,
        age_ns: (live.since_ns > 0).then(|| report.time_ns.saturating_sub(live.since_ns)),
    }
}
