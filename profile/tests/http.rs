//! The address that Prometheus asks, asked by a client.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use genesis_mem_core::stats::Snapshot;
use genesis_mem_profile::{
    Memory,
    format::openmetrics::{CONTENT_TYPE, Source},
    http::{self, Server},
};

/// Each scrape sees one allocation more.
fn server() -> Server {
    let count = Arc::new(AtomicU64::new(0));
    let collect = move || {
        let allocations = count.fetch_add(1, Relaxed) + 1;
        let mut snapshot = Snapshot::default();
        snapshot.allocations = allocations;
        vec![Source::new(Memory::Host, snapshot)]
    };
    http::serve("127.0.0.1:0", collect).unwrap()
}

#[test]
fn a_scrape_has_the_right_type_and_the_numbers_of_now() {
    let server = server();
    let url = format!("http://{}/metrics", server.address());
    for scrape in 1..=3 {
        let mut response = ureq::get(&url).call().unwrap();
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
        let text = response.body_mut().read_to_string().unwrap();
        let line = format!("\ngenesis_mem_allocations_total{{memory=\"host\"}} {scrape}\n");
        assert!(text.contains(&line) && text.ends_with("# EOF\n"), "{text}");
    }
    let page = ureq::get(url.trim_end_matches("metrics")).call().unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
}

#[test]
fn other_questions_are_refused() {
    let server = server();
    let refusal = |error: ureq::Error| match error {
        ureq::Error::StatusCode(code) => code,
        other => panic!("{other}"),
    };
    let url = format!("http://{}/", server.address());
    assert_eq!(refusal(ureq::get(format!("{url}secrets")).call().unwrap_err()), 404);
    assert_eq!(refusal(ureq::post(format!("{url}metrics")).send("x").unwrap_err()), 405);
}

#[test]
fn many_ask_at_once_and_some_ask_nonsense() {
    let server = server();
    let silent = TcpStream::connect(server.address()).unwrap();
    let mut rude = TcpStream::connect(server.address()).unwrap();
    rude.write_all(b"\x00\xff nonsense\r\n\r\n").unwrap();
    let url = format!("http://{}/metrics", server.address());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..5).for_each(|_| drop(ureq::get(&url).call().unwrap())));
        }
    });
    let text = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
    assert!(text.contains("genesis_mem_allocations_total{memory=\"host\"} 41\n"), "{text}");
    let address = server.address();
    drop(server);
    // The listener closes a moment later.
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < end, "somebody listens");
        thread::sleep(Duration::from_millis(10));
    }
    drop(silent);
}
