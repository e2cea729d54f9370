//! What is live, and what was allocated so far: by call site, by size, by lifetime.
#![forbid(unsafe_code)]

use genesis_mem_core::{frag::Ratio, stats::Snapshot};
use rustc_hash::FxHashMap;

use crate::{Baseline, Leaks, Memory, StackId, Stacks, clock};

/// Blocks that live less than this are short-lived, nanoseconds: a millisecond.
pub(crate) const SHORT_NS: u64 = 1_000_000;

/// How many classes of sizes there are: powers of two.
pub const SIZE_CLASSES: usize = 65;

/// The class of a size: the least power of two that is not smaller, by its exponent.
#[inline]
pub const fn size_class_of(bytes: u64) -> u8 {
    match bytes {
        0 | 1 => 0,
        bytes => (u64::BITS - (bytes - 1).leading_zeros()) as u8,
    }
}

/// Sums over blocks of one kind of memory, call site, owner and size class. What is live is
/// `total - freed`, of blocks and of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Which memory.
    pub memory: Memory,
    /// From where.
    pub stack: StackId,
    /// The stream or thread.
    pub owner: u64,
    /// See [`size_class_of`].
    pub size_class: u8,
    /// Blocks allocated so far, those from before included.
    pub total_blocks: u64,
    /// Their bytes.
    pub total_bytes: u64,
    /// Of them, blocks freed.
    pub freed_blocks: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Of them, blocks that lived less than a millisecond.
    pub short_blocks: u64,
    /// How long freed blocks lived, all together, nanoseconds.
    pub lifetime_ns: u64,
}

impl Default for Usage {
    /// Nothing of the host's.
    fn default() -> Self {
        Self {
            memory: Memory::Host,
            stack: StackId::UNKNOWN,
            owner: 0,
            size_class: 0,
            total_blocks: 0,
            total_bytes: 0,
            freed_blocks: 0,
            freed_bytes: 0,
            short_blocks: 0,
            lifetime_ns: 0,
        }
    }
}

impl Usage {
    /// Blocks that are live.
    pub const fn live_blocks(&self) -> u64 {
        self.total_blocks - self.freed_blocks
    }

    /// Bytes that are live.
    pub const fn live_bytes(&self) -> u64 {
        self.total_bytes - self.freed_bytes
    }

    /// How long freed blocks lived on average, nanoseconds.
    pub fn mean_lifetime_ns(&self) -> u64 {
        self.lifetime_ns.checked_div(self.freed_blocks).unwrap_or(0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.total_blocks += other.total_blocks;
        self.total_bytes += other.total_bytes;
        self.freed_blocks += other.freed_blocks;
        self.freed_bytes += other.freed_bytes;
        self.short_blocks += other.short_blocks;
        // Of many blocks that lived long it may be more than there are numbers.
        self.lifetime_ns = self.lifetime_ns.saturating_add(other.lifetime_ns);
    }
}

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Live {
    /// Which memory.
    pub memory: Memory,
    /// Where.
    pub address: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Bytes of the block.
    pub block_bytes: u64,
    /// The stream or thread.
    pub owner: u64,
    /// From where it was allocated.
    pub stack: StackId,
    /// Since when; zero where it was there before.
    pub since_ns: u64,
    /// How many blocks it stands for: one where every block is known, more in a sample.
    pub weight: f32,
}

impl Live {
    /// File and line.
    pub fn location(&self, stacks: &Stacks) -> String {
        stacks.location(self.stack)
    }
}

/// What an allocator says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pool {
    /// Which memory.
    pub memory: Memory,
    /// Bytes asked for by whoever holds them: the sum over the report.
    pub live_bytes: u64,
    /// Bytes of live blocks.
    pub allocated_bytes: u64,
    /// Bytes that the allocator holds.
    pub reserved_bytes: u64,
    /// The most that it held.
    pub reserved_peak_bytes: u64,
    /// Bytes of the largest free range.
    pub largest_free_bytes: u64,
    /// Allocations served from what was at hand, of all.
    pub hits: Ratio,
    /// Free memory outside of the largest free range, of all free memory.
    pub fragmentation: Ratio,
}

impl Default for Pool {
    /// Nothing of the host's.
    fn default() -> Self {
        Self {
            memory: Memory::Host,
            live_bytes: 0,
            allocated_bytes: 0,
            reserved_bytes: 0,
            reserved_peak_bytes: 0,
            largest_free_bytes: 0,
            hits: Ratio::new(0, 0),
            fragmentation: Ratio::new(0, 0),
        }
    }
}

/// How a report was estimated: some blocks were looked at, and each stands for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// One sample was taken each so many bytes, on average.
    pub interval_bytes: u64,
    /// How many samples there are.
    pub samples: u64,
}

/// Blocks that have something in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<K> {
    /// What they have in common.
    pub key: K,
    /// The sums.
    pub usage: Usage,
}

/// See the module.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Where in the code.
    pub stacks: Stacks,
    /// When.
    pub time_ns: u64,
    /// The time of day at time zero, nanoseconds since 1970.
    pub epoch_ns: u64,
    /// One for each kind of memory.
    pub pools: Vec<Pool>,
    /// The sums that all groups are made of.
    pub usages: Vec<Usage>,
    /// All live blocks that are known, in no order.
    pub live: Vec<Live>,
    /// How the sums were estimated; `None` where they are exact.
    pub sampling: Option<Sampling>,
}

impl Report {
    /// Nothing yet; recorders are read into it.
    pub fn now() -> Self {
        Self {
            stacks: Stacks::default(),
            time_ns: clock::now_ns(),
            epoch_ns: clock::epoch_ns(),
            pools: Vec::new(),
            usages: Vec::new(),
            live: Vec::new(),
            sampling: None,
        }
    }

    /// Adds what the allocator of `memory` counted itself.
    pub fn add_snapshot(&mut self, memory: Memory, snapshot: &Snapshot) {
        for pool in self.pools.iter_mut().filter(|pool| pool.memory == memory) {
            pool.reserved_bytes = snapshot.reserved_bytes.current;
            pool.reserved_peak_bytes = snapshot.reserved_bytes.peak;
            pool.largest_free_bytes = snapshot.largest_free_bytes;
            pool.hits = snapshot.hit_rate();
            pool.fragmentation = snapshot.external_fragmentation();
        }
    }

    /// The sum over everything.
    pub fn total(&self) -> Usage {
        let mut total = Usage::default();
        self.usages.iter().for_each(|usage| total.add(usage));
        total
    }

    /// Bytes that are live.
    pub fn live_bytes(&self) -> u64 {
        self.total().live_bytes()
    }

    /// Groups by anything, in no order.
    pub fn group_by<K: Copy + Eq + std::hash::Hash>(
        &self,
        key: impl Fn(&Usage) -> K,
    ) -> Vec<Group<K>> {
        let mut groups: FxHashMap<K, Usage> = FxHashMap::default();
        for usage in &self.usages {
            let group = groups.entry(key(usage)).or_insert_with(|| Usage {
                memory: usage.memory,
                stack: usage.stack,
                owner: usage.owner,
                size_class: usage.size_class,
                ..Usage::default()
            });
            group.add(usage);
        }
        groups.into_iter().map(|(key, usage)| Group { key, usage }).collect()
    }

    /// Call sites with their sums, those first for which `weight` is the largest; those without
    /// any are left out. A site is named by the first of its stacks, see [`Stacks::site_of`].
    pub fn sites_by(&self, weight: impl Fn(&Usage) -> u64) -> Vec<Group<(Memory, StackId)>> {
        self.stacks_by(weight, |stack| self.stacks.site_of(stack))
    }

    /// Whole stacks with their sums, in the same order.
    pub fn paths_by(&self, weight: impl Fn(&Usage) -> u64) -> Vec<Group<(Memory, StackId)>> {
        self.stacks_by(weight, |stack| stack)
    }

    fn stacks_by(
        &self,
        weight: impl Fn(&Usage) -> u64,
        key: impl Fn(StackId) -> StackId,
    ) -> Vec<Group<(Memory, StackId)>> {
        let mut sites = self.group_by(|usage| (usage.memory, key(usage.stack)));
        sites.retain(|site| weight(&site.usage) > 0);
        sites.sort_by_cached_key(|site| {
            let order = std::cmp::Reverse(weight(&site.usage));
            (order, site.key.0, self.stacks.location(site.key.1), site.key.1)
        });
        sites
    }

    /// Call sites by what they hold.
    pub fn by_live_bytes(&self) -> Vec<Group<(Memory, StackId)>> {
        self.sites_by(Usage::live_bytes)
    }

    /// Call sites by what they have allocated so far.
    pub fn by_total_bytes(&self) -> Vec<Group<(Memory, StackId)>> {
        self.sites_by(|usage| usage.total_bytes)
    }

    /// Call sites by how many of their blocks lived less than a millisecond: churn.
    pub fn by_short_lives(&self) -> Vec<Group<(Memory, StackId)>> {
        self.sites_by(|usage| usage.short_blocks)
    }

    /// Size classes in order, of each kind of memory.
    pub fn by_size(&self) -> Vec<Group<(Memory, u8)>> {
        let mut sizes = self.group_by(|usage| (usage.memory, usage.size_class));
        sizes.sort_by_key(|size| size.key);
        sizes
    }

    /// Streams and threads in order.
    pub fn by_owner(&self) -> Vec<Group<(Memory, u64)>> {
        let mut owners = self.group_by(|usage| (usage.memory, usage.owner));
        owners.sort_by_key(|owner| owner.key);
        owners
    }

    /// Live blocks of at least `min_bytes`, the largest first.
    pub fn large_allocations(&self, min_bytes: u64) -> Vec<Live> {
        let mut large: Vec<Live> =
            self.live.iter().copied().filter(|live| live.bytes >= min_bytes).collect();
        large.sort_by_key(|live| (std::cmp::Reverse(live.bytes), live.address));
        large
    }

    /// What was allocated after `baseline` and is still live.
    pub fn leaks(&self, baseline: Baseline) -> Leaks {
        Leaks::since(self, baseline, &[])
    }

    /// The same without what somebody knows of already, see [`Leaks::since`].
    pub fn leaks_except(&self, baseline: Baseline, ignored: &[String]) -> Leaks {
        Leaks::since(self, baseline, ignored)
    }
}
