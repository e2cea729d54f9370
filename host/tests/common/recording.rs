//! The recording side's view of a recording: enough of a reader to look at what was written.

use std::{collections::BTreeMap, fs, path::Path};

/// A recording, whole.
pub(crate) struct Recording {
    /// Process, parent, full, interval, epoch, begin, end, baseline, lost events, lost samples, bytes.
    pub(crate) header: [u64; 11],
    pub(crate) command_line: Vec<u8>,
    pub(crate) maps: String,
    pub(crate) stacks: BTreeMap<u32, Vec<u64>>,
    pub(crate) usages: Vec<Usage>,
    pub(crate) live: Vec<Live>,
    pub(crate) events: Vec<Event>,
    pub(crate) marks: Vec<(u64, String)>,
    pub(crate) stats: String,
    /// Address, bytes, used bytes, kind and size of blocks.
    pub(crate) spans: Vec<[u64; 5]>,
    pub(crate) levels: Vec<[u64; 4]>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) memory: u32,
    pub(crate) stack: u32,
    pub(crate) thread: u32,
    pub(crate) size_class: u32,
    /// Blocks and bytes, those freed, blocks that were short-lived, lifetimes.
    pub(crate) sums: [f64; 6],
    pub(crate) samples: u64,
    pub(crate) freed_samples: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) block_bytes: u64,
    pub(crate) time_ns: u64,
    pub(crate) stack: u32,
    pub(crate) thread: u32,
    pub(crate) memory: u32,
    pub(crate) weight: f32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) time_ns: u64,
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) kind: u16,
}

/// Takes numbers from the front of some bytes.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (front, rest) = self.0.split_first_chunk().expect("the recording is whole");
        self.0 = rest;
        *front
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn f64(&mut self) -> f64 {
        f64::from_le_bytes(self.take())
    }

    fn all<T>(bytes: &[u8], mut each: impl FnMut(&mut Numbers<'_>) -> T) -> Vec<T> {
        let mut numbers = Numbers(bytes);
        let mut all = Vec::new();
        while !numbers.0.is_empty() {
            all.push(each(&mut numbers));
        }
        all
    }
}

impl Recording {
    /// Reads a file that must be whole.
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&bytes)
    }

    /// The only recording in a folder whose name starts like that.
    pub(crate) fn only(folder: &Path, start: &str) -> Self {
        let paths = fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").path());
        let named = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
        };
        let found: Vec<_> = paths.filter(named).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        Self::read(&found[0])
    }

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut rest = bytes.strip_prefix(b"GENMEM\0\x01").expect("the first bytes");
        let mut sections = BTreeMap::new();
        loop {
            let mut head = Numbers(rest);
            let (kind, version, length) = (head.u32(), head.u32(), head.u64() as usize);
            assert_eq!(version, 1);
            if kind == 255 {
                assert!(length == 0 && head.0.is_empty(), "the end is the end");
                break;
            }
            let (contents, after) = head.0.split_at(length.next_multiple_of(8));
            assert!(sections.insert(kind, &contents[..length]).is_none(), "two of kind {kind}");
            rest = after;
        }
        let mut header = Numbers(sections[&1]);
        Self {
            header: std::array::from_fn(|_| header.u64()),
            command_line: header.0.to_vec(),
            maps: String::from_utf8(sections[&2].to_vec()).expect("maps are text"),
            stacks: Numbers::all(sections[&3], |n| {
                let (id, count) = (n.u32(), n.u32());
                (id, (0..count).map(|_| n.u64()).collect())
            })
            .into_iter()
            .collect(),
            usages: Numbers::all(sections[&4], usage),
            live: Numbers::all(sections[&5], live),
            events: Numbers::all(sections[&6], event),
            marks: Numbers::all(sections[&7], mark),
            stats: String::from_utf8(sections[&8].to_vec()).expect("statistics are text"),
            spans: Numbers::all(sections[&9], |n| {
                [n.u64(), n.u64(), n.u64(), n.u32().into(), n.u32().into()]
            }),
            levels: Numbers::all(sections[&10], |n| std::array::from_fn(|_| n.u64())),
        }
    }

    /// What is live by stack: blocks and bytes.
    pub(crate) fn live_by_stack(&self) -> BTreeMap<u32, (u64, u64)> {
        let mut sums = BTreeMap::new();
        for live in &self.live {
            let sum: &mut (u64, u64) = sums.entry(live.stack).or_default();
            sum.0 += 1;
            sum.1 += live.bytes;
        }
        sums
    }

    /// Sections must agree with each other.
    pub(crate) fn check(&self) {
        let [_, _, full, interval, _, begin, end, ..] = self.header;
        assert!(full <= 1 && interval > 0 && 0 < begin && begin <= end);
        let known = |stack: u32| stack == 0 || self.stacks.contains_key(&stack);
        assert!(self.usages.iter().all(|usage| known(usage.stack) && usage.thread > 0));
        assert!(self.live.iter().all(|live| known(live.stack) && live.thread > 0));
        assert!(self.live.iter().all(|live| live.weight >= 1.0));
        assert!(self.stacks.values().all(|frames| (1..=64).contains(&frames.len())));
        let samples: u64 =
            self.usages.iter().map(|usage| usage.samples - usage.freed_samples).sum();
        assert_eq!(samples, self.live.len() as u64, "samples that are live");
        let bytes: f64 = self.usages.iter().map(|usage| usage.sums[1] - usage.sums[3]).sum();
        let listed: f64 =
            self.live.iter().map(|live| live.bytes as f64 * f64::from(live.weight)).sum();
        assert!((bytes - listed).abs() <= 1e-6 * (1.0 + listed), "{bytes} and {listed}");
        let is_within = |time_ns: u64| time_ns <= end;
        assert!(
            self.live.iter().all(|live| is_within(live.time_ns) && live.bytes <= live.block_bytes)
        );
        for pair in self.spans.windows(2) {
            assert_eq!(pair[0][0] + pair[0][1], pair[1][0], "spans follow each other");
        }
        for live in self.live.iter().filter(|live| live.memory == 0) {
            let around = |span: &&[u64; 5]| live.address.wrapping_sub(span[0]) < span[1];
            let span = self.spans.iter().find(around).expect("a span of the block");
            assert!(span[3] >= 2 && (span[3] == 3 || span[4] == live.block_bytes), "{span:?}");
            assert!(span[2] > 0 && span[2] <= span[1], "{span:?}");
        }
        assert!(self.stats.starts_with('{') && self.maps.contains("r-xp"));
        assert!(!self.levels.is_empty() && self.levels.is_sorted_by_key(|level| level[0]));
    }
}

fn usage(n: &mut Numbers<'_>) -> Usage {
    let usage = Usage {
        memory: n.u32(),
        stack: n.u32(),
        thread: n.u32(),
        size_class: n.u32(),
        sums: std::array::from_fn(|_| n.f64()),
        samples: n.u64(),
        freed_samples: n.u64(),
    };
    assert_eq!(n.u64(), 0, "reserved");
    usage
}

fn live(n: &mut Numbers<'_>) -> Live {
    Live {
        address: n.u64(),
        bytes: n.u64(),
        block_bytes: n.u64(),
        time_ns: n.u64(),
        stack: n.u32(),
        thread: n.u32(),
        memory: n.u32(),
        weight: f32::from_bits(n.u32()),
    }
}

fn event(n: &mut Numbers<'_>) -> Event {
    let (time_ns, address, bytes) = (n.u64(), n.u64(), n.u64());
    let _block_bytes = n.u64();
    let _stack_and_thread = n.u64();
    let kind = n.u16();
    let _memory = n.u16();
    let _weight = n.u32();
    Event { time_ns, address, bytes, kind }
}

fn mark(n: &mut Numbers<'_>) -> (u64, String) {
    let (time_ns, length) = (n.u64(), n.u32() as usize);
    let (text, rest) = n.0.split_at(length);
    let padding = (4 + length).next_multiple_of(8) - (4 + length);
    n.0 = &rest[padding..];
    (time_ns, String::from_utf8(text.to_vec()).expect("marks are text"))
}
