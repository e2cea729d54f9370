//! The functions of the driver's interface, by subject.

mod copy;
mod device;
mod event;
mod graph;
mod memory;
mod module;
mod stream;
mod virtual_memory;
