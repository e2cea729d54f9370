//! The device's memory for Prometheus: `curl http://127.0.0.1:9464/metrics` while it runs.
//!
//! Runs on the simulated device, for ten seconds or as many as the first argument says.
use std::{env, error::Error, thread, time::Duration};

use genesis_mem_cuda::{
    Builder, DeviceBuffer,
    driver::StreamId,
    profile::http,
    sim::{SimDriver, SimOptions},
};

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    let allocator = Builder::new().build_on(SimDriver::new(SimOptions::default()))?;
    // A handle on the same allocator; 0 is the device's number.
    let watched = allocator.clone();
    let server = http::serve("127.0.0.1:9464", move || watched.metrics(0))?;
    println!("curl http://{}/metrics", server.address());
    let mut batches = Vec::new();
    for step in 0..seconds * 10 {
        let stream = StreamId(step % 2);
        batches.push(DeviceBuffer::<f32, _>::new(&allocator, 1 << 20, &stream)?);
        if batches.len() > 50 {
            batches.clear();
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
