//! What the profiler reads from the heaps: blocks from before, where everything lies, and who
//! holds most.
#![forbid(unsafe_code)]

use genesis_mem_profile::{Area, AreaState, Block as Told, Recording, Report, Segment, StackId};

use crate::{
    arena::{Node, QUANTUM_BYTES, State},
    driver::{DevicePtr, Driver},
    error::Holder,
    heap::Heap,
    shared::Shared,
};

/// Holders that an error carries.
const HOLDERS: usize = 8;

impl<D: Driver> Shared<D> {
    /// Switches the recorder. No block is missed: who sees it still off has taken the block
    /// before its heap is looked at here, or made the heap before the pool's lock was taken.
    pub(crate) fn switch_profile(&self, on: bool) {
        let recorder = &self.profile.recorder;
        if !recorder.switch(on) || !on {
            return;
        }
        let pool = self.pool();
        for heap in self.heaps() {
            heap.arena.lock().for_each_node(|number, node| {
                if node.state == State::Live {
                    recorder.seed((heap.index as usize, number), block_of(heap, node));
                }
            });
        }
        drop(pool);
    }

    /// Adds what this pool knows to a report.
    pub(crate) fn read_report(&self, report: &mut Report) {
        if self.profile.is_on() {
            let recorder = &self.profile.recorder;
            recorder.read_report(report);
            report.add_snapshot(recorder.memory(), &self.snapshot());
        }
    }

    /// Adds events, levels and the map to a recording. Growth and purges wait meanwhile, so that
    /// what is held fits the events.
    pub(crate) fn read_recording(&self, recording: &mut Recording) {
        let pool = self.pool();
        let recorder = &self.profile.recorder;
        recorder.read_recording(recording, pool.reserved_bytes);
        let stack_of = recorder.live_stacks(&mut recording.stacks);
        for heap in self.heaps() {
            let mut segments = Segments { heap, found: Vec::new(), end: None };
            heap.arena.lock().for_each_node(|_, node| segments.add(node, &stack_of));
            recording.segments.extend(segments.found.into_iter().map(|(address, areas)| {
                let memory = recorder.memory();
                Segment { memory, owner: heap.stream.0, pool: heap.pool.0, address, areas }
            }));
        }
        drop(pool);
    }

    /// Who holds most: call sites where they are known, else single blocks.
    pub(crate) fn largest_holders(&self) -> Vec<Holder> {
        if self.profile.is_on() {
            let mut report = Report::now();
            self.profile.recorder.read_report(&mut report);
            let sites = report.by_live_bytes();
            return sites.iter().take(HOLDERS).map(|site| holder(&report, &site.usage)).collect();
        }
        let mut blocks = Vec::new();
        for heap in self.heaps() {
            heap.arena.lock().for_each_node(|_, node| {
                if node.state == State::Live {
                    let Told { address, bytes, .. } = block_of(heap, node);
                    blocks.push((bytes, address));
                }
            });
        }
        blocks.sort_unstable_by(|a, b| b.cmp(a));
        let block = |&(bytes, address)| Holder::Block { address: DevicePtr(address), bytes };
        blocks.iter().take(HOLDERS).map(block).collect()
    }
}

fn holder(report: &Report, usage: &genesis_mem_profile::Usage) -> Holder {
    Holder::Site {
        location: report.stacks.location(usage.stack),
        blocks: usage.live_blocks(),
        bytes: usage.live_bytes(),
    }
}

fn block_of(heap: &Heap, node: &Node) -> Told {
    Told {
        address: heap.address(node.start).0,
        bytes: node.requested_bytes(),
        block_bytes: u64::from(node.len) * QUANTUM_BYTES,
        owner: heap.stream.0,
    }
}

/// Contiguous ranges of usable memory in an arena, as they are met.
struct Segments<'h> {
    heap: &'h Heap,
    found: Vec<(u64, Vec<Area>)>,
    /// Where the open one ends, quanta.
    end: Option<u32>,
}

impl Segments<'_> {
    fn add(&mut self, node: &Node, stack_of: impl Fn(u64) -> StackId) {
        let state = match node.state {
            State::Live => AreaState::Live,
            State::Pending => AreaState::Pending,
            State::Free => AreaState::Free,
            State::Hole | State::Unused => {
                self.end = None;
                return;
            }
        };
        let Told { address, bytes, block_bytes, .. } = block_of(self.heap, node);
        let live = state == AreaState::Live;
        let area = Area {
            address,
            bytes: block_bytes,
            requested_bytes: if live { bytes } else { 0 },
            state,
            stack: if live { stack_of(address) } else { StackId::UNKNOWN },
        };
        match self.found.last_mut() {
            Some((_, areas)) if self.end == Some(node.start) => areas.push(area),
            _ => self.found.push((address, vec![area])),
        }
        self.end = Some(node.end());
    }
}
