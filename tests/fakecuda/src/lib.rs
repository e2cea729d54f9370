//! A stand-in for `libcuda`, the CUDA driver's library, on host memory: the driver's interface as
//! far as the device allocator and its tests use it, with checks that no driver makes and faults
//! on demand. See the README for what it does and what it cannot show.
//!
//! | module | what it is |
//! |---|---|
//! | `api` | the driver's functions, by subject |
//! | `call`, `code` | what every call goes through; result codes |
//! | `device`, `context`, `settings` | the one device and its one context |
//! | `memory`, `ranges`, `os` | who may use which memory; the system's mappings |
//! | `stream`, `event`, `op` | a thread a stream, and what it does |
//! | `capture`, `kernel` | graphs; the few kernels that can be run |
//! | `control`, [`client`] | how tests steer it: exported functions, and their Rust side |

mod api;
mod call;
mod capture;
pub mod client;
mod code;
mod context;
mod control;
mod device;
mod event;
mod kernel;
mod memory;
mod op;
mod os;
mod ranges;
mod raw;
mod settings;
mod stream;
