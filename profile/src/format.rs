//! The files and pictures that people's tools open.

pub mod chrome;
pub mod flame;
pub mod html;
pub mod json;
pub mod openmetrics;
mod pickle;
pub mod plot;
pub mod pprof;
pub mod statistics;
pub mod torch;
