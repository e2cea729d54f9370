//! What the tests and the fuzz targets share: one language of operations ([`ops`]), reference
//! models, and the subjects that carry the operations out on both and compare.
//!
//! A subject decodes nothing and prints nothing: it takes an [`Op`](ops::Op), and panics where the
//! allocator and the model disagree.

#[cfg(not(genesis_loom))]
pub mod backend;
#[cfg(not(genesis_loom))]
pub mod buddies;
#[cfg(not(genesis_loom))]
pub mod classes;
#[cfg(not(genesis_loom))]
pub mod config;
#[cfg(not(genesis_loom))]
pub mod heaps;
#[cfg(not(genesis_loom))]
pub mod model;
#[cfg(not(genesis_loom))]
pub mod ops;
#[cfg(not(genesis_loom))]
pub mod process;
#[cfg(not(genesis_loom))]
pub mod samples;
#[cfg(not(genesis_loom))]
pub mod slabs;
