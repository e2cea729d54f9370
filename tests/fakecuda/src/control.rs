//! How tests steer the library: functions that no driver has.

use std::ffi::{c_char, c_int};

use crate::{
    call::lock,
    code::{self, Code},
    device::device,
    memory::Live,
    raw::In,
};

/// Makes the device as new: waits for its streams, frees what programs have left, forgets faults
/// and counts, and takes the settings from the environment. Nobody else may use it meanwhile.
// SAFETY: no other library has a function of this name; likewise below.
#[unsafe(no_mangle)]
extern "C" fn fakecuda_reset() {
    device().reset();
}

/// Sets what the environment can set, by the same name; answers whether there is such a setting.
#[unsafe(no_mangle)]
extern "C" fn fakecuda_set(name: In<c_char>, value: u64) -> bool {
    name.text().is_some_and(|name| device().settings.set(name, value))
}

/// Lets the call of the function with this name fail with `code`, after as many more; any call
/// where the name is empty. Answers whether the code is one that can be given. Codes that mean
/// that the context is broken or gone stay.
#[unsafe(no_mangle)]
extern "C" fn fakecuda_fail(name: In<c_char>, after: u64, code: c_int) -> bool {
    let known = code != 0 && code::name(code).is_some();
    if known {
        lock(&device().calls).fail(name.text().unwrap_or_default(), after, Code(code));
    }
    known
}

/// How often the function with this name was called; all of them where it is empty.
#[unsafe(no_mangle)]
extern "C" fn fakecuda_count(name: In<c_char>) -> u64 {
    lock(&device().calls).count(name.text().unwrap_or_default())
}

/// Another process takes this much of the device, or gives it back where negative.
#[unsafe(no_mangle)]
extern "C" fn fakecuda_take_memory(bytes: i64) {
    let mut memory = device().memory_mut();
    memory.taken_bytes = memory.taken_bytes.saturating_add_signed(bytes);
}

/// What is still held of the device.
#[unsafe(no_mangle)]
extern "C" fn fakecuda_live() -> Live {
    device().memory().live()
}

/// Bytes of the device that are still held.
#[unsafe(no_mangle)]
extern "C" fn fakecuda_live_bytes() -> u64 {
    device().memory().live().bytes
}
