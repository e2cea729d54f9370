//! The one door to atomics, cells and locks: the real ones, or loom's under `cfg(genesis_loom)`.
//!
//! loom's types are neither `const` nor valid as zeroes, so whatever a loom model uses is built by
//! a `new`.

pub use spin::{RelaxStrategy, Spin};

#[cfg(not(genesis_loom))]
mod real {
    pub use core::sync::atomic;

    /// Mutual exclusion for short critical sections, waiting as `R` says.
    pub type Lock<T, R = spin::Spin> = spin::mutex::SpinMutex<T, R>;

    /// `core`'s cell behind loom's closure interface.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A cell that holds `value`.
        pub const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// Runs `f` on the contents, which nobody writes meanwhile.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Runs `f` on the contents, which nobody else reads or writes meanwhile.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(not(genesis_loom))]
pub use real::*;

#[cfg(genesis_loom)]
mod model {
    use core::marker::PhantomData;

    pub use loom::{cell::UnsafeCell, sync::atomic};

    /// loom's mutex behind the interface of the real lock.
    #[derive(Debug)]
    pub struct Lock<T, R = spin::Spin>(loom::sync::Mutex<T>, PhantomData<fn() -> R>);

    impl<T, R> Lock<T, R> {
        /// An open lock around `value`.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value), PhantomData)
        }

        /// Waits for the lock.
        pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no model panics under a lock")
        }
    }
}

#[cfg(genesis_loom)]
pub use model::*;
