//! Host memory as a driver: pieces are mapped, touched and page-locked by the driver below.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use memmap2::{MmapMut, MmapOptions};

use super::lock::lock_pages;
use crate::driver::{
    CaptureMode, DevicePtr, Driver, DriverCall, DriverError, DriverResult, MemoryInfo, MemoryKind,
    PhysicalId, StreamId,
};

/// The CPU, as a stream: what it has done is done.
pub(super) const CPU: StreamId = StreamId(u64::MAX);

/// Pieces begin at a multiple of this, so that huge pages fit.
const ALIGN_BYTES: usize = 2 << 20;

/// See the module. Streams and fences are those of the driver below.
pub(crate) struct PinnedHost<D> {
    pub(super) device: Arc<D>,
    /// Mappings by the first address that is locked.
    mappings: Mutex<HashMap<usize, MmapMut>>,
}

impl<D: Driver> PinnedHost<D> {
    pub(super) fn new(device: Arc<D>) -> Self {
        Self { device, mappings: Mutex::default() }
    }

    fn mappings(&self) -> MutexGuard<'_, HashMap<usize, MmapMut>> {
        self.mappings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_supported<T>(call: DriverCall) -> DriverResult<T> {
    Err(DriverError::NotSupported { call })
}

/// The bytes of a line such as `MemTotal:  16384 kB`.
fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

impl<D: Driver> Driver for PinnedHost<D> {
    /// None for the CPU's own.
    type Fence = Option<D::Fence>;
    type Stream = D::Stream;
    type Uses = ();

    fn stream_id(&self, stream: &D::Stream) -> StreamId {
        self.device.stream_id(stream)
    }

    fn end_of_use(&self, _: StreamId, (): &()) {}

    fn memory_kind(&self) -> MemoryKind {
        MemoryKind::PinnedHost
    }

    fn granularity_bytes(&self) -> u64 {
        ALIGN_BYTES as u64
    }

    /// What the system says; where it says nothing the limit alone counts.
    fn memory_info(&self) -> DriverResult<MemoryInfo> {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total_bytes = meminfo_bytes(&text, "MemTotal").unwrap_or(1 << 46);
        let free_bytes = meminfo_bytes(&text, "MemAvailable").unwrap_or(total_bytes);
        Ok(MemoryInfo { free_bytes, total_bytes })
    }

    fn reserve(&self, _: u64) -> DriverResult<DevicePtr> {
        not_supported(DriverCall::Reserve)
    }

    fn unreserve(&self, _: DevicePtr, _: u64) -> DriverResult<()> {
        not_supported(DriverCall::Unreserve)
    }

    fn create(&self, _: u64) -> DriverResult<PhysicalId> {
        not_supported(DriverCall::Create)
    }

    fn release(&self, _: PhysicalId) -> DriverResult<()> {
        not_supported(DriverCall::Release)
    }

    fn map(&self, _: DevicePtr, _: u64, _: PhysicalId) -> DriverResult<()> {
        not_supported(DriverCall::Map)
    }

    fn unmap(&self, _: DevicePtr, _: u64) -> DriverResult<()> {
        not_supported(DriverCall::Unmap)
    }

    fn alloc(&self, bytes: u64) -> DriverResult<DevicePtr> {
        let full = DriverError::OutOfMemory { call: DriverCall::RegisterHost, bytes };
        let len = usize::try_from(bytes).ok().filter(|&len| len <= isize::MAX as usize / 2);
        let Some(len) = len else { return Err(full) };
        // Some more, to align it; what is not touched costs addresses only.
        let mapping = MmapOptions::new().len(len + ALIGN_BYTES).map_anon();
        let Ok(mut mapping) = mapping else { return Err(full) };
        #[cfg(target_os = "linux")]
        let _ = mapping.advise(memmap2::Advice::HugePage);
        let skip = mapping.as_ptr().addr().next_multiple_of(ALIGN_BYTES) - mapping.as_ptr().addr();
        let piece = &mut mapping[skip..skip + len];
        // Buffers make pointers of addresses again.
        let address = piece.as_mut_ptr().expose_provenance();
        match lock_pages(&*self.device, piece) {
            Ok(()) => {}
            // Drivers have several codes for what the system refuses.
            Err(DriverError::Other { .. }) => return Err(full),
            Err(error) => return Err(error),
        }
        self.mappings().insert(address, mapping);
        Ok(DevicePtr(address as u64))
    }

    fn free(&self, at: DevicePtr) -> DriverResult<()> {
        let address = at.0 as usize;
        self.device.unregister_host(address)?;
        self.mappings().remove(&address);
        Ok(())
    }

    fn record(&self, stream: StreamId) -> DriverResult<Self::Fence> {
        if stream == CPU { Ok(None) } else { self.device.record(stream).map(Some) }
    }

    fn is_passed(&self, fence: &Self::Fence) -> DriverResult<bool> {
        fence.as_ref().map_or(Ok(true), |fence| self.device.is_passed(fence))
    }

    /// The CPU waits by looking at fences, and streams do not wait for host memory.
    fn wait(&self, _: StreamId, _: &Self::Fence) -> DriverResult<()> {
        not_supported(DriverCall::Wait)
    }

    fn synchronize(&self, stream: StreamId) -> DriverResult<()> {
        if stream == CPU { Ok(()) } else { self.device.synchronize(stream) }
    }

    fn exchange_capture_mode(&self, mode: CaptureMode) -> DriverResult<CaptureMode> {
        self.device.exchange_capture_mode(mode)
    }

    fn register_host(&self, address: usize, bytes: usize) -> DriverResult<()> {
        self.device.register_host(address, bytes)
    }

    fn unregister_host(&self, address: usize) -> DriverResult<()> {
        self.device.unregister_host(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_memory_is_read() {
        let text = "MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable:    12345 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal"), Some(16_384_000 << 10));
        assert_eq!(meminfo_bytes(text, "MemAvailable"), Some(12_345 << 10));
        assert_eq!(meminfo_bytes(text, "Mem"), None);
        assert_eq!(meminfo_bytes("", "MemTotal"), None);
    }
}
