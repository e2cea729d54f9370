//! An address where Prometheus, or a browser, asks for the statistics.
//!
//! ```
//! use genesis_mem_profile::{Memory, format::openmetrics::Source, http};
//! # use genesis_mem_core::stats::Snapshot;
//! # let stats = Snapshot::default;
//! let server = http::serve("127.0.0.1:0", move || vec![Source::new(Memory::Host, stats())])?;
//! println!("curl http://{}/metrics", server.address());
//! # Ok::<(), std::io::Error>(())
//! ```

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
    thread::{self, JoinHandle},
};

use tiny_http::{Header, Method, Request, Response};

use crate::format::openmetrics::{self, CONTENT_TYPE, Source};

/// Answers until it is dropped.
pub struct Server {
    http: Arc<tiny_http::Server>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens; says which port was picked where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.http.unblock();
        if let Some(thread) = self.thread.take() {
            // It has panicked where `collect` did, and has said so.
            let _ = thread.join();
        }
    }
}

/// Answers `GET /metrics` at `address` with what `collect` says then, on a thread of its own.
///
/// There is no access control: an address other than `127.0.0.1` tells everybody who can reach it.
///
/// # Errors
/// The address cannot be had, or the system has no thread.
pub fn serve(
    address: impl ToSocketAddrs,
    collect: impl Fn() -> Vec<Source> + Send + 'static,
) -> io::Result<Server> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let http = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
    let http = Arc::new(http);
    let requests = Arc::clone(&http);
    let thread = thread::Builder::new().name("genesis-metrics".to_owned()).spawn(move || {
        // `recv` ends with an error when it is unblocked.
        while let Ok(request) = requests.recv() {
            // Whoever asked may be gone again.
            let _ = answer(request, &collect);
        }
    })?;
    Ok(Server { http, address, thread: Some(thread) })
}

fn answer(request: Request, collect: &impl Fn() -> Vec<Source>) -> io::Result<()> {
    let path = request.url().split('?').next().unwrap_or_default();
    let (status, kind, text) = match (request.method(), path) {
        (Method::Get | Method::Head, "/metrics") => {
            (200, CONTENT_TYPE, openmetrics::to_string(collect()))
        }
        (Method::Get | Method::Head, "/") => (200, HTML, INDEX.to_owned()),
        (Method::Get | Method::Head, _) => (404, TEXT, "ask for /metrics\n".to_owned()),
        _ => (405, TEXT, "ask with GET\n".to_owned()),
    };
    let kind = Header::from_bytes("Content-Type", kind).expect("the kinds are ASCII");
    let mut response = Response::from_string(text).with_status_code(status).with_header(kind);
    if status == 405 {
        response.add_header(Header::from_bytes("Allow", "GET, HEAD").expect("it is ASCII"));
    }
    request.respond(response)
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const INDEX: &str =
    "<!doctype html><title>Genesis Memory</title><a href=\"/metrics\">metrics</a>\n";
