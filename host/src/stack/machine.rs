//! What only assembly and the system can tell: registers, symbols that may be missing, a word of
//! thread-local storage, and whether an address can be read.

use core::{
    arch::{asm, global_asm},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The registers that a walk starts from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    /// The address of the instruction.
    pub(super) pc: usize,
    /// The stack pointer.
    pub(super) sp: usize,
    /// What the frame pointer's register holds.
    pub(super) fp: usize,
}

/// The registers at this point.
#[inline(always)]
pub(super) fn registers() -> Registers {
    let (pc, sp, fp);
    // SAFETY: reads registers.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("lea {}, [rip]", "mov {}, rsp", "mov {}, rbp", out(reg) pc, out(reg) sp, out(reg) fp,
            options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        asm!("adr {}, .", "mov {}, sp", "mov {}, x29", out(reg) pc, out(reg) sp, out(reg) fp,
            options(nomem, nostack, preserves_flags));
    }
    Registers { pc, sp, fp }
}

/// The thread pointer, which lies at the upper end of the stacks that threads are created with.
pub(super) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a word of the thread's control block, or a register.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("mov {}, qword ptr fs:[0]", out(reg) pointer,
            options(nostack, pure, readonly, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        asm!("mrs {}, tpidr_el0", out(reg) pointer,
            options(nomem, nostack, pure, preserves_flags));
    }
    pointer
}

/// The address of a symbol, zero where there is none of the name.
macro_rules! weak_symbol {
    ($name:literal) => {{
        let address: usize;
        // SAFETY: reads an entry of the global offset table.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!(concat!(".weak ", $name),
                concat!("mov {}, qword ptr [rip + ", $name, "@GOTPCREL]"),
                out(reg) address, options(nostack, pure, readonly, preserves_flags));
        }
        // SAFETY: reads an entry of the global offset table.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            asm!(concat!(".weak ", $name),
                concat!("adrp {0}, :got:", $name),
                concat!("ldr {0}, [{0}, :got_lo12:", $name, "]"),
                out(reg) address, options(nostack, pure, readonly, preserves_flags));
        }
        address
    }};
}

/// `_dl_find_object`, which finds the module of an address without a lock, once it was looked for.
static FIND_OBJECT: AtomicUsize = AtomicUsize::new(0);

/// Looks for `_dl_find_object` (glibc 2.35). To link with it would demand a library that has it.
pub(super) fn look_for_find_object() {
    if FIND_OBJECT.load(Relaxed) == 0 {
        // SAFETY: the name ends with a zero.
        let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) };
        FIND_OBJECT.store(symbol.expose_provenance(), Relaxed);
    }
}

pub(super) fn find_object() -> Option<FindObject> {
    let symbol = core::ptr::with_exposed_provenance::<()>(FIND_OBJECT.load(Relaxed));
    // SAFETY: the symbol, where it exists, is a function of this signature; null is `None`.
    unsafe { core::mem::transmute::<*const (), Option<FindObject>>(symbol) }
}

/// Where code is of modules that stay as long as this code can run: of the program, of this module,
/// and of the C library. Zero for unknown.
pub(super) fn lasting_code() -> [usize; 3] {
    // SAFETY: no preconditions.
    let program = unsafe { libc::getauxval(libc::AT_ENTRY) } as usize;
    // SAFETY: the name ends with a zero.
    let library = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_start_main".as_ptr()) };
    [program, registers().pc, library.addr()]
}

pub(super) type FindObject =
    unsafe extern "C" fn(address: *const libc::c_void, found: *mut Object) -> libc::c_int;

/// `struct dl_find_object`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) flags: u64,
    pub(super) map_start: usize,
    pub(super) map_end: usize,
    pub(super) link_map: usize,
    pub(super) eh_frame_hdr: usize,
    pub(super) reserved: [u64; 7],
}

/// Where the module that this is in starts; zero where the linker does not tell.
pub(super) fn image_start() -> usize {
    weak_symbol!("__ehdr_start")
}

/// Where the stack of the first thread began, if the C library tells.
pub(super) fn main_stack_end() -> Option<usize> {
    let place = weak_symbol!("__libc_stack_end") as *const usize;
    // SAFETY: the symbol, where it exists, is a word that is written before any thread runs.
    unsafe { place.as_ref().copied() }
}

// The version keeps two copies of the crate in one program apart.
macro_rules! slot {
    () => {
        concat!("\"genesis_mem_stack.", env!("CARGO_PKG_VERSION"), "\"")
    };
}

global_asm!(
    ".section .tbss.genesis_mem_stack,\"awT\",@nobits",
    concat!(".globl ", slot!()),
    concat!(".hidden ", slot!()),
    concat!(".type ", slot!(), ",@object"),
    concat!(".size ", slot!(), ",16"),
    ".p2align 3",
    concat!(slot!(), ":"),
    ".zero 16",
    ".text",
);

/// Two words of the calling thread, zero at first. Not to be kept beyond the call.
#[inline(always)]
pub(super) fn thread_words<'a>() -> &'a [AtomicUsize; 2] {
    let place: *const [AtomicUsize; 2];
    // SAFETY: computes the address of the thread's own words.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "mov {0}, qword ptr fs:[0]",
            concat!("add {0}, qword ptr [rip + ", slot!(), "@GOTTPOFF]"),
            out(reg) place,
            options(nostack, pure, readonly),
        );
    }
    // SAFETY: computes the address of the thread's own words.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            concat!("adrp {1}, :gottprel:", slot!()),
            concat!("ldr {1}, [{1}, :gottprel_lo12:", slot!(), "]"),
            "mrs {0}, tpidr_el0",
            "add {0}, {0}, {1}",
            out(reg) place,
            out(reg) _,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    // SAFETY: the words exist as long as the thread does.
    unsafe { &*place }
}

/// Whether the calling thread is the first of its process.
pub(super) fn is_first_thread() -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::syscall(libc::SYS_gettid) == libc::c_long::from(libc::getpid()) }
}

/// Whether the eight bytes from `address` can be read. One system call.
///
/// The call would change the mask of signals, but the way to do so is none: the kernel looks at
/// that only after it has read the mask.
pub(super) fn is_readable(address: usize) -> bool {
    crate::os::keep_errno(|| {
        // SAFETY: the kernel checks the address, and writes nothing.
        let result = unsafe {
            libc::syscall(libc::SYS_rt_sigprocmask, !0_i32, address, core::ptr::null::<u8>(), 8)
        };
        result == -1 && crate::os::errno() == libc::EINVAL
    })
}
