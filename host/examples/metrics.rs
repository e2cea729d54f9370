//! The program's memory for Prometheus: `curl http://127.0.0.1:9464/metrics` while it runs.
//!
//! Runs for ten seconds or as many as the first argument says.
use std::{collections::BTreeMap, env, error::Error, thread, time::Duration};

use genesis_mem_host::{Genesis, stats};
use genesis_mem_profile::{Memory, format::openmetrics::Source, http};

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    let collect = || vec![Source::new(Memory::Host, stats())];
    let server = http::serve("127.0.0.1:9464", collect)?;
    println!("curl http://{}/metrics", server.address());
    let mut words: BTreeMap<u64, String> = BTreeMap::new();
    for step in 0..seconds * 10 {
        words.extend((0..1000).map(|n| (step * 1000 + n, format!("word {n} of step {step}"))));
        if words.len() > 50_000 {
            words.clear();
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
