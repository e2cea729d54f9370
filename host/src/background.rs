//! Threads of the allocator's own, which the program must not notice.

use core::ptr;

/// What a thread of ours runs.
pub(crate) type Work = extern "C" fn(*mut libc::c_void) -> *mut libc::c_void;

/// Starts a thread with a stack of `stack_bytes`; whether the system had one to give. May allocate,
/// and leaves `errno` as it is.
///
/// All signals are blocked around the start, so that the new thread never runs a handler of the
/// program's.
#[unsafe(link_section = "genesis_mem_slow")]
pub(crate) fn spawn(stack_bytes: usize, work: Work, argument: *mut libc::c_void) -> bool {
    // SAFETY: the attributes and the signal sets are initialised before use.
    crate::os::keep_errno(|| unsafe {
        let mut all = core::mem::zeroed();
        let mut before = core::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let mut attributes = core::mem::zeroed();
        libc::pthread_attr_init(&mut attributes);
        libc::pthread_attr_setdetachstate(&mut attributes, libc::PTHREAD_CREATE_DETACHED);
        libc::pthread_attr_setstacksize(&mut attributes, stack_bytes);
        let mut thread = core::mem::zeroed();
        let code = libc::pthread_create(&mut thread, &attributes, work, argument);
        libc::pthread_attr_destroy(&mut attributes);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
        code == 0
    })
}
