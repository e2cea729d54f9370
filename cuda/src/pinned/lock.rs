//! Page-locking by a device's driver.

use std::{
    fmt,
    ptr::NonNull,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use genesis_mem_core::pin::{PageLock, PinError};

use crate::driver::{DefaultDriver, Driver, DriverError, DriverResult};

/// Bytes for which another thread is worth while.
const SHARE_BYTES: usize = 16 << 20;
/// More threads than this do not touch faster.
const MOST_THREADS: usize = 8;
/// The smallest page there is.
const PAGE_BYTES: usize = 4096;

/// Touches memory on several threads, since the first touch costs more than the locking and a
/// driver would do it on one; then locks it.
pub(super) fn lock_pages(driver: &impl Driver, memory: &mut [u8]) -> DriverResult<()> {
    let (start, bytes) = (memory.as_mut_ptr(), memory.len());
    // SAFETY: atomic bytes have the layout of bytes, and this borrow of them is exclusive.
    touch(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU8>(), bytes) });
    driver.register_host(start.addr(), bytes)
}

/// Has every page backed by memory, whatever it holds.
fn touch(memory: &[AtomicU8]) {
    let most = thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS));
    let threads = memory.len().div_ceil(SHARE_BYTES).clamp(1, most);
    let share = memory.len().div_ceil(threads).next_multiple_of(PAGE_BYTES);
    // A write that changes nothing: a read alone could get a page of zeroes that all share.
    let touch_one = |part: &[AtomicU8]| {
        part.iter().step_by(PAGE_BYTES).for_each(|byte| {
            byte.fetch_or(0, Ordering::Relaxed);
        });
    };
    thread::scope(|scope| {
        let mut parts = memory.chunks(share);
        let own = parts.next();
        for part in parts {
            // Where no thread can be had this one does it.
            let spawned = thread::Builder::new().spawn_scoped(scope, move || touch_one(part));
            if spawned.is_err() {
                touch_one(part);
            }
        }
        own.into_iter().for_each(touch_one);
    });
}

/// Locks pages through a device's driver, for the `Pinned` allocator of `genesis-mem-host`.
///
/// It allocates a little, so such an allocator must not be the program's global one.
pub struct DriverLock<D: Driver = DefaultDriver> {
    driver: DriverResult<Arc<D>>,
    /// What is locked: address and bytes.
    ranges: Mutex<Vec<(usize, usize)>>,
}

impl<D: Driver> fmt::Debug for DriverLock<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverLock").field("error", &self.error()).finish_non_exhaustive()
    }
}

impl<D: Driver> DriverLock<D> {
    /// Locks through `driver`. Where it could not be opened every lock fails, and
    /// [`error`](Self::error) tells why.
    pub fn new(driver: DriverResult<Arc<D>>) -> Self {
        Self { driver, ranges: Mutex::default() }
    }

    /// Why nothing can be locked.
    pub fn error(&self) -> Option<&DriverError> {
        self.driver.as_ref().err()
    }
}

#[cfg(feature = "cudarc")]
impl DriverLock {
    /// Locks through the driver of the GPU with this number.
    pub fn device(ordinal: usize) -> Self {
        Self::new(crate::cudarc::CudarcDriver::new(ordinal).map(Arc::new))
    }
}

/// The driver's own code for an error, or zero.
const fn code_of(error: &DriverError) -> i32 {
    match error {
        DriverError::DeviceLost { code, .. }
        | DriverError::Sticky { code, .. }
        | DriverError::Other { code, .. } => *code,
        DriverError::InvalidValue { .. } => 1,
        DriverError::OutOfMemory { .. } => 2,
        DriverError::NoDevice { .. } => 100,
        DriverError::NotSupported { .. } => 801,
        DriverError::NoDriver { .. } => 0,
    }
}

// SAFETY: a driver keeps registered pages where they are until they are unregistered.
unsafe impl<D: Driver> PageLock for DriverLock<D> {
    unsafe fn lock(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PinError> {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let locked_bytes = ranges.iter().map(|(_, bytes)| bytes).sum();
        let locked = self.driver.as_ref().map_err(Clone::clone).and_then(|driver| {
            // SAFETY: the caller vouches that the range is committed; touching changes nothing.
            touch(unsafe { std::slice::from_raw_parts(start.as_ptr().cast(), bytes) });
            driver.register_host(start.as_ptr().addr(), bytes)
        });
        match locked {
            Ok(()) => {
                ranges.push((start.as_ptr().addr(), bytes));
                Ok(())
            }
            Err(error) => Err(PinError::new(bytes, locked_bytes, usize::MAX, code_of(&error))),
        }
    }

    unsafe fn unlock_all(&self) {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        for (address, _) in ranges.drain(..) {
            if let Ok(driver) = &self.driver {
                // A failure means that the device is gone, and its locks with it.
                let _ = driver.unregister_host(address);
            }
        }
    }
}
