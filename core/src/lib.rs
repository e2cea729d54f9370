//! The algorithms of Genesis Memory, for host and device memory alike: no `std`, no `alloc`.
#![cfg_attr(not(any(test, genesis_loom)), no_std)]

pub mod backend;
pub mod bitmap;
pub mod buddy;
pub mod event;
pub mod fence;
pub mod frag;
pub mod size_class;
pub mod stats;
pub mod sync;
