//! The front end of one stream: its arena behind a short lock, and the block it hands out.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicBool;

use genesis_mem_core::sync::Lock;

use crate::{
    arena::{Arena, QUANTUM_BYTES},
    driver::{DevicePtr, StreamId},
    plain::Table,
};

/// Which group of blocks a block belongs to. Memory never moves between pools.
///
/// Zero is the ordinary pool; others are made by
/// [`create_pool`](crate::DeviceAllocator::create_pool), for the capture of graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PoolId(pub(crate) u32);

/// Streams are told apart by a bit of a word.
pub(crate) const MAX_STREAMS: usize = 64;
/// Streams times private pools, small blocks apart.
pub(crate) const MAX_HEAPS: usize = 256;

/// A value on cache lines of its own, in pairs as processors fetch them.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Alone<T>(pub(crate) T);

impl<T> core::ops::Deref for Alone<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// See the module. Never dropped before the allocator.
///
/// Every thread reads the first fields while it looks for its heap; what the owner writes is kept
/// away from them.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) index: u32,
    pub(crate) stream: StreamId,
    pub(crate) pool: PoolId,
    /// Whether it is for small blocks alone.
    pub(crate) small: bool,
    /// The stream's bit in masks.
    pub(crate) bit: u64,
    /// The first address of the arena.
    pub(crate) base: DevicePtr,
    /// Where the pieces are, on a device without virtual memory management.
    pub(crate) table: Option<Box<Lock<Table>>>,
    /// How far the arena may grow, quanta.
    pub(crate) span: u32,
    /// Whether its addresses are used up: another heap takes over, which borrows from this one.
    pub(crate) full: AtomicBool,
    pub(crate) arena: Alone<Lock<Arena>>,
}

impl Heap {
    /// The address of a position in the arena.
    #[inline]
    pub(crate) fn address(&self, start: u32) -> DevicePtr {
        match &self.table {
            None => DevicePtr(self.base.0 + u64::from(start) * QUANTUM_BYTES),
            Some(table) => address_in(table, start),
        }
    }

    /// The position of an address in the arena.
    #[inline]
    pub(crate) fn position(&self, address: DevicePtr) -> Option<u32> {
        match &self.table {
            None => Some(((address.0 - self.base.0) / QUANTUM_BYTES) as u32),
            Some(table) => position_in(table, address),
        }
    }
}

/// Apart, so that the ordinary path stays small.
#[cold]
#[inline(never)]
fn address_in(table: &Lock<Table>, start: u32) -> DevicePtr {
    table.lock().address(start)
}

/// As above.
#[cold]
#[inline(never)]
fn position_in(table: &Lock<Table>, address: DevicePtr) -> Option<u32> {
    table.lock().position(address)
}

/// A piece of device memory: where it is, and what the allocator needs to take it back at once.
///
/// Not `Clone`: whoever holds it owns the memory, and [`free`](crate::DeviceAllocator::free)
/// takes it. Dropping it without that leaks the memory until the allocator goes.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a block that is dropped is never freed; use DeviceBuffer for one that frees itself"]
pub struct Block {
    pub(crate) start: DevicePtr,
    pub(crate) bytes: u64,
    /// Bits of the streams that use it beside the arena's own.
    pub(crate) streams: u64,
    pub(crate) node: u32,
    /// The heap whose arena it is in, and the one it was allocated for.
    pub(crate) home: u16,
    pub(crate) user: u16,
    /// The allocator it came from.
    pub(crate) owner: u32,
}

impl Block {
    /// The first address; a multiple of 512.
    #[inline]
    pub const fn ptr(&self) -> DevicePtr {
        self.start
    }

    /// The bytes that were asked for.
    #[inline]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}
