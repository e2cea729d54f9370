//! The device's memory and who may use which of it: addresses, physical memory and where it is
//! mapped, plain allocations, and page-locked host memory.
//!
//! The system's own mappings follow these tables, which are what operations are checked against.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

use crate::{
    code::{
        Answer, HOST_MEMORY_ALREADY_REGISTERED, HOST_MEMORY_NOT_REGISTERED, ILLEGAL_ADDRESS,
        INVALID_VALUE, MISALIGNED_ADDRESS, OPERATING_SYSTEM, OUT_OF_MEMORY,
    },
    os::{self, Access, Element, Physical},
    ranges::{Range, Ranges},
};

/// The host's page, for plain and pinned memory.
const PAGE_BYTES: u64 = 4096;

/// A piece of physical memory; it goes once it is released and mapped nowhere.
#[derive(Debug)]
struct Piece {
    offset: u64,
    bytes: u64,
    mappings: usize,
    released: bool,
}

/// A mapping of a piece.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    piece: u64,
    access: Access,
}

/// How host memory came to be page-locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pinned {
    /// By allocation.
    Allocated,
    /// By registration of the program's own memory.
    Registered,
}

/// What is still held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Live {
    /// Bytes of physical memory and plain allocations.
    pub bytes: u64,
    /// Mappings.
    pub mappings: u64,
    /// Reservations of addresses.
    pub reservations: u64,
    /// Ranges of host memory that are page-locked.
    pub pinned: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Memory {
    physical: Physical,
    /// Bytes that another process holds.
    pub(crate) taken_bytes: u64,
    used_bytes: u64,
    reservations: Ranges<()>,
    pieces: HashMap<u64, Piece>,
    next_piece: u64,
    mappings: Ranges<Mapping>,
    plain: Ranges<()>,
    pinned: Ranges<Pinned>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            physical: Physical::new().expect("the system has files in memory"),
            taken_bytes: 0,
            used_bytes: 0,
            reservations: Ranges::default(),
            pieces: HashMap::new(),
            next_piece: 1,
            mappings: Ranges::default(),
            plain: Ranges::default(),
            pinned: Ranges::default(),
        }
    }

    /// Bytes that can still be had of `total_bytes`.
    pub(crate) fn free_bytes(&self, total_bytes: u64) -> u64 {
        total_bytes.saturating_sub(self.used_bytes).saturating_sub(self.taken_bytes)
    }

    pub(crate) fn live(&self) -> Live {
        Live {
            bytes: self.used_bytes,
            mappings: self.mappings.len() as u64,
            reservations: self.reservations.len() as u64,
            pinned: self.pinned.len() as u64,
        }
    }

    /// Gives everything back that the program has not.
    pub(crate) fn clear(&mut self) {
        for range in self.reservations.iter().chain(self.plain.iter()) {
            let _ = os::unreserve(range.at, range.bytes);
        }
        for range in self.pinned.iter().filter(|range| range.value == Pinned::Allocated) {
            let _ = os::unreserve(range.at, range.bytes);
        }
        *self = Self::new();
    }

    pub(crate) fn reserve(&mut self, bytes: u64, align: u64) -> Answer<u64> {
        let whole = os::reserve(bytes.checked_add(align).ok_or(INVALID_VALUE)?, Access::None)?;
        let at = whole.next_multiple_of(align);
        if at > whole {
            os::unreserve(whole, at - whole)?;
        }
        os::unreserve(at + bytes, whole + align - at)?;
        self.reservations.insert(Range { at, bytes, value: () });
        Ok(at)
    }

    pub(crate) fn unreserve(&mut self, at: u64, bytes: u64) -> Answer {
        let known = self.reservations.around(at).is_some_and(|r| (r.at, r.bytes) == (at, bytes));
        if !known || self.mappings.overlaps(at, bytes) {
            return Err(INVALID_VALUE);
        }
        os::unreserve(at, bytes)?;
        self.reservations.remove(at);
        Ok(())
    }

    pub(crate) fn create(&mut self, bytes: u64, total_bytes: u64) -> Answer<u64> {
        if bytes > self.free_bytes(total_bytes) {
            return Err(OUT_OF_MEMORY);
        }
        let offset = self.physical.create(bytes)?;
        let handle = self.next_piece;
        self.next_piece += 1;
        self.pieces.insert(handle, Piece { offset, bytes, mappings: 0, released: false });
        self.used_bytes += bytes;
        Ok(handle)
    }

    pub(crate) fn release(&mut self, handle: u64) -> Answer {
        let piece = self.pieces.get_mut(&handle).filter(|piece| !piece.released);
        piece.ok_or(INVALID_VALUE)?.released = true;
        self.settle(handle);
        Ok(())
    }

    /// Forgets a piece that nobody can reach any more.
    fn settle(&mut self, handle: u64) {
        let gone = self.pieces.get(&handle).is_some_and(|p| p.released && p.mappings == 0);
        if gone && let Some(piece) = self.pieces.remove(&handle) {
            self.physical.release(piece.offset, piece.bytes);
            self.used_bytes -= piece.bytes;
        }
    }

    pub(crate) fn map(&mut self, at: u64, bytes: u64, handle: u64) -> Answer {
        let piece = self.pieces.get_mut(&handle).filter(|piece| !piece.released);
        let piece = piece.filter(|piece| bytes <= piece.bytes).ok_or(INVALID_VALUE)?;
        if !self.reservations.holds(at, bytes) || self.mappings.overlaps(at, bytes) {
            return Err(INVALID_VALUE);
        }
        self.physical.map(at, bytes, piece.offset)?;
        piece.mappings += 1;
        let value = Mapping { piece: handle, access: Access::None };
        self.mappings.insert(Range { at, bytes, value });
        Ok(())
    }

    pub(crate) fn set_access(&mut self, at: u64, bytes: u64, access: Access) -> Answer {
        let tiles = self.mappings.exact_tiles(at, bytes).ok_or(INVALID_VALUE)?;
        os::protect(at, bytes, access)?;
        for tile in tiles {
            self.mappings.set(tile.at, Mapping { access, ..tile.value });
        }
        Ok(())
    }

    pub(crate) fn unmap(&mut self, at: u64, bytes: u64) -> Answer {
        let tiles = self.mappings.exact_tiles(at, bytes).ok_or(INVALID_VALUE)?;
        os::clear(at, bytes)?;
        for tile in tiles {
            self.mappings.remove(tile.at);
            if let Some(piece) = self.pieces.get_mut(&tile.value.piece) {
                piece.mappings -= 1;
            }
            self.settle(tile.value.piece);
        }
        Ok(())
    }

    pub(crate) fn alloc(&mut self, bytes: u64, total_bytes: u64) -> Answer<u64> {
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        let bytes = bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(OUT_OF_MEMORY)?;
        if bytes > self.free_bytes(total_bytes) {
            return Err(OUT_OF_MEMORY);
        }
        let at = os::reserve(bytes, Access::ReadWrite)?;
        self.plain.insert(Range { at, bytes, value: () });
        self.used_bytes += bytes;
        Ok(at)
    }

    pub(crate) fn free(&mut self, at: u64) -> Answer {
        let range = self.plain.remove(at).ok_or(INVALID_VALUE)?;
        self.used_bytes -= range.bytes;
        os::unreserve(range.at, range.bytes)
    }

    pub(crate) fn alloc_host(&mut self, bytes: u64) -> Answer<u64> {
        let bytes = bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(OUT_OF_MEMORY)?;
        let at = os::reserve(bytes, Access::ReadWrite)?;
        let added = self.pinned.insert(Range { at, bytes, value: Pinned::Allocated });
        // The system gave addresses that the program still says it has registered.
        if added { Ok(at) } else { os::unreserve(at, bytes).and(Err(OPERATING_SYSTEM)) }
    }

    pub(crate) fn register(&mut self, at: u64, bytes: u64) -> Answer {
        if at == 0 || bytes == 0 || at.checked_add(bytes).is_none() {
            return Err(INVALID_VALUE);
        }
        let added = self.pinned.insert(Range { at, bytes, value: Pinned::Registered });
        if added { Ok(()) } else { Err(HOST_MEMORY_ALREADY_REGISTERED) }
    }

    /// Unlocks the host memory that starts at `at`, if it was locked in this way.
    pub(crate) fn unpin(&mut self, at: u64, how: Pinned) -> Answer {
        let range = self.pinned.around(at).filter(|range| range.at == at && range.value == how);
        let refusal = match how {
            Pinned::Allocated => INVALID_VALUE,
            Pinned::Registered => HOST_MEMORY_NOT_REGISTERED,
        };
        let range = range.ok_or(refusal)?;
        self.pinned.remove(at);
        match how {
            Pinned::Allocated => os::unreserve(range.at, range.bytes),
            Pinned::Registered => Ok(()),
        }
    }

    /// Whether all of this host memory is page-locked.
    pub(crate) fn is_pinned(&self, at: u64, bytes: u64) -> bool {
        self.pinned.holds(at, bytes.max(1))
    }

    /// Whether the device can use these addresses.
    fn check(&self, at: u64, bytes: u64, needed: Access) -> Answer {
        let allows = |access| access == needed || access == Access::ReadWrite;
        let mapped = || {
            let tiles = self.mappings.tiles(at, bytes)?;
            tiles.iter().all(|tile| allows(tile.value.access)).then_some(())
        };
        let usable = bytes == 0
            || mapped().is_some()
            || self.plain.holds(at, bytes)
            || self.pinned.holds(at, bytes);
        if usable { Ok(()) } else { Err(ILLEGAL_ADDRESS) }
    }

    /// Copies between addresses of the device.
    pub(crate) fn copy(&self, to: u64, from: u64, bytes: u64) -> Answer {
        self.check(from, bytes, Access::Read)?;
        self.check(to, bytes, Access::ReadWrite)?;
        // SAFETY: both were found accessible, and stay so while the tables are borrowed.
        unsafe { os::copy(to, from, bytes as usize) };
        Ok(())
    }

    /// Copies bytes in.
    pub(crate) fn write(&self, to: u64, bytes: &[u8]) -> Answer {
        self.check(to, bytes.len() as u64, Access::ReadWrite)?;
        // SAFETY: as in `copy`.
        unsafe { os::copy(to, bytes.as_ptr().expose_provenance() as u64, bytes.len()) };
        Ok(())
    }

    /// Copies out to host memory that is not page-locked.
    ///
    /// # Safety
    /// There is room for `bytes` at `to`.
    pub(crate) unsafe fn read_to(&self, to: u64, from: u64, bytes: u64) -> Answer {
        self.check(from, bytes, Access::Read)?;
        // SAFETY: as above and in `copy`.
        unsafe { os::copy(to, from, bytes as usize) };
        Ok(())
    }

    /// Repeats the lowest `width` bytes of `value`.
    pub(crate) fn set(&self, at: u64, value: u32, width: u64, count: u64) -> Answer {
        let pattern = &value.to_ne_bytes()[..width as usize];
        let bytes = count.checked_mul(width).ok_or(ILLEGAL_ADDRESS)?;
        let (head, rest) = (bytes.min(PAGE_BYTES), bytes.saturating_sub(PAGE_BYTES));
        for (index, byte) in self.elements::<AtomicU8>(at, head)?.iter().enumerate() {
            byte.store(pattern[index % pattern.len()], Ordering::Relaxed);
        }
        self.check(at, bytes, Access::ReadWrite)?;
        for done in (0..rest).step_by(PAGE_BYTES as usize) {
            self.copy(at + PAGE_BYTES + done, at, PAGE_BYTES.min(rest - done))?;
        }
        Ok(())
    }

    /// One word.
    pub(crate) fn word32(&self, at: u64) -> Answer<&AtomicU32> {
        Ok(&self.elements(at, 1)?[0])
    }

    /// One word.
    pub(crate) fn word64(&self, at: u64) -> Answer<&AtomicU64> {
        Ok(&self.elements(at, 1)?[0])
    }

    /// Addresses of the device as elements.
    pub(crate) fn elements<T: Element>(&self, at: u64, count: u64) -> Answer<&[T]> {
        if !at.is_multiple_of(align_of::<T>() as u64) {
            return Err(MISALIGNED_ADDRESS);
        }
        let bytes = count.checked_mul(size_of::<T>() as u64).ok_or(ILLEGAL_ADDRESS)?;
        if count == 0 {
            return Ok(&[]);
        }
        self.check(at, bytes, Access::ReadWrite)?;
        // SAFETY: aligned and accessible, and stays so while the tables are borrowed.
        Ok(unsafe { os::elements(at, count as usize) })
    }
}
