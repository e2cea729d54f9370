//! The driver on a GPU, through cudarc; with `transfer` the only file that names its `sys`.
//!
//! cudarc binds each function of `libcuda` at its first call, and panics where the library or the
//! function is missing. [`CudarcDriver::new`] therefore looks for all of them first, and answers
//! with [`DriverError::NoDriver`].

mod buffer;
mod library;
mod transfer;

use std::{
    collections::HashMap,
    ffi::c_int,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use cudarc::driver::{
    CudaContext, CudaEvent, CudaStream,
    sys::{self, CUdevice_attribute, CUresult},
};

use self::library::look_for_driver;
use crate::{
    Builder, DeviceAllocator,
    driver::{
        CaptureMode, DevicePtr, Driver, DriverCall, DriverError, DriverResult, MemoryInfo,
        PhysicalId, StreamId,
    },
};

/// A GPU.
pub struct CudarcDriver {
    context: Arc<CudaContext>,
    ordinal: usize,
    granularity_bytes: u64,
    virtual_memory: bool,
    /// Streams that buffers were made for; kept, so that their handles stay valid.
    streams: RwLock<HashMap<StreamId, Arc<CudaStream>>>,
}

impl fmt::Debug for CudarcDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudarcDriver")
            .field("ordinal", &self.ordinal)
            .field("granularity_bytes", &self.granularity_bytes)
            .field("virtual_memory", &self.virtual_memory)
            .finish_non_exhaustive()
    }
}

/// `CUmemLocation` of a device. Own copies of the driver's structures, because cudarc's change
/// their fields with the CUDA version, which this crate leaves to the program.
#[repr(C)]
struct Location {
    kind: c_int,
    id: c_int,
}

/// `CUmemAllocationProp`.
#[repr(C)]
struct AllocationProperties {
    kind: c_int,
    handle_types: c_int,
    location: Location,
    win32: *mut std::ffi::c_void,
    flags: [u8; 8],
}

/// `CUmemAccessDesc`.
#[repr(C)]
struct Access {
    location: Location,
    flags: c_int,
}

const _: () = assert!(size_of::<AllocationProperties>() == size_of::<sys::CUmemAllocationProp>());
const _: () = assert!(size_of::<Access>() == size_of::<sys::CUmemAccessDesc>());

/// `CU_MEM_LOCATION_TYPE_DEVICE`.
const ON_DEVICE: c_int = 1;
/// `CU_MEM_ALLOCATION_TYPE_PINNED`.
const PINNED: c_int = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
const READ_WRITE: c_int = 3;
/// `CU_MEMHOSTREGISTER_PORTABLE`: page-locked for every context.
const PORTABLE: u32 = 1;

/// The error behind a code of the driver.
fn check(code: CUresult, call: DriverCall, address: u64, bytes: u64) -> DriverResult<()> {
    let number = code as i32;
    Err(match number {
        0 => return Ok(()),
        1 => DriverError::InvalidValue { call, address, bytes },
        2 => DriverError::OutOfMemory { call, bytes },
        // Deinitialised, context destroyed or none, device unavailable.
        4 | 46 | 201 | 709 => DriverError::DeviceLost { call, code: number },
        // Illegal address or instruction, time-out, assertion, misalignment, uncorrectable ECC…
        214 | 700 | 702 | 710 | 714..=719 => DriverError::Sticky { call, code: number },
        801 => DriverError::NotSupported { call },
        _ => DriverError::Other { call, code: number },
    })
}

impl CudarcDriver {
    /// The device with this number.
    ///
    /// # Errors
    /// [`DriverError::NoDriver`] or [`DriverError::NoDevice`]; never cudarc's panic.
    pub fn new(ordinal: usize) -> DriverResult<Self> {
        let has_virtual_memory = look_for_driver()?;
        let mut count = 0;
        // SAFETY: `look_for_driver` found both functions; `count` outlives the call.
        let counted = unsafe {
            check(sys::cuInit(0), DriverCall::Open, 0, 0)?;
            check(sys::cuDeviceGetCount(&mut count), DriverCall::Open, 0, 0)
        };
        counted?;
        if usize::try_from(count).is_ok_and(|count| ordinal >= count) {
            return Err(DriverError::NoDevice { ordinal });
        }
        let context = CudaContext::new(ordinal)
            .map_err(|error| DriverError::Other { call: DriverCall::Open, code: error.0 as i32 })?;
        Self::open(&context, has_virtual_memory)
    }

    /// The device of a context that the program has already.
    ///
    /// # Errors
    /// [`DriverError::NoDriver`] where the driver is too old, or the device does not answer.
    pub fn on(context: &Arc<CudaContext>) -> DriverResult<Self> {
        Self::open(context, look_for_driver()?)
    }

    fn open(context: &Arc<CudaContext>, has_virtual_memory: bool) -> DriverResult<Self> {
        let attribute = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED;
        let virtual_memory =
            has_virtual_memory && context.attribute(attribute).is_ok_and(|value| value != 0);
        let mut driver = Self {
            ordinal: context.ordinal(),
            context: Arc::clone(context),
            granularity_bytes: 2 << 20,
            virtual_memory,
            streams: RwLock::default(),
        };
        if virtual_memory {
            let mut bytes = 0;
            let properties = driver.properties();
            let minimum = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
            driver.bind()?;
            // SAFETY: both pointers outlive the call, and the properties have the driver's layout.
            let code = unsafe {
                sys::cuMemGetAllocationGranularity(
                    &mut bytes,
                    (&raw const properties).cast(),
                    minimum,
                )
            };
            check(code, DriverCall::Open, 0, 0)?;
            driver.granularity_bytes = bytes as u64;
        }
        Ok(driver)
    }

    /// The context, for streams and kernels.
    pub const fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    fn location(&self) -> Location {
        Location { kind: ON_DEVICE, id: self.ordinal as c_int }
    }

    fn properties(&self) -> AllocationProperties {
        AllocationProperties {
            kind: PINNED,
            handle_types: 0,
            location: self.location(),
            win32: std::ptr::null_mut(),
            flags: [0; 8],
        }
    }

    /// Makes the context current on this thread.
    fn bind(&self) -> DriverResult<()> {
        // SAFETY: the context lives as long as `self`.
        let code = unsafe { sys::cuCtxSetCurrent(self.context.cu_ctx()) };
        check(code, DriverCall::Open, 0, 0)
    }
}

/// The raw handle of a stream.
fn raw(stream: StreamId) -> sys::CUstream {
    stream.0 as usize as sys::CUstream
}

fn id_of(stream: &CudaStream) -> StreamId {
    StreamId(stream.cu_stream() as usize as u64)
}

impl Driver for CudarcDriver {
    type Fence = CudaEvent;
    type Stream = Arc<CudaStream>;
    type Uses = OnceLock<CudaEvent>;

    fn stream_id(&self, stream: &Arc<CudaStream>) -> StreamId {
        let id = id_of(stream);
        let known = self.streams.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id);
        if !known {
            let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
            streams.entry(id).or_insert_with(|| Arc::clone(stream));
        }
        id
    }

    fn end_of_use(&self, stream: StreamId, uses: &OnceLock<CudaEvent>) {
        if let Some(last) = uses.get() {
            // A failure means that the device is broken: nothing will be reused then.
            let _ = self.wait(stream, last);
        }
    }

    fn granularity_bytes(&self) -> u64 {
        self.granularity_bytes
    }

    fn memory_info(&self) -> DriverResult<MemoryInfo> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both pointers outlive the call.
        let code = unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) };
        check(code, DriverCall::MemoryInfo, 0, 0)?;
        Ok(MemoryInfo { free_bytes: free as u64, total_bytes: total as u64 })
    }

    fn reserve(&self, bytes: u64) -> DriverResult<DevicePtr> {
        if !self.virtual_memory {
            return Err(DriverError::NotSupported { call: DriverCall::Reserve });
        }
        self.bind()?;
        let mut at = 0;
        // SAFETY: `at` outlives the call.
        let code = unsafe { sys::cuMemAddressReserve(&mut at, bytes as usize, 0, 0, 0) };
        check(code, DriverCall::Reserve, 0, bytes)?;
        Ok(DevicePtr(at))
    }

    fn unreserve(&self, at: DevicePtr, bytes: u64) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the driver checks the range.
        let code = unsafe { sys::cuMemAddressFree(at.0, bytes as usize) };
        check(code, DriverCall::Unreserve, at.0, bytes)
    }

    fn create(&self, bytes: u64) -> DriverResult<PhysicalId> {
        self.bind()?;
        let (mut memory, properties) = (0, self.properties());
        // SAFETY: both pointers outlive the call, and the properties have the driver's layout.
        let code = unsafe {
            sys::cuMemCreate(&mut memory, bytes as usize, (&raw const properties).cast(), 0)
        };
        check(code, DriverCall::Create, 0, bytes)?;
        Ok(PhysicalId(memory))
    }

    fn release(&self, memory: PhysicalId) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the driver checks the handle.
        check(unsafe { sys::cuMemRelease(memory.0) }, DriverCall::Release, memory.0, 0)
    }

    fn map(&self, at: DevicePtr, bytes: u64, memory: PhysicalId) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the driver checks the range and the handle.
        let code = unsafe { sys::cuMemMap(at.0, bytes as usize, 0, memory.0, 0) };
        check(code, DriverCall::Map, at.0, bytes)?;
        let access = Access { location: self.location(), flags: READ_WRITE };
        // SAFETY: `access` outlives the call and has the driver's layout.
        let code =
            unsafe { sys::cuMemSetAccess(at.0, bytes as usize, (&raw const access).cast(), 1) };
        let accessible = check(code, DriverCall::SetAccess, at.0, bytes);
        if accessible.as_ref().is_err_and(|error| !error.is_fatal()) {
            // SAFETY: this mapping was made above and nothing has used it.
            let _ = unsafe { sys::cuMemUnmap(at.0, bytes as usize) };
        }
        accessible
    }

    fn unmap(&self, at: DevicePtr, bytes: u64) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the driver checks the range; the caller knows that no work uses it.
        let code = unsafe { sys::cuMemUnmap(at.0, bytes as usize) };
        check(code, DriverCall::Unmap, at.0, bytes)
    }

    fn alloc(&self, bytes: u64) -> DriverResult<DevicePtr> {
        self.bind()?;
        let mut at = 0;
        // SAFETY: `at` outlives the call.
        let code = unsafe { sys::cuMemAlloc_v2(&mut at, bytes as usize) };
        check(code, DriverCall::Alloc, 0, bytes)?;
        Ok(DevicePtr(at))
    }

    fn free(&self, at: DevicePtr) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the driver checks the address; the caller knows that no work uses it.
        check(unsafe { sys::cuMemFree_v2(at.0) }, DriverCall::Free, at.0, 0)
    }

    fn record(&self, stream: StreamId) -> DriverResult<CudaEvent> {
        self.bind()?;
        let flags = Some(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        let error = |code: CUresult| check(code, DriverCall::Record, stream.0, 0);
        let event = match self.context.new_event(flags) {
            Ok(event) => event,
            Err(failed) => {
                error(failed.0)?;
                return Err(DriverError::Other { call: DriverCall::Record, code: 0 });
            }
        };
        // SAFETY: the event is alive, and the caller vouches for the stream's handle.
        error(unsafe { sys::cuEventRecord(event.cu_event(), raw(stream)) })?;
        Ok(event)
    }

    fn is_passed(&self, fence: &CudaEvent) -> DriverResult<bool> {
        self.bind()?;
        // SAFETY: the event is alive.
        match unsafe { sys::cuEventQuery(fence.cu_event()) } {
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            code => check(code, DriverCall::Query, 0, 0).map(|()| true),
        }
    }

    fn wait(&self, stream: StreamId, fence: &CudaEvent) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the event is alive, and the caller vouches for the stream's handle.
        let code = unsafe { sys::cuStreamWaitEvent(raw(stream), fence.cu_event(), 0) };
        check(code, DriverCall::Wait, stream.0, 0)
    }

    fn synchronize(&self, stream: StreamId) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the caller vouches for the stream's handle.
        let code = unsafe { sys::cuStreamSynchronize(raw(stream)) };
        check(code, DriverCall::Synchronize, stream.0, 0)
    }

    fn exchange_capture_mode(&self, mode: CaptureMode) -> DriverResult<CaptureMode> {
        use sys::CUstreamCaptureMode::{self as Mode, *};
        const MODES: [(CaptureMode, Mode); 3] = [
            (CaptureMode::Global, CU_STREAM_CAPTURE_MODE_GLOBAL),
            (CaptureMode::ThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
            (CaptureMode::Relaxed, CU_STREAM_CAPTURE_MODE_RELAXED),
        ];
        let mut raw = MODES[mode as usize].1;
        // SAFETY: `raw` outlives the call, which writes the mode of before to it.
        let code = unsafe { sys::cuThreadExchangeStreamCaptureMode(&mut raw) };
        check(code, DriverCall::Open, 0, 0)?;
        Ok(MODES[raw as usize].0)
    }

    fn register_host(&self, address: usize, bytes: usize) -> DriverResult<()> {
        self.bind()?;
        let at = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: the driver checks the range; locking it changes nothing for the CPU.
        let code = unsafe { sys::cuMemHostRegister_v2(at, bytes, PORTABLE) };
        check(code, DriverCall::RegisterHost, address as u64, bytes as u64)
    }

    fn unregister_host(&self, address: usize) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the driver checks the address.
        let code =
            unsafe { sys::cuMemHostUnregister(std::ptr::with_exposed_provenance_mut(address)) };
        check(code, DriverCall::UnregisterHost, address as u64, 0)
    }
}

impl DeviceAllocator<CudarcDriver> {
    /// An allocator for the GPU with this number.
    ///
    /// # Errors
    /// [`DriverError::NoDriver`], [`DriverError::NoDevice`], or the device does not answer.
    pub fn new(ordinal: usize) -> DriverResult<Self> {
        Builder::new().build(ordinal)
    }
}

impl Builder {
    /// An allocator for the GPU with this number.
    ///
    /// # Errors
    /// [`DriverError::NoDriver`], [`DriverError::NoDevice`], or the device does not answer.
    pub fn build(self, ordinal: usize) -> DriverResult<DeviceAllocator<CudarcDriver>> {
        self.build_on(CudarcDriver::new(ordinal)?)
    }
}
