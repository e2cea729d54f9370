//! What `bench-profiler` tells `compare profiler`.

use serde::{Deserialize, Serialize};

/// What single parts of the profiler cost, and how right its estimates are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// A capture of 32 frames.
    pub capture_ns: f64,
    /// Allocating and freeing a block that is sampled, 32 frames deep, beyond a pair that is not.
    pub sample_ns: f64,
    /// Allocating and freeing a block in full mode, 32 frames deep.
    pub full_pair_ns: f64,
    /// Live samples in the recording that was timed.
    pub dumped_samples: usize,
    /// Writing that recording to a file.
    pub dump_ms: f64,
    /// That file's size.
    pub dump_bytes: u64,
    /// How often live bytes were estimated.
    pub runs: usize,
    /// How much the estimates are too high on average.
    pub bias_percent: f64,
    /// How many of them are off by at most twice the deviation that is expected.
    pub near_percent: f64,
}
