//! What the runtimes of C, C++ and Rust keep until a program ends, on purpose.
#![forbid(unsafe_code)]

/// How the files of loaders are named: what they call happens before `main`.
pub const LOADERS: [&str; 2] = ["ld-linux", "ld-musl"];

/// How functions of libraries begin whose blocks are no leak, although nobody frees them: names
/// without leading underscores. For [`Known`](genesis_mem_profile::Known).
pub const KEPT_BY_RUNTIMES: [&str; 46] = [
    // Before `main`, and libraries that are loaded later.
    "call_init",
    "dl",
    "std::rt::init",
    "std::sys::pal::unix",
    // Threads: stacks that are used again, and what runs at their end.
    "allocate_dtv",
    "pthread_create",
    "pthread_key",
    "pthread_setspecific",
    "std::sync::mpmc::context",
    "std::sys::thread_local",
    "std::thread::current",
    // What runs at exit.
    "atexit",
    "cxa_atexit",
    "cxa_thread_atexit",
    "new_exitfn",
    "on_exit",
    // Buffers of files that are open until the end.
    "IO_file_doallocate",
    "IO_setvbuf",
    "IO_wfile_doallocate",
    "setvbuf",
    "std::io::stdio::stdin",
    "std::io::stdio::stdout",
    // Locales, languages, character sets.
    "bindtextdomain",
    "dcigettext",
    "dcngettext",
    "gconv",
    "gettext",
    "ngettext",
    "nl_",
    "setlocale",
    "textdomain",
    // Time zones.
    "ctime",
    "localtime",
    "mktime",
    "strftime",
    "tz",
    // Names of users, groups, hosts and services.
    "gethost",
    "getgr",
    "getnameinfo",
    "getproto",
    "getpw",
    "getserv",
    "initgroups",
    "nss_",
    "res_",
    "resolv_",
];
