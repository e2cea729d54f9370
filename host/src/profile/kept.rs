//! What the runtimes of C, C++ and Rust keep until a program ends, on purpose.
#![forbid(unsafe_code)]

/// Functions whose blocks are no leak, although nobody frees them: the loader, static
/// initialisers, buffers of standard input and output, tables of what runs at exit, locales. For
/// [`Report::leaks_except`](genesis_mem_profile::Report::leaks_except).
pub const KEPT_BY_RUNTIMES: [&str; 22] = [
    // Of what runs before `main`, and libraries that are loaded later.
    "_dl_init",
    "_dl_start",
    "call_init",
    "dl_main",
    "_dl_allocate_tls",
    "_dl_open",
    "dl_open_worker",
    "std::rt::init",
    "std::sys::pal::unix::thread_local",
    // What runs at exit.
    "__cxa_atexit",
    "__cxa_thread_atexit_impl",
    "__new_exitfn",
    "std::sys::thread_local::destructors",
    // Input and output.
    "_IO_file_doallocate",
    "_IO_setvbuf",
    "std::io::stdio::stdin",
    "std::io::stdio::stdout",
    // Locales, character sets, time zones, names.
    "__gconv_",
    "__nss_",
    "_nl_",
    "setlocale",
    "tzset_internal",
];
