//! A recording, read.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use genesis_mem_core::{frag, frag::Ratio};
use genesis_mem_profile::{
    Baseline, Event, Level, Live, Mark, Memory, Point, Pool, Recording, Report, Sampling, StackId,
    Stacks, Usage, Weight,
};
use serde_json::Value;

use super::{
    error::ReadError,
    maps::Maps,
    moment,
    records::{self, Header, RawEvent, RawLive, RawSpan, RawStack, RawUsage},
    rounding::Rounding,
    sections::{Kind, sections},
    segments::segments,
    symbols::{Known, Symbols},
};

/// What a program knew of its memory, read from a recording. Names are looked up apart, since
/// that takes its time: [`names`](Self::names) first, then the rest.
///
/// ```no_run
/// use genesis_mem_host::profile::Recorded;
/// let recorded = Recorded::open("server.4711.genesis-mem")?;
/// let names = recorded.names(|_, _| {});
/// println!("{}", recorded.report(&names).summary());
/// # Ok::<(), genesis_mem_host::profile::ReadError>(())
/// ```
#[derive(Debug, Default)]
pub struct Recorded {
    header: Header,
    is_whole: bool,
    maps: Maps,
    stacks: Vec<RawStack>,
    usages: Vec<RawUsage>,
    live: Vec<RawLive>,
    events: Vec<RawEvent>,
    marks: Vec<(u64, String)>,
    stats: Value,
    spans: Vec<RawSpan>,
    levels: Vec<(u64, [u64; 3])>,
}

/// The stacks of a recording, by name.
#[derive(Debug, Default)]
pub struct Names {
    stacks: Stacks,
    ids: HashMap<u32, StackId>,
    /// Programs and libraries that were changed after the recording was written, so that
    /// addresses mean nothing there any more: they have no names.
    pub changed: Vec<PathBuf>,
}

impl Names {
    fn id(&self, raw: u32) -> StackId {
        self.ids.get(&raw).copied().unwrap_or(StackId::UNKNOWN)
    }
}

impl Recorded {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no recording, or is damaged. A recording that ends early is read as
    /// far as it goes, see [`is_whole`](Self::is_whole).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let bytes =
            fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes)
    }

    /// Reads what a file has in it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        let (sections, is_whole) = sections(bytes)?;
        let mut recorded = Self { is_whole, ..Self::default() };
        let mut header = None;
        for section in sections {
            match section.kind {
                Kind::Header if section.is_whole => header = Some(records::header(section)?),
                Kind::Maps => recorded.maps = Maps::parse(section.payload),
                Kind::Stacks => recorded.stacks.extend(records::stacks(section)?),
                Kind::Usages => recorded.usages.extend(records::usages(section)?),
                Kind::Live => recorded.live.extend(records::live(section)?),
                Kind::Events => recorded.events.extend(records::events(section)?),
                Kind::Marks => recorded.marks.extend(records::marks(section)?),
                Kind::Spans => recorded.spans.extend(records::spans(section)?),
                Kind::Levels => recorded.levels.extend(records::levels(section)?),
                Kind::Stats if section.is_whole => {
                    let stats = serde_json::from_slice(section.payload.trim_ascii());
                    recorded.stats = stats.map_err(|_| section.broken(0, "it is no JSON"))?;
                }
                Kind::Header | Kind::Stats | Kind::End => {}
            }
        }
        recorded.header = header.ok_or(ReadError::Truncated { bytes: bytes.len() as u64 })?;
        Ok(recorded)
    }

    /// Which process, when and how.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether it was written to its end: not where the program was killed meanwhile, or the disk
    /// was full.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn maps(&self) -> &Maps {
        &self.maps
    }

    /// From when on blocks that stay are leaks, if the program said so.
    pub fn baseline(&self) -> Baseline {
        Baseline::from_ns(self.header.baseline_ns)
    }

    /// Looks up where in the code everything was: function, file and line, calls that were inlined
    /// too, from the debug information of the programs and libraries on this machine, or else from
    /// their symbols. Tells `on_step` how many stacks are done, and of how many.
    pub fn names(&self, on_step: impl FnMut(usize, usize)) -> Names {
        self.names_from(&mut Known::default(), on_step)
    }

    /// The same, with what is known already of the same maps, and more of it afterwards.
    pub(super) fn names_from(
        &self,
        known: &mut Known,
        mut on_step: impl FnMut(usize, usize),
    ) -> Names {
        let epoch_ns = self.header.epoch_ns;
        let recorded_ns =
            if epoch_ns > 0 { epoch_ns.saturating_add(self.header.end_ns) } else { 0 };
        let mut symbols = Symbols::new(&self.maps, recorded_ns, std::mem::take(known));
        let mut names = Names::default();
        for (done, stack) in self.stacks.iter().enumerate() {
            let id = symbols.intern(&mut names.stacks, &stack.addresses);
            names.ids.insert(stack.id, id);
            on_step(done + 1, self.stacks.len());
        }
        names.stacks.modules = symbols.modules();
        names.changed = symbols.changed().to_vec();
        *known = symbols.known;
        names
    }

    /// Who holds the memory, and who has allocated it so far. Sums of a sample are estimates,
    /// rounded so that they still add up.
    pub fn report(&self, names: &Names) -> Report {
        let mut report = Report::now();
        report.stacks = names.stacks.clone();
        report.time_ns = self.header.end_ns;
        report.epoch_ns = self.header.epoch_ns;
        report.sampling = self.sampling();
        let mut rounding: [Rounding; 6] = Default::default();
        report.usages = self.usages.iter().map(|raw| usage(raw, names, &mut rounding)).collect();
        report.live = self.live.iter().map(|raw| live(raw, names)).collect();
        report.pools = self.pools(&report);
        report
    }

    /// Who held the memory at an earlier time of this recording, by the events since then, which
    /// goes back as far as they do. What was allocated and freed before is not in it.
    pub fn report_at(&self, names: &Names, time_ns: u64) -> Report {
        let then = moment::live_at(&self.live, &self.events, time_ns);
        let mut report = Report::now();
        report.stacks = names.stacks.clone();
        report.time_ns = time_ns;
        report.epoch_ns = self.header.epoch_ns;
        report.sampling = self.sampling();
        let usages = moment::usages(&then);
        if let Some(sampling) = &mut report.sampling {
            sampling.samples = then.len() as u64;
        }
        let mut rounding: [Rounding; 6] = Default::default();
        report.usages = usages.iter().map(|raw| usage(raw, names, &mut rounding)).collect();
        report.live = then.iter().map(|raw| live(raw, names)).collect();
        for (memory, _) in self.end() {
            let timeline = self.recording(names).timeline(memory);
            let mut pool = Pool::default();
            (pool.memory, pool.live_bytes) = (memory, timeline.at(time_ns).live_bytes);
            pool.allocated_bytes = timeline.at(time_ns).allocated_bytes;
            pool.reserved_bytes = timeline.at(time_ns).reserved_bytes;
            pool.reserved_peak_bytes = timeline.peak().reserved_bytes;
            report.pools.push(pool);
        }
        report
    }

    /// When the program held most of the host's memory, and how much, bytes.
    pub fn peak(&self, names: &Names) -> (u64, u64) {
        let timeline = self.recording(names).timeline(Memory::Host);
        // Of several the last, of which most is known.
        let peak = timeline.points.iter().max_by_key(|point| point.level.live_bytes);
        peak.map_or((self.header.end_ns, 0), |peak| (peak.time_ns, peak.level.live_bytes))
    }

    /// What happened, and where everything lay at the end.
    pub fn recording(&self, names: &Names) -> Recording {
        let mut recording = Recording::default();
        recording.stacks = names.stacks.clone();
        recording.epoch_ns = self.header.epoch_ns;
        recording.begin_ns = self.header.begin_ns;
        recording.end_ns = self.header.end_ns;
        recording.sampling = self.sampling();
        recording.events = self.events.iter().map(|raw| event(raw, names)).collect();
        recording.lost_events = self.header.lost_events;
        if recording.lost_events > 0 {
            // The earliest are lost; nobody knows what happened before the others.
            let times = recording.events.iter().map(|event| event.time_ns);
            recording.begin_ns = times.min().unwrap_or(self.header.end_ns);
        }
        let mark =
            |(time_ns, label): &(u64, String)| Mark { time_ns: *time_ns, label: label.clone() };
        recording.marks = self.marks.iter().map(mark).collect();
        recording.levels = self.levels.iter().map(|at| (Memory::Host, point(at))).collect();
        recording.end = self.end();
        recording.segments =
            segments(&self.spans, &self.live, self.sampling().is_some(), |raw| names.id(raw));
        recording.finish();
        recording
    }

    fn sampling(&self) -> Option<Sampling> {
        let samples = self.usages.iter().map(|usage| usage.samples).sum();
        let interval_bytes = self.header.interval_bytes;
        // Every block may have been recorded only from some time on.
        let is_sample = !self.header.is_full || self.live.iter().any(|live| live.weight > 1.0);
        is_sample.then_some(Sampling { interval_bytes, samples })
    }

    /// The levels at the end.
    fn end(&self) -> Vec<(Memory, Level)> {
        let noted = self.levels.iter().max_by_key(|(time_ns, _)| *time_ns);
        let counted = || Level {
            live_bytes: self.stat("requested_bytes"),
            allocated_bytes: self.stat("allocated_bytes"),
            reserved_bytes: self.stat("reserved_bytes"),
        };
        let mut end = vec![(Memory::Host, noted.map_or_else(counted, |at| point(at).level))];
        let pinned = self.pinned();
        if pinned != Level::default() {
            end.push((Memory::Pinned, pinned));
        }
        end
    }

    /// What is known of page-locked memory: its live blocks.
    fn pinned(&self) -> Level {
        let (mut live_bytes, mut allocated_bytes) = (0.0, 0.0);
        for live in self.live.iter().filter(|live| live.memory == Memory::Pinned) {
            live_bytes += f64::from(live.weight) * live.bytes as f64;
            allocated_bytes += f64::from(live.weight) * live.block_bytes as f64;
        }
        let (live_bytes, allocated_bytes) = (live_bytes as u64, allocated_bytes as u64);
        Level { live_bytes, allocated_bytes, reserved_bytes: allocated_bytes }
    }

    /// What the allocator counted itself: exact also where the report is an estimate.
    fn pools(&self, report: &Report) -> Vec<Pool> {
        let mut host = Pool::default();
        if self.stats.is_null() {
            let own = report.usages.iter().filter(|usage| usage.memory == Memory::Host);
            host.live_bytes = own.map(Usage::live_bytes).sum();
            host.allocated_bytes = host.live_bytes;
        } else {
            let count = |name: &str| self.stats[name].as_u64().unwrap_or(0);
            let (hits, misses) = (count("cache_hits"), count("cache_misses"));
            host.live_bytes = self.stat("requested_bytes");
            host.allocated_bytes = self.stat("allocated_bytes");
            host.reserved_bytes = self.stat("reserved_bytes");
            host.reserved_peak_bytes =
                self.stats["reserved_bytes"]["peak"].as_u64().unwrap_or(host.reserved_bytes);
            host.largest_free_bytes = count("largest_free_bytes");
            host.hits = Ratio::new(hits, hits.saturating_add(misses));
            host.fragmentation = frag::external(self.stat("cached_bytes"), host.largest_free_bytes);
        }
        let mut pools = vec![host];
        let pinned = self.pinned();
        if pinned != Level::default() {
            let mut pool = Pool::default();
            pool.memory = Memory::Pinned;
            pool.live_bytes = pinned.live_bytes;
            pool.allocated_bytes = pinned.allocated_bytes;
            pool.reserved_bytes = pinned.reserved_bytes;
            pool.reserved_peak_bytes = pinned.reserved_bytes;
            pools.push(pool);
        }
        pools
    }

    /// A level of the allocator's statistics.
    fn stat(&self, name: &str) -> u64 {
        self.stats[name]["current"].as_u64().unwrap_or(0)
    }
}

fn usage(raw: &RawUsage, names: &Names, rounding: &mut [Rounding; 6]) -> Usage {
    let [live_blocks, live_bytes, freed_blocks, freed_bytes, short_blocks, lifetime] = rounding;
    // Rounded apart, so that what is live and what was freed add up to all there was.
    let (live_blocks, live_bytes) = (
        live_blocks.next(raw.total_blocks - raw.freed_blocks),
        live_bytes.next(raw.total_bytes - raw.freed_bytes),
    );
    let (freed_blocks, freed_bytes) =
        (freed_blocks.next(raw.freed_blocks), freed_bytes.next(raw.freed_bytes));
    Usage {
        memory: raw.memory,
        stack: names.id(raw.stack),
        owner: raw.thread.into(),
        size_class: raw.size_class,
        total_blocks: live_blocks + freed_blocks,
        total_bytes: live_bytes + freed_bytes,
        freed_blocks,
        freed_bytes,
        short_blocks: short_blocks.next(raw.short_blocks),
        lifetime_ns: lifetime.next(raw.lifetime_ns),
    }
}

fn live(raw: &RawLive, names: &Names) -> Live {
    Live {
        memory: raw.memory,
        address: raw.address,
        bytes: raw.bytes,
        block_bytes: raw.block_bytes,
        owner: raw.thread.into(),
        stack: names.id(raw.stack),
        since_ns: raw.time_ns,
        weight: raw.weight,
    }
}

fn event(raw: &RawEvent, names: &Names) -> Event {
    Event {
        time_ns: raw.time_ns,
        address: raw.address,
        bytes: raw.bytes,
        block_bytes: raw.block_bytes,
        owner: raw.thread.into(),
        stack: names.id(raw.stack),
        kind: raw.kind,
        memory: raw.memory,
        weight: Weight::new(raw.weight),
    }
}

fn point(&(time_ns, [live_bytes, allocated_bytes, reserved_bytes]): &(u64, [u64; 3])) -> Point {
    Point { time_ns, level: Level { live_bytes, allocated_bytes, reserved_bytes } }
}
