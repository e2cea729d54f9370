//! The statistics of a program while it runs: a Unix socket that answers each connection with one
//! line of JSON. `genesis-mem top` reads it.
//!
//! A thread of our own does it, asleep unless somebody asks. It allocates nothing.

mod error;
mod path;
mod socket;

use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use genesis_mem_core::sync::Lock;

pub use self::error::ServeError;
use self::{
    path::Path,
    socket::{Asked, Connection, Listener},
};
use crate::{
    background, fault,
    os::{Yield, keep_errno},
    process,
};

const STACK_BYTES: usize = 128 * 1024;
/// How long somebody who asks may take to say how, and to read the answer.
const REQUEST_MS: i32 = 50;
const ANSWER_MS: i64 = 1000;

/// How long a forked child has no socket: most will soon be another program.
const CHILDHOOD_MS: u64 = 50;

/// What is served, and from where.
struct Server {
    /// As the program or its environment says; empty for nowhere.
    wanted: Path,
    /// Where the socket is; empty where this process has none.
    bound: Path,
    listener: Listener,
    /// Who opened it: a child that knows of no fork has a copy.
    process: i32,
    /// How often one was opened: a thread serves the one that it was started for.
    opened: usize,
}

static SERVER: Lock<Server, Yield> = Lock::new(Server {
    wanted: Path::EMPTY,
    bound: Path::EMPTY,
    listener: Listener::NONE,
    process: 0,
    opened: 0,
});
/// Whether a socket is wanted and not there yet.
static DUE: AtomicBool = AtomicBool::new(false);
/// When it may be opened, in milliseconds of the monotonic clock.
static NOT_BEFORE_MS: AtomicU64 = AtomicU64::new(0);

/// Answers every connection to the Unix socket `path` with the statistics as one line of JSON, from
/// now on, in place of a socket that there was.
///
/// A directory gets a socket called `PID.sock`, `%p` is the number of the process, and `auto` is
/// a directory of the user's own, where `genesis-mem top PID` looks: `$XDG_RUNTIME_DIR/genesis-mem`
/// or `/tmp/genesis-mem-UID`. Only this user can connect. A forked child gets a socket of its own
/// where the path has room for two, once it needs more memory. The socket goes away when the program
/// ends by itself.
///
/// # Errors
/// There can be no socket at this path, or no thread; then there is none.
///
/// ```
/// let path = format!("{}/%p.sock", std::env::temp_dir().display());
/// genesis_mem_host::serve(&path)?;
/// # let path = path.replace("%p", &std::process::id().to_string());
/// # std::os::unix::net::UnixStream::connect(path).unwrap();
/// # genesis_mem_host::stop_serving();
/// # Ok::<(), genesis_mem_host::ServeError>(())
/// ```
pub fn serve(path: impl AsRef<[u8]>) -> Result<(), ServeError> {
    keep_errno(|| {
        let mut server = SERVER.lock();
        DUE.store(false, Relaxed);
        server.close();
        server.wanted = Path::EMPTY;
        server.wanted = Path::new(path.as_ref())?;
        server.open().inspect_err(|_| server.wanted = Path::EMPTY)
    })
}

/// Ends what [`serve`] or `GENESIS_MEM_SOCKET` began.
pub fn stop_serving() {
    keep_errno(|| {
        let mut server = SERVER.lock();
        DUE.store(false, Relaxed);
        server.wanted = Path::EMPTY;
        server.close();
    });
}

/// The environment wants a socket; it is opened at the next [`poke`].
pub(crate) fn plan(path: &[u8]) {
    match Path::new(path) {
        Ok(path) => {
            SERVER.lock().wanted = path;
            DUE.store(true, Relaxed);
        }
        Err(error) => refuse(path, error),
    }
}

/// Opens the socket if it is due. Called on slow paths, where allocating is safe.
#[inline]
pub(crate) fn poke() {
    if DUE.load(Relaxed) {
        keep_errno(open_planned);
    }
}

#[cold]
fn open_planned() {
    if now_ms() < NOT_BEFORE_MS.load(Relaxed) {
        return;
    }
    // Whoever has the lock is opening or closing the socket, and may have called us.
    let Some(mut server) = SERVER.try_lock() else { return };
    if DUE.swap(false, Relaxed) && !server.listener.is_open() {
        match server.open() {
            // The program that this one was started by is watched there.
            Ok(()) | Err(ServeError::InUse) => {}
            Err(error) => refuse(server.wanted.as_bytes(), error),
        }
    }
}

fn now_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

fn refuse(path: &[u8], error: ServeError) {
    let path = core::str::from_utf8(path).unwrap_or("(not UTF-8)");
    fault::say(format_args!("GENESIS_MEM_SOCKET={path} ignored: {error}"));
}

impl Server {
    fn open(&mut self) -> Result<(), ServeError> {
        if self.wanted.as_bytes().is_empty() {
            return Err(ServeError::System { call: "bind", code: libc::ENOENT });
        }
        let path = self.wanted.resolve()?;
        let listener = Listener::bind(&path)?;
        (self.bound, self.listener) = (path, listener);
        self.process = path::process_number();
        self.opened += 1;
        let number = ptr::without_provenance_mut(self.opened);
        if !background::spawn(STACK_BYTES, run, number) {
            self.close();
            return Err(ServeError::System { call: "pthread_create", code: libc::EAGAIN });
        }
        remove_at_exit();
        Ok(())
    }

    /// Removes the socket. The thread ends by itself.
    fn close(&mut self) {
        if self.listener.is_open() {
            socket::remove(&self.bound);
            self.listener.close();
        }
        (self.bound, self.listener) = (Path::EMPTY, Listener::NONE);
    }
}

fn remove_at_exit() {
    static DONE: AtomicBool = AtomicBool::new(false);
    extern "C" fn remove() {
        // A program that ends inside of `serve` leaves its socket.
        if let Some(server) = SERVER.try_lock()
            && server.listener.is_ours()
            && server.process == path::process_number()
        {
            socket::remove(&server.bound);
        }
    }
    if !DONE.swap(true, Relaxed) {
        // SAFETY: the handler fits the signature.
        unsafe { libc::atexit(remove) };
    }
}

/// The server is kept still while the process doubles.
pub(crate) fn before_fork() {
    core::mem::forget(SERVER.lock());
}

/// Called after [`before_fork`], on the same thread or its copy in the child.
pub(crate) fn after_fork() {
    // SAFETY: `before_fork` ran on this thread and left the lock closed.
    unsafe { SERVER.force_unlock() };
}

/// The child of a fork has one thread, which is not the server's, and a socket that is the
/// parent's: while the child holds it open, nobody would see that the parent has ended.
pub(crate) fn after_fork_in_child() {
    keep_errno(|| {
        let mut server = SERVER.lock();
        server.listener.close_in_child();
        (server.bound, server.listener) = (Path::EMPTY, Listener::NONE);
        NOT_BEFORE_MS.store(now_ms() + CHILDHOOD_MS, Relaxed);
        DUE.store(!server.wanted.as_bytes().is_empty(), Relaxed);
    });
}

extern "C" fn run(number: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: the name is a C string; naming the calling thread harms nobody.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"genesis-serve".as_ptr()) };
    let number = number.addr();
    while let Some(listener) = current(number) {
        match listener.accept() {
            Ok(Some(connection)) => answer(connection),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    let mut server = SERVER.lock();
    if server.opened == number && server.listener.is_open() {
        // The program has closed what it did not open. The descriptor may be another file by now.
        server.listener = Listener::NONE;
        DUE.store(true, Relaxed);
    }
    ptr::null_mut()
}

/// The listener that was opened as the one of that number, as long as it is there.
fn current(number: usize) -> Option<Listener> {
    let server = SERVER.lock();
    (server.opened == number && server.listener.is_ours()).then_some(server.listener)
}

fn answer(mut connection: Connection) {
    use core::fmt::Write;

    connection.set_patience(ANSWER_MS);
    let asked = connection.request(REQUEST_MS);
    // Whoever asked may be gone again.
    let _ = || -> core::fmt::Result {
        if asked == Asked::ByHttp {
            connection.write_str("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n")?;
        }
        process::stats().write_json(&mut connection)?;
        connection.write_char('\n')?;
        connection.flush()
    }();
}
