//! A device with contents and no hurry: what is enqueued takes place as late as it may.
//!
//! Device memory is the test's own memory. One queue holds the copies of all streams; a copy
//! takes place once `lag` more have been enqueued, or somebody waits for it. That is one of the
//! orders that a real device could choose, and the one that shows reuse too early in the data.
use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use genesis_mem_cuda::driver::{
    DevicePtr, Driver, DriverCall, DriverError, DriverResult, MemoryInfo, PhysicalId, StreamId,
    Transfer,
};

const DEVICE_BYTES: u64 = 256 << 20;
const ALIGN_BYTES: usize = 512;

/// A copy on its way: addresses and bytes.
struct Copy {
    to: usize,
    from: usize,
    bytes: usize,
}

#[derive(Default)]
struct State {
    memory: HashMap<u64, Vec<u8>>,
    used_bytes: u64,
    registered: usize,
    queue: VecDeque<Copy>,
    /// How many copies have taken place.
    done: u64,
}

impl State {
    /// Lets everything up to the copy with this number take place.
    fn run_to(&mut self, number: u64) {
        while self.done < number {
            let Copy { to, from, bytes } = self.queue.pop_front().expect("enqueued before");
            // SAFETY: whoever enqueued it keeps both until it has taken place.
            unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
            self.done += 1;
        }
    }

    fn enqueued(&self) -> u64 {
        self.done + self.queue.len() as u64
    }
}

/// See the module.
pub(crate) struct Lagging {
    lag: u64,
    state: Mutex<State>,
}

impl Lagging {
    pub(crate) fn new(lag: u64) -> Self {
        Self { lag, state: Mutex::default() }
    }

    fn enqueue(&self, to: usize, from: usize, bytes: u64) -> DriverResult<()> {
        let mut state = self.state.lock().unwrap();
        state.queue.push_back(Copy { to, from, bytes: bytes as usize });
        let late = state.enqueued().saturating_sub(self.lag);
        let late = late.max(state.done);
        state.run_to(late);
        Ok(())
    }
}

fn not_supported<T>(call: DriverCall) -> DriverResult<T> {
    Err(DriverError::NotSupported { call })
}

impl Driver for Lagging {
    type Fence = u64;
    type Stream = StreamId;
    type Uses = ();

    fn stream_id(&self, stream: &StreamId) -> StreamId {
        *stream
    }

    fn end_of_use(&self, _: StreamId, (): &()) {}

    fn granularity_bytes(&self) -> u64 {
        2 << 20
    }

    fn memory_info(&self) -> DriverResult<MemoryInfo> {
        let free_bytes = DEVICE_BYTES - self.state.lock().unwrap().used_bytes;
        Ok(MemoryInfo { free_bytes, total_bytes: DEVICE_BYTES })
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
        let mut state = self.state.lock().unwrap();
        if state.used_bytes + bytes > DEVICE_BYTES {
            return Err(DriverError::OutOfMemory { call: DriverCall::Alloc, bytes });
        }
        let mut memory = vec![0xEE; bytes as usize + ALIGN_BYTES];
        let at = (memory.as_mut_ptr().expose_provenance()).next_multiple_of(ALIGN_BYTES) as u64;
        state.memory.insert(at, memory);
        state.used_bytes += bytes;
        Ok(DevicePtr(at))
    }

    fn free(&self, at: DevicePtr) -> DriverResult<()> {
        let mut state = self.state.lock().unwrap();
        let memory = state.memory.remove(&at.0).expect("it was allocated");
        let range = at.0 as usize..at.0 as usize + memory.len() - ALIGN_BYTES;
        let uses = |at: usize, bytes: usize| at < range.end && range.start < at + bytes;
        let in_use = |copy: &Copy| uses(copy.to, copy.bytes) || uses(copy.from, copy.bytes);
        assert!(!state.queue.iter().any(in_use), "freed while a copy is on its way");
        state.used_bytes -= range.len() as u64;
        Ok(())
    }

    fn record(&self, _: StreamId) -> DriverResult<u64> {
        Ok(self.state.lock().unwrap().enqueued())
    }

    fn is_passed(&self, fence: &u64) -> DriverResult<bool> {
        Ok(self.state.lock().unwrap().done >= *fence)
    }

    fn wait(&self, _: StreamId, _: &u64) -> DriverResult<()> {
        Ok(())
    }

    fn synchronize(&self, _: StreamId) -> DriverResult<()> {
        let mut state = self.state.lock().unwrap();
        let all = state.enqueued();
        state.run_to(all);
        Ok(())
    }

    fn register_host(&self, _: usize, _: usize) -> DriverResult<()> {
        self.state.lock().unwrap().registered += 1;
        Ok(())
    }

    fn unregister_host(&self, _: usize) -> DriverResult<()> {
        self.state.lock().unwrap().registered -= 1;
        Ok(())
    }
}

impl Transfer for Lagging {
    unsafe fn copy_to_device(
        &self,
        _: StreamId,
        to: DevicePtr,
        from: *const u8,
        bytes: u64,
    ) -> DriverResult<()> {
        self.enqueue(to.0 as usize, from.expose_provenance(), bytes)
    }

    unsafe fn copy_to_host(
        &self,
        _: StreamId,
        to: *mut u8,
        from: DevicePtr,
        bytes: u64,
    ) -> DriverResult<()> {
        self.enqueue(to.expose_provenance(), from.0 as usize, bytes)
    }

    unsafe fn copy_on_device(
        &self,
        _: StreamId,
        to: DevicePtr,
        from: DevicePtr,
        bytes: u64,
    ) -> DriverResult<()> {
        self.enqueue(to.0 as usize, from.0 as usize, bytes)
    }

    fn finish(&self, fence: &u64) -> DriverResult<()> {
        let mut state = self.state.lock().unwrap();
        let number = (*fence).max(state.done);
        state.run_to(number);
        Ok(())
    }
}

impl Drop for Lagging {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap();
        if !std::thread::panicking() {
            assert_eq!((state.used_bytes, state.registered), (0, 0), "everything went back");
        }
    }
}
