//! The driver's result codes, as far as they are given here.
#![forbid(unsafe_code)]

use std::ffi::{CStr, c_int};

/// A code that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) c_int);

/// What a call comes to.
pub(crate) type Answer<T = ()> = Result<T, Code>;

macro_rules! codes {
    ($($name:ident = $number:literal $text:literal)*) => {
        $(#[allow(dead_code, reason = "some are given by faults alone")]
        pub(crate) const $name: Code = Code($number);)*

        /// The driver's name for a code; `None` for those that nobody gives.
        pub(crate) fn name(code: c_int) -> Option<&'static CStr> {
            match code {
                0 => Some(c"CUDA_SUCCESS"),
                $($number => Some($text),)*
                _ => None,
            }
        }
    };
}

// Only codes that every version of the driver's header lists: bindings turn them into enums.
codes! {
    INVALID_VALUE = 1 c"CUDA_ERROR_INVALID_VALUE"
    OUT_OF_MEMORY = 2 c"CUDA_ERROR_OUT_OF_MEMORY"
    NOT_INITIALIZED = 3 c"CUDA_ERROR_NOT_INITIALIZED"
    DEINITIALIZED = 4 c"CUDA_ERROR_DEINITIALIZED"
    INVALID_DEVICE = 101 c"CUDA_ERROR_INVALID_DEVICE"
    INVALID_IMAGE = 200 c"CUDA_ERROR_INVALID_IMAGE"
    INVALID_CONTEXT = 201 c"CUDA_ERROR_INVALID_CONTEXT"
    ECC_UNCORRECTABLE = 214 c"CUDA_ERROR_ECC_UNCORRECTABLE"
    OPERATING_SYSTEM = 304 c"CUDA_ERROR_OPERATING_SYSTEM"
    INVALID_HANDLE = 400 c"CUDA_ERROR_INVALID_HANDLE"
    NOT_FOUND = 500 c"CUDA_ERROR_NOT_FOUND"
    NOT_READY = 600 c"CUDA_ERROR_NOT_READY"
    ILLEGAL_ADDRESS = 700 c"CUDA_ERROR_ILLEGAL_ADDRESS"
    LAUNCH_TIMEOUT = 702 c"CUDA_ERROR_LAUNCH_TIMEOUT"
    CONTEXT_IS_DESTROYED = 709 c"CUDA_ERROR_CONTEXT_IS_DESTROYED"
    ASSERT = 710 c"CUDA_ERROR_ASSERT"
    HOST_MEMORY_ALREADY_REGISTERED = 712 c"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"
    HOST_MEMORY_NOT_REGISTERED = 713 c"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED"
    HARDWARE_STACK_ERROR = 714 c"CUDA_ERROR_HARDWARE_STACK_ERROR"
    ILLEGAL_INSTRUCTION = 715 c"CUDA_ERROR_ILLEGAL_INSTRUCTION"
    MISALIGNED_ADDRESS = 716 c"CUDA_ERROR_MISALIGNED_ADDRESS"
    INVALID_PC = 718 c"CUDA_ERROR_INVALID_PC"
    LAUNCH_FAILED = 719 c"CUDA_ERROR_LAUNCH_FAILED"
    NOT_SUPPORTED = 801 c"CUDA_ERROR_NOT_SUPPORTED"
    STREAM_CAPTURE_UNSUPPORTED = 900 c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
    STREAM_CAPTURE_INVALIDATED = 901 c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"
    STREAM_CAPTURE_MERGE = 902 c"CUDA_ERROR_STREAM_CAPTURE_MERGE"
    STREAM_CAPTURE_UNMATCHED = 903 c"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED"
    STREAM_CAPTURE_UNJOINED = 904 c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED"
    STREAM_CAPTURE_ISOLATION = 905 c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION"
    CAPTURED_EVENT = 907 c"CUDA_ERROR_CAPTURED_EVENT"
    STREAM_CAPTURE_WRONG_THREAD = 908 c"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD"
    UNKNOWN = 999 c"CUDA_ERROR_UNKNOWN"
}

impl Code {
    /// Whether the context gives this code for ever after.
    pub(crate) fn is_sticky(self) -> bool {
        let gone = [DEINITIALIZED, CONTEXT_IS_DESTROYED].contains(&self);
        let broken = [ECC_UNCORRECTABLE, ILLEGAL_ADDRESS, LAUNCH_TIMEOUT, ASSERT].contains(&self);
        gone || broken || (HARDWARE_STACK_ERROR.0..=LAUNCH_FAILED.0).contains(&self.0)
    }
}
