//! Pointers from C: where answers go, what is read, and text.

use std::ffi::{CStr, c_char};

use crate::code::{Answer, INVALID_VALUE};

/// Where an answer goes. The driver's functions trust such pointers, null excepted.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Gives the answer.
    pub(crate) fn set(self, value: T) -> Answer {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller of the C function passed a pointer to room for a `T`.
        unsafe { self.0.write(value) };
        Ok(())
    }

    /// Gives the answer where one is asked for.
    pub(crate) fn set_if_any(self, value: T) {
        let _ = self.set(value);
    }

    /// Puts `value` there and answers with what was there.
    pub(crate) fn replace(self, value: T) -> Answer<T> {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: as in `set`, and the caller has put a value there.
        Ok(unsafe { self.0.replace(value) })
    }

    /// Whether an answer is wanted.
    pub(crate) const fn is_wanted(&self) -> bool {
        !self.0.is_null()
    }
}

impl Out<c_char> {
    /// Writes as much of `text` as `bytes` can hold, ended by a zero.
    pub(crate) fn set_text(self, text: &str, bytes: usize) -> Answer {
        if self.0.is_null() || bytes == 0 {
            return Err(INVALID_VALUE);
        }
        let kept = &text.as_bytes()[..text.len().min(bytes - 1)];
        // SAFETY: the caller of the C function passed a pointer to room for `bytes`.
        unsafe {
            std::ptr::copy_nonoverlapping(kept.as_ptr().cast(), self.0, kept.len());
            self.0.add(kept.len()).write(0);
        }
        Ok(())
    }
}

/// Something to read.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// The value there, or the element with this index.
    pub(crate) fn get(self, index: usize) -> Answer<T> {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller of the C function passed a pointer to as many values as it says.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }
}

impl<T> In<T> {
    /// The same pointer, to values of another type.
    pub(crate) const fn cast<U>(self) -> In<U> {
        In(self.0.cast())
    }

    /// Whether there is nothing to read.
    pub(crate) const fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl In<c_char> {
    /// The text there, `None` where the pointer is null or it is not UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: the caller of the C function passed a string that ends in a zero and lives as
        // long as the call.
        unsafe { CStr::from_ptr(self.0) }.to_str().ok()
    }
}
