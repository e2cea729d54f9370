//! Replays traces on the simulated device: `replay [--device-bytes N] [--limit-bytes N] [--lag N]
//! [--tight] TRACE…`, one line of JSON each. `--tight` looks for the smallest device first.

use std::{error::Error, path::Path};

use genesis_mem_cuda::replay::{Replay, ReplayError, ReplayOptions, Report, Trace};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut options, mut tight, mut traces) = (ReplayOptions::default(), false, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            arguments
                .next()
                .ok_or("a number is missing")?
                .parse::<u64>()
                .map_err(Box::<dyn Error>::from)
        };
        match argument.as_str() {
            "--device-bytes" => options.device.device_bytes = number()?,
            "--limit-bytes" => options.allocator.limit_bytes = number()?,
            "--lag" => options.device.lag_ops = number()?,
            "--piece" => options.allocator.piece_bytes = number()? << 20,
            "--growth" => options.allocator.growth_bytes = number()? << 20,
            "--slack" => options.allocator.slack_permille = number()? as u32,
            "--slacks" => options.allocator.slack_streams_permille = number()? as u32,
            "--until" => options.allocator.slack_until_permille = number()? as u32,
            "--small" => options.allocator.small_bytes = number()? << 10,
            "--unchecked" => options.device.checks = false,
            "--tight" => tight = true,
            _ => traces.push(argument),
        }
    }
    for path in traces {
        let trace = Trace::read(Path::new(&path))?;
        let report = if tight {
            smallest(&trace, options)?
        } else {
            Replay::new(&trace, options).run(|_| ())?
        };
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

/// The report on the smallest device, in granules, on which the trace completes.
fn smallest(trace: &Trace, mut options: ReplayOptions) -> Result<Report, ReplayError> {
    let granule = options.device.granularity_bytes;
    let (mut low, mut high) =
        (trace.peak_live_bytes / granule, trace.peak_live_bytes / granule * 5 / 4 + 8);
    let mut run = |granules| {
        options.device.device_bytes = granules * granule;
        Replay::new(trace, options).run(|_| ())
    };
    while low < high {
        let middle = low.midpoint(high);
        if run(middle)?.out_of_memory { low = middle + 1 } else { high = middle }
    }
    run(low)
}
