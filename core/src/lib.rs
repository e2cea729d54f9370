//! The algorithms of Genesis Memory, for host and device memory alike: no `std`, no `alloc`.
#![cfg_attr(not(any(test, genesis_loom)), no_std)]
#![cfg_attr(genesis_loom, expect(dead_code, reason = "loom models the shared parts only"))]

#[cfg(not(genesis_loom))]
pub mod arena;
pub mod backend;
pub mod bitmap;
pub mod buddy;
#[cfg(not(genesis_loom))]
pub mod config;
#[cfg(not(genesis_loom))]
mod descriptor;
pub mod event;
pub mod fence;
pub mod frag;
pub mod free_blocks;
#[cfg(not(genesis_loom))]
pub mod heap;
pub mod heap_pool;
pub mod offer;
pub mod pin;
pub mod remote;
#[cfg(not(genesis_loom))]
pub mod shared_heap;
pub mod size_class;
#[cfg(not(genesis_loom))]
pub mod slab;
pub mod span_pool;
#[cfg(not(genesis_loom))]
pub mod static_backend;
pub mod stats;
pub mod sync;
