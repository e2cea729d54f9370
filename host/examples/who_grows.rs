//! A small web service that grows: who holds its memory, since when, and from where?
//!
//! Requests come for pages of many visitors. The service caches rendered pages, at most a hundred
//! of them; and it remembers each visitor's last pages, but never forgets a visitor: this is the
//! mistake. It runs in rounds, and prints after each how much the allocator holds.
//!
//! Alone it only grows. What it does is found by
//!
//! ```text
//! GENESIS_MEM_PROFILE=/tmp/grows cargo run --release -p genesis-mem-host --example who_grows
//! genesis-mem report /tmp/grows
//! ```
use std::collections::{BTreeMap, HashMap};

use genesis_mem_host::{Genesis, core::stats::Bytes, stats};

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

const ROUNDS: u64 = 5;
const REQUESTS: u64 = 20_000;
const PAGES: u64 = 500;
const CACHED: usize = 100;

/// Rendered pages, the oldest of which give way.
#[derive(Default)]
struct Cache {
    pages: BTreeMap<u64, String>,
}

impl Cache {
    fn page(&mut self, number: u64) -> &str {
        if self.pages.len() >= CACHED && !self.pages.contains_key(&number) {
            self.pages.pop_first();
        }
        self.pages.entry(number).or_insert_with(|| render(number))
    }
}

fn render(number: u64) -> String {
    let rows = (0..40).map(|row| format!("<li>item {row} of page {number}</li>\n"));
    rows.collect()
}

/// What each visitor has seen.
#[derive(Default)]
struct Visitors {
    seen: HashMap<u64, Vec<String>>,
}

impl Visitors {
    fn remember(&mut self, visitor: u64, page: u64) {
        let seen = self.seen.entry(visitor).or_default();
        if seen.len() == 3 {
            seen.remove(0);
        }
        seen.push(format!("/catalogue/pages/{page}?visitor={visitor}"));
    }
}

#[derive(Default)]
struct Service {
    cache: Cache,
    visitors: Visitors,
    bytes_sent: usize,
}

impl Service {
    fn answer(&mut self, request: u64) {
        let page = request * request % PAGES;
        let visitor = request.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        self.visitors.remember(visitor, page);
        let text = self.cache.page(page);
        self.bytes_sent += text.len();
    }
}

fn main() {
    let mut service = Service::default();
    for round in 0..ROUNDS {
        genesis_mem_host::sampler::mark(&format!("round {round}"));
        (0..REQUESTS).for_each(|request| service.answer(round * REQUESTS + request));
        let held = Bytes(stats().allocated_bytes.current);
        println!("round {round}: {} bytes sent, {held} held", service.bytes_sent);
    }
}
