//! A block from `malloc`, written to as a program would.

use std::ptr::NonNull;

/// A live block; freed when dropped, by whichever thread.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block has one owner, and `free` may be called by any thread.
unsafe impl Send for Memory {}

impl Memory {
    /// Allocates `bytes`, at least one, and writes the first and the last.
    #[inline]
    pub(super) fn new(bytes: usize) -> Self {
        assert!(bytes > 0, "an empty block could not be written to");
        // SAFETY: `malloc` has no preconditions.
        let start = NonNull::new(unsafe { libc::malloc(bytes) }.cast::<u8>());
        let start = start.expect("a workload never asks for more than there is");
        let mut memory = Self { start, bytes };
        memory.write(0, bytes as u8);
        memory.write(bytes - 1, bytes as u8);
        memory
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes one byte, visibly for other processors.
    #[inline]
    pub(super) fn write(&mut self, offset: usize, value: u8) {
        assert!(offset < self.bytes, "offset {offset} is outside a block of {}", self.bytes);
        // SAFETY: the offset is inside the block.
        unsafe { self.start.add(offset).write_volatile(value) };
    }

    /// Reads one byte.
    #[inline]
    pub(super) fn read(&self, offset: usize) -> u8 {
        assert!(offset < self.bytes, "offset {offset} is outside a block of {}", self.bytes);
        // SAFETY: the offset is inside the block; workloads only read what they wrote.
        unsafe { self.start.add(offset).read_volatile() }
    }
}

impl Drop for Memory {
    #[inline]
    fn drop(&mut self) {
        assert_eq!(self.read(self.bytes - 1), self.bytes as u8, "another block overlaps this one");
        // SAFETY: the block is live and `malloc`'s, and this is its one owner's last act.
        unsafe { libc::free(self.start.as_ptr().cast()) };
    }
}
