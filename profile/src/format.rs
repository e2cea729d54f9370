//! The files and pictures that people's tools open.

pub mod chrome;
pub mod flame;
pub mod html;
pub mod json;
mod pickle;
pub mod plot;
pub mod pprof;
pub mod torch;
