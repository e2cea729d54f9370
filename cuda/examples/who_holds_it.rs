//! A program whose memory grows until there is none: who holds it, since when, and from where?
//!
//! Runs on the simulated device. Prints the report, and writes the files that other tools open to
//! a folder, which is the first argument, or one of its own below the folder for temporary files.
use std::{
    env,
    error::Error,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use genesis_mem_cuda::{
    AllocError, Builder, DeviceAllocator, DeviceBuffer,
    driver::StreamId,
    profile::{Memory, format},
    sim::{SimDriver, SimOptions},
};

type Allocator = DeviceAllocator<SimDriver>;
type Tensor = DeviceBuffer<f32, SimDriver>;

const COMPUTE: StreamId = StreamId(0);
const LAYERS: usize = 8;

struct Model {
    weights: Vec<Tensor>,
    /// The loss of each step, with all that it was computed from: this is the mistake.
    losses: Vec<(Tensor, Tensor)>,
}

impl Model {
    fn new(allocator: &Allocator) -> Result<Self, AllocError> {
        let weights = (0..LAYERS).map(|_| Tensor::new(allocator, 4 << 20, &COMPUTE));
        Ok(Self { weights: weights.collect::<Result<_, _>>()?, losses: Vec::new() })
    }

    fn step(&mut self, allocator: &Allocator, step: usize) -> Result<(), AllocError> {
        let batch = Tensor::new(allocator, (1 << 20) + step % 5 * 1000, &COMPUTE)?;
        let mut activations = vec![batch];
        for weight in &self.weights {
            let room = Tensor::new(allocator, weight.len() / 8, &COMPUTE)?;
            activations.push(Tensor::new(allocator, weight.len() / 4, &COMPUTE)?);
            drop(room);
        }
        let loss = Tensor::new(allocator, 1, &COMPUTE)?;
        let graph = activations.pop().expect("the batch at least");
        self.losses.push((loss, graph));
        Ok(())
    }
}

/// Trains until there is no more memory; what is live then stays.
fn train(allocator: &Allocator) -> Result<Model, AllocError> {
    let mut model = Model::new(allocator)?;
    allocator.baseline();
    for step in 0..100_000 {
        if step % 20 == 0 {
            allocator.mark(&format!("step {step}"));
        }
        if let Err(error) = model.step(allocator, step) {
            println!("step {step}: {error}\n");
            println!("{}\n{}", allocator.get_report().summary(), allocator.check_leaks());
            break;
        }
    }
    Ok(model)
}

fn write_files(allocator: &Allocator, folder: &Path) -> Result<(), Box<dyn Error>> {
    let file = |name: &str| File::create(folder.join(name)).map(BufWriter::new);
    let (recording, report) = (allocator.recording(), allocator.get_report());
    let timeline = recording.timeline(Memory::Device);
    format::torch::write(&recording, Memory::Device, file("snapshot.pickle")?)?;
    format::chrome::write(&recording, file("trace.json")?)?;
    format::pprof::write(&report, file("heap.pb.gz")?)?;
    format::flame::write_svg(&report, format::flame::Weight::LiveBytes, file("flame.svg")?)?;
    format::json::write_report(&report, file("report.json")?)?;
    format::json::write_timeline(&timeline, file("timeline.json")?)?;
    fs::write(folder.join("timeline.svg"), format::plot::svg(&timeline)?)?;
    allocator.write_page("Who holds it?", file("page.html")?)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let own = || env::temp_dir().join("genesis-mem-who-holds-it");
    let folder = env::args_os().nth(1).map_or_else(own, PathBuf::from);
    fs::create_dir_all(&folder)?;
    let options = SimOptions { device_bytes: 1 << 30, ..SimOptions::default() };
    let allocator = Builder::new().build_on(SimDriver::new(options))?;
    let recording = allocator.record();
    let model = train(&allocator)?;
    drop(recording);
    println!("{}", allocator.plot());
    write_files(&allocator, &folder)?;
    let steps = model.losses.len();
    println!("{steps} steps; files to open in other tools: {}", folder.display());
    Ok(())
}
