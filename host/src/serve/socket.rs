//! System calls on sockets.

use core::{
    fmt::{self, Write},
    mem::{MaybeUninit, size_of},
};

use super::{ServeError, path::Path};
use crate::os::errno;

/// Descriptors from here on are seldom asked for by number.
const HIGH_DESCRIPTOR: i32 = 700;
const QUEUE: i32 = 16;

/// A socket that can be connected to. Nothing is closed on drop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    descriptor: i32,
    /// Which file the descriptor was for: programs close descriptors that they did not open.
    file: (u64, u64),
}

impl Listener {
    pub(super) const NONE: Self = Self { descriptor: -1, file: (0, 0) };

    pub(super) fn is_open(self) -> bool {
        self.descriptor >= 0
    }

    /// Whether the descriptor is still for the socket that was opened.
    pub(super) fn is_ours(self) -> bool {
        self.is_open() && file_of(self.descriptor) == Some(self.file)
    }

    /// A new socket at `path`, in place of one where nobody answers any more. Only this user can
    /// connect.
    pub(super) fn bind(path: &Path) -> Result<Self, ServeError> {
        let descriptor = new_socket(0)?;
        let refused = |error| {
            // SAFETY: the socket is new, and nobody else's.
            unsafe { libc::close(descriptor) };
            Err(error)
        };
        // SAFETY: the descriptor is open. The mode goes to the file that is made for it.
        unsafe { libc::fchmod(descriptor, 0o600) };
        if let Err(code) = bind(descriptor, path) {
            if code != libc::EADDRINUSE {
                return refused(ServeError::System { call: "bind", code });
            }
            if let Err(error) = remove_dead(path) {
                return refused(error);
            }
            if let Err(code) = bind(descriptor, path) {
                return refused(ServeError::System { call: "bind", code });
            }
        }
        // SAFETY: the descriptor is open.
        if unsafe { libc::listen(descriptor, QUEUE) } != 0 {
            return refused(ServeError::System { call: "listen", code: errno() });
        }
        match file_of(descriptor) {
            Some(file) => Ok(Self { descriptor, file }),
            None => refused(ServeError::System { call: "fstat", code: errno() }),
        }
    }

    /// The next who connects; `None` where nobody came after all.
    pub(super) fn accept(self) -> Result<Option<Connection>, i32> {
        let (address, length) = (core::ptr::null_mut(), core::ptr::null_mut());
        // SAFETY: no address is asked for.
        let descriptor =
            unsafe { libc::accept4(self.descriptor, address, length, libc::SOCK_CLOEXEC) };
        if descriptor >= 0 {
            return Ok(Some(Connection::new(descriptor)));
        }
        match errno() {
            libc::EINTR | libc::ECONNABORTED => Ok(None),
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
                // What is short now may be had in a moment.
                // SAFETY: no descriptors are waited for.
                unsafe { libc::poll(core::ptr::null_mut(), 0, 100) };
                Ok(None)
            }
            code => Err(code),
        }
    }

    /// Ends the socket, and with it a thread that waits in [`accept`](Self::accept).
    pub(super) fn close(self) {
        if self.is_ours() {
            // SAFETY: the descriptor is ours.
            unsafe {
                libc::shutdown(self.descriptor, libc::SHUT_RDWR);
                libc::close(self.descriptor);
            }
        }
    }

    /// Lets go of what is another process's socket.
    pub(super) fn close_in_child(self) {
        if self.is_ours() {
            // SAFETY: the descriptor is this process's copy.
            unsafe { libc::close(self.descriptor) };
        }
    }
}

/// Removes the file of a socket.
pub(super) fn remove(path: &Path) {
    // SAFETY: the path is a C string.
    unsafe { libc::unlink(path.as_c_str().as_ptr()) };
}

/// Removes a socket that nobody answers at, and nothing else.
fn remove_dead(path: &Path) -> Result<(), ServeError> {
    match path.kind_of_link() {
        Some((libc::S_IFSOCK, _)) => {}
        Some(_) => return Err(ServeError::NotASocket),
        None => return Ok(()),
    }
    let descriptor = new_socket(libc::SOCK_NONBLOCK)?;
    let (address, bytes) = address_of(path);
    // SAFETY: the address is as long as it says, and the socket is new.
    let code = unsafe {
        let connected = libc::connect(descriptor, (&raw const address).cast(), bytes) == 0;
        let code = if connected { 0 } else { errno() };
        libc::close(descriptor);
        code
    };
    match code {
        libc::ECONNREFUSED => remove(path),
        libc::ENOENT => {}
        _ => return Err(ServeError::InUse),
    }
    Ok(())
}

/// A socket, out of the way of programs that count on low numbers.
fn new_socket(flags: i32) -> Result<i32, ServeError> {
    // SAFETY: no preconditions; the copy takes the place of the first one.
    unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
        let descriptor = libc::socket(libc::AF_UNIX, kind, 0);
        if descriptor < 0 {
            return Err(ServeError::System { call: "socket", code: errno() });
        }
        let high = libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
        if high < 0 {
            return Ok(descriptor);
        }
        libc::close(descriptor);
        Ok(high)
    }
}

fn bind(descriptor: i32, path: &Path) -> Result<(), i32> {
    let (address, bytes) = address_of(path);
    // SAFETY: the address is as long as it says.
    let code = unsafe { libc::bind(descriptor, (&raw const address).cast(), bytes) };
    if code == 0 { Ok(()) } else { Err(errno()) }
}

fn address_of(path: &Path) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: an address of zeroes is valid.
    let mut address: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, &from) in address.sun_path.iter_mut().zip(path.as_bytes()) {
        *to = from as core::ffi::c_char;
    }
    (address, size_of::<libc::sockaddr_un>() as libc::socklen_t)
}

/// The device and number of an open file.
fn file_of(descriptor: i32) -> Option<(u64, u64)> {
    let mut state = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the state is filled in where the call succeeds.
    unsafe {
        (libc::fstat(descriptor, state.as_mut_ptr()) == 0).then(|| {
            let state = state.assume_init();
            (state.st_dev, state.st_ino)
        })
    }
}

/// How somebody asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// By connecting.
    Silently,
    /// As a browser does.
    ByHttp,
}

/// Somebody who asks, and text on its way there.
pub(super) struct Connection {
    descriptor: i32,
    bytes: [u8; 4096],
    len: usize,
}

impl Connection {
    fn new(descriptor: i32) -> Self {
        Self { descriptor, bytes: [0; 4096], len: 0 }
    }

    /// Waits at most that long for each piece that the other side does not read.
    pub(super) fn set_patience(&self, ms: i64) {
        let time = libc::timeval { tv_sec: ms / 1000, tv_usec: ms % 1000 * 1000 };
        let bytes = size_of::<libc::timeval>() as libc::socklen_t;
        let (level, option) = (libc::SOL_SOCKET, libc::SO_SNDTIMEO);
        // SAFETY: the time is as long as it says.
        unsafe {
            libc::setsockopt(self.descriptor, level, option, (&raw const time).cast(), bytes);
        }
    }

    /// How the other side asks, if it says so within `ms`.
    pub(super) fn request(&mut self, ms: i32) -> Asked {
        let mut wait = libc::pollfd { fd: self.descriptor, events: libc::POLLIN, revents: 0 };
        // SAFETY: there is one descriptor.
        if unsafe { libc::poll(&mut wait, 1, ms) } <= 0 {
            return Asked::Silently;
        }
        let (bytes, how) = (self.bytes.len(), libc::MSG_DONTWAIT);
        // SAFETY: the buffer is writable, and empty as yet.
        let read =
            unsafe { libc::recv(self.descriptor, self.bytes.as_mut_ptr().cast(), bytes, how) };
        let read = usize::try_from(read).unwrap_or(0);
        if self.bytes[..read].starts_with(b"GET ") { Asked::ByHttp } else { Asked::Silently }
    }

    /// Sends what is left.
    pub(super) fn flush(&mut self) -> fmt::Result {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            let (start, len) = (rest.as_ptr().cast(), rest.len());
            // SAFETY: the slice is readable.
            let sent = unsafe { libc::send(self.descriptor, start, len, libc::MSG_NOSIGNAL) };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => rest = &rest[sent.min(len)..],
                _ => return Err(fmt::Error),
            }
        }
        self.len = 0;
        Ok(())
    }
}

impl Write for Connection {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.len == self.bytes.len() {
                self.flush()?;
            }
            let (now, later) = rest.split_at(rest.len().min(self.bytes.len() - self.len));
            self.bytes[self.len..self.len + now.len()].copy_from_slice(now);
            self.len += now.len();
            rest = later;
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours.
        unsafe { libc::close(self.descriptor) };
    }
}
