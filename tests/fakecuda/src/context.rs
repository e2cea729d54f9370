//! The one context, the device's primary one: who holds it, and where it is current.
#![forbid(unsafe_code)]

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::code::{Answer, INVALID_CONTEXT, INVALID_VALUE};

/// The context's handle.
pub(crate) const HANDLE: u64 = 0xC0DA;

static HOLDERS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// The handle that is current on this thread, or zero.
pub(crate) fn current() -> u64 {
    CURRENT.get()
}

pub(crate) fn set_current(context: u64) -> Answer {
    if context != 0 && context != HANDLE {
        return Err(INVALID_CONTEXT);
    }
    CURRENT.set(context);
    Ok(())
}

pub(crate) fn is_retained() -> bool {
    HOLDERS.load(Ordering::Relaxed) > 0
}

pub(crate) fn retain() -> u64 {
    HOLDERS.fetch_add(1, Ordering::Relaxed);
    HANDLE
}

pub(crate) fn release() -> Answer {
    let less = |holders: u64| holders.checked_sub(1);
    let released = HOLDERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    released.map(drop).map_err(|_| INVALID_VALUE)
}

/// Nobody holds it.
pub(crate) fn clear() {
    HOLDERS.store(0, Ordering::Relaxed);
}
