//! What every call goes through: it is counted, may be told to fail, and needs a context that
//! works.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    ffi::c_int,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    capture,
    code::{Answer, CONTEXT_IS_DESTROYED, Code, INVALID_CONTEXT},
    context,
    device::device,
};

/// What a call needs before it does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: it works without a device.
    Nothing,
    /// A context that is current on this thread and not broken.
    Context,
    /// The same, and no capture that the call could disturb.
    NoCapture,
}

/// A call that shall fail.
#[derive(Debug)]
struct Fault {
    /// Any call where it is empty.
    name: String,
    after: u64,
    code: Code,
}

/// Counts, faults, and what has broken the context.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    counts: HashMap<&'static str, u64>,
    faults: Vec<Fault>,
    broken: Option<Code>,
}

/// Locks what no panic can leave half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calls {
    /// Lets the call with this name fail, after as many more of its kind.
    pub(crate) fn fail(&mut self, name: &str, after: u64, code: Code) {
        self.faults.push(Fault { name: name.to_owned(), after, code });
    }

    /// How often it was called; all calls where the name is empty.
    pub(crate) fn count(&self, name: &str) -> u64 {
        match name {
            "" => self.counts.values().sum(),
            name => self.counts.get(name).copied().unwrap_or(0),
        }
    }

    /// Notes that no call on the context may succeed any more. The first reason stays.
    pub(crate) fn break_with(&mut self, code: Code) {
        self.broken.get_or_insert(code);
    }

    pub(crate) fn is_broken(&self) -> Answer {
        self.broken.map_or(Ok(()), Err)
    }

    fn count_and_fail(&mut self, name: &'static str) -> Answer {
        *self.counts.entry(name).or_default() += 1;
        let matching = |fault: &Fault| fault.name.is_empty() || fault.name == name;
        let due = self.faults.iter().position(|fault| matching(fault) && fault.after == 0);
        for fault in self.faults.iter_mut().filter(|fault| matching(fault)) {
            fault.after = fault.after.saturating_sub(1);
        }
        let Some(due) = due else { return Ok(()) };
        let code = self.faults.remove(due).code;
        if code.is_sticky() {
            self.break_with(code);
        }
        Err(code)
    }
}

/// Makes a call: what `body` does, if nothing speaks against it.
pub(crate) fn enter(name: &'static str, needs: Needs, body: impl FnOnce() -> Answer) -> c_int {
    let ready = || {
        if needs == Needs::Nothing {
            return Ok(());
        }
        match context::current() {
            0 => return Err(INVALID_CONTEXT),
            _ if !context::is_retained() => return Err(CONTEXT_IS_DESTROYED),
            _ => lock(&device().calls).is_broken()?,
        }
        if needs == Needs::NoCapture { capture::refuse_if_disturbed() } else { Ok(()) }
    };
    let failed = lock(&device().calls).count_and_fail(name);
    match failed.and_then(|()| ready()).and_then(|()| body()) {
        Ok(()) => 0,
        Err(Code(code)) => code,
    }
}

/// Defines functions of the driver's interface. What stands before the colon is what they
/// [need](Needs); the arguments have the types of the driver's header, or transparent ones.
macro_rules! functions {
    ($($needs:ident: $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        // SAFETY: the name is the driver's own, which this library stands for.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "the name is the driver's")]
        extern "C" fn $name($($argument: $type),*) -> std::ffi::c_int {
            $crate::call::enter(stringify!($name), $crate::call::Needs::$needs, || $body)
        }
    )*};
}
pub(crate) use functions;
