//! Text for a file descriptor or a caller's buffer, without allocating.

use core::{ffi::c_int, fmt};

/// Text on its way to a file descriptor, `N` bytes at a time.
pub(crate) struct Out<const N: usize> {
    descriptor: c_int,
    bytes: [u8; N],
    len: usize,
    failed: bool,
}

impl<const N: usize> Out<N> {
    pub(crate) const fn to(descriptor: c_int) -> Self {
        Self { descriptor, bytes: [0; N], len: 0, failed: false }
    }

    /// Writes what is left; whether everything was written.
    pub(crate) fn flush(&mut self) -> bool {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() && !self.failed {
            // SAFETY: the slice is readable.
            let written = unsafe { libc::write(self.descriptor, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = &rest[written.min(rest.len())..],
                // SAFETY: the location is the calling thread's.
                _ if unsafe { *libc::__errno_location() } == libc::EINTR => {}
                _ => self.failed = true,
            }
        }
        self.len = 0;
        !self.failed
    }
}

impl<const N: usize> fmt::Write for Out<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.len == N && !self.flush() {
                return Err(fmt::Error);
            }
            let (now, later) = rest.split_at(rest.len().min(N - self.len));
            self.bytes[self.len..self.len + now.len()].copy_from_slice(now);
            self.len += now.len();
            rest = later;
        }
        Ok(())
    }
}

/// Text for a buffer, which is counted on where the buffer ends.
pub(crate) struct Buffer<'a> {
    pub(crate) buffer: &'a mut [u8],
    pub(crate) len: usize,
}

impl fmt::Write for Buffer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(room) = self.buffer.get_mut(self.len..) {
            let len = room.len().min(text.len());
            room[..len].copy_from_slice(&text.as_bytes()[..len]);
        }
        self.len += text.len();
        Ok(())
    }
}

impl Buffer<'_> {
    pub(crate) fn push(&mut self, byte: u8) {
        if let Some(room) = self.buffer.get_mut(self.len) {
            *room = byte;
        }
        self.len += 1;
    }
}
