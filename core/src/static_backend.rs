//! A backend over a piece of memory that the caller lends for good: no operating system needed.
//!
//! It is used by reference, so that one piece of memory serves blocks and tables alike.

use core::{num::NonZeroUsize, ops::Range, ptr::NonNull};

use crate::{
    backend::{Backend, BackendCall, BackendError, Capabilities, Contents, HostBackend, Region},
    sync::Lock,
};

/// Hands out parts of a `&'static mut [u8]`, lowest address first. What is released comes back
/// only if it was handed out last.
#[derive(Debug)]
pub struct StaticBackend {
    rest: Lock<Rest>,
}

#[derive(Debug)]
struct Rest {
    base: Option<NonNull<u8>>,
    used_bytes: usize,
    bytes: usize,
}

// SAFETY: the memory belongs to the backend alone, wherever it is.
unsafe impl Send for Rest {}

impl StaticBackend {
    /// A backend without memory yet.
    pub const fn empty() -> Self {
        Self { rest: Lock::new(Rest { base: None, used_bytes: 0, bytes: 0 }) }
    }

    /// Lends it `memory`. False, and no change, if it has some already.
    pub fn lend(&self, memory: &'static mut [u8]) -> bool {
        let mut rest = self.rest.lock();
        if rest.base.is_some() {
            return false;
        }
        *rest =
            Rest { bytes: memory.len(), used_bytes: 0, base: NonNull::new(memory.as_mut_ptr()) };
        true
    }
}

/// Finer than any page: the memory is all there, so nothing is gained by coarse steps.
const PAGE_BYTES: NonZeroUsize = NonZeroUsize::new(128).unwrap();

// SAFETY: parts do not overlap, since `used_bytes` only grows but for the release of the last part.
unsafe impl Backend for &'static StaticBackend {
    type Address = NonNull<u8>;
    type Error = BackendError;
    const CAPABILITIES: Capabilities = Capabilities::HOST_ACCESSIBLE;

    fn page_bytes(&self) -> NonZeroUsize {
        PAGE_BYTES
    }

    fn reserve(
        &self,
        bytes: NonZeroUsize,
        align: NonZeroUsize,
    ) -> Result<Region<NonNull<u8>>, BackendError> {
        let refusal = BackendError { call: BackendCall::Reserve, bytes: bytes.get(), code: 0 };
        let mut rest = self.rest.lock();
        let base = rest.base.ok_or(refusal)?;
        let address = base.addr().get() + rest.used_bytes;
        let start_bytes = address
            .checked_next_multiple_of(align.get())
            .map_or(usize::MAX, |aligned| rest.used_bytes + (aligned - address));
        let end_bytes = start_bytes.checked_add(bytes.get()).ok_or(refusal)?;
        if end_bytes > rest.bytes {
            return Err(refusal);
        }
        rest.used_bytes = end_bytes;
        // SAFETY: the part is inside the memory that was lent, and handed out to nobody else.
        Ok(unsafe { Region::new(base.add(start_bytes), bytes) })
    }

    unsafe fn commit(
        &self,
        _region: &Region<NonNull<u8>>,
        _range: Range<usize>,
    ) -> Result<Contents, BackendError> {
        Ok(Contents::Unspecified)
    }

    unsafe fn purge(
        &self,
        _region: &Region<NonNull<u8>>,
        range: Range<usize>,
    ) -> Result<(), BackendError> {
        Err(BackendError { call: BackendCall::Purge, bytes: range.len(), code: 0 })
    }

    unsafe fn remap(
        &self,
        _region: &Region<NonNull<u8>>,
        from: Range<usize>,
        _to: usize,
    ) -> Result<(), BackendError> {
        Err(BackendError { call: BackendCall::Remap, bytes: from.len(), code: 0 })
    }

    unsafe fn release(
        &self,
        region: Region<NonNull<u8>>,
    ) -> Result<(), (Region<NonNull<u8>>, BackendError)> {
        let mut rest = self.rest.lock();
        let end = rest.base.map(|base| base.addr().get() + rest.used_bytes);
        if end != Some(region.base().addr().get() + region.bytes().get()) {
            let bytes = region.bytes().get();
            return Err((region, BackendError { call: BackendCall::Release, bytes, code: 0 }));
        }
        rest.used_bytes -= region.bytes().get();
        Ok(())
    }
}

// SAFETY: the memory was a Rust slice.
unsafe impl HostBackend for &'static StaticBackend {}
