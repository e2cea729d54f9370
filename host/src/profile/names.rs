//! Names of functions for people, and which of them are not the line that somebody looks for.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use genesis_mem_profile::Frame;

/// A function's name as its author wrote it, without parameters and hashes.
pub(super) fn demangled(name: &str) -> Cow<'_, str> {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}").into();
    }
    let options = cpp_demangle::DemangleOptions::new().no_params().no_return_type();
    let cpp = cpp_demangle::Symbol::new(name).ok();
    match cpp.and_then(|symbol| symbol.demangle_with_options(&options).ok()) {
        Some(text) if name.starts_with("_Z") => text.into(),
        _ => name.into(),
    }
}

/// Libraries whose callers are meant: of C, of C++, and the allocator itself.
const LIBRARIES: [&str; 8] = [
    "ld-linux",
    "ld-musl",
    "libc++",
    "libc.so",
    "libgcc_s.so",
    "libgenesis_mem.so",
    "libpthread.so",
    "libstdc++.so",
];

/// Parts of paths of sources whose callers are meant.
const SOURCES: [&str; 8] = [
    "/rustc/",
    "/rustlib/src/rust/library/",
    "/rust/deps/",
    "/include/c++/",
    "/allocator-api2-",
    "/hashbrown-",
    "/indexmap-",
    "/smallvec-",
];

/// How names begin of functions whose callers are meant.
const PREFIXES: [&str; 24] = [
    "__gnu_cxx::",
    "__rdl_",
    "__rg_",
    "__rust_",
    "__rustc::",
    "_PyMem_",
    "_PyObject_Malloc",
    "PyMem_",
    "PyObject_Malloc",
    "alloc::",
    "allocator_api2::",
    "core::",
    "g_malloc",
    "g_realloc",
    "g_slice_alloc",
    "g_strdup",
    "genesis_mem_core::",
    "genesis_mem_host::",
    "hashbrown::",
    "indexmap::",
    "operator new",
    "smallvec::",
    "std::",
    "xmalloc",
];

/// The allocator's own functions, and those that the compiler puts before it.
const OWN_FUNCTIONS: [&str; 5] =
    ["genesis_mem_core::", "genesis_mem_host::", "__rustc::", "__rust_", "__rg_"];
/// Its sources as packages, and the files in which others enter it.
const OWN_PACKAGES: [&str; 2] = ["/genesis-mem-core-", "/genesis-mem-host-"];
const OWN_SOURCES: [&str; 3] = ["host/src/c.rs", "host/src/genesis.rs", "host/src/pinned.rs"];

/// Whole names of such functions.
const FUNCTIONS: [&str; 18] = [
    "aligned_alloc",
    "asprintf",
    "calloc",
    "getdelim",
    "getline",
    "malloc",
    "memalign",
    "posix_memalign",
    "pvalloc",
    "realloc",
    "reallocarray",
    "strdup",
    "strndup",
    "valloc",
    "vasprintf",
    "xcalloc",
    "xrealloc",
    "xstrdup",
];

/// Whether a frame is of the allocator itself, or of what the compiler puts before it. Where debug
/// information has lines alone, as by default in releases, the source tells: functions that were
/// inlined have no paths there.
pub(super) fn is_allocator(frame: &Frame, module: &str) -> bool {
    let of = frame.function.trim_start_matches('<');
    module.ends_with("/libgenesis_mem.so")
        || OWN_FUNCTIONS.iter().any(|prefix| of.starts_with(prefix))
        || OWN_PACKAGES.iter().any(|part| frame.file.contains(part))
        || OWN_SOURCES.iter().any(|end| frame.file.ends_with(end))
}

/// Whether a function marks where Rust's own frames around a program or a thread begin; they are
/// the same in each stack, and left out as in backtraces.
pub(super) fn surrounds_programs(function: &str) -> bool {
    let mark = "__rust_begin_short_backtrace";
    // Without a path where debug information has lines alone.
    function.split_once(mark).is_some_and(|(path, rest)| {
        (path.is_empty() || path.ends_with("::"))
            && (rest.is_empty() || rest.starts_with("::") || rest.starts_with('<'))
    })
}

/// Whether a frame is of a library that allocates for its caller, so that the caller is the line
/// that somebody looks for.
pub(super) fn allocates_for_others(frame: &Frame, module: &str) -> bool {
    let library = module.rsplit('/').next().unwrap_or(module);
    LIBRARIES.iter().any(|name| library.starts_with(name))
        || SOURCES.iter().any(|part| frame.file.contains(part))
        || is_library_function(&frame.function)
}

fn is_library_function(name: &str) -> bool {
    if FUNCTIONS.contains(&name) {
        return true;
    }
    // `<alloc::vec::Vec<T> as core::clone::Clone>::clone`: of whom it is comes first.
    let of = name.trim_start_matches(['<', '&', '[', '(']);
    if PREFIXES.iter().any(|prefix| of.starts_with(prefix)) {
        return true;
    }
    // `<T as alloc::string::ToString>::to_string`: anybody's, so the trait tells.
    let (of, by) = of.split_once(" as ").unwrap_or((of, ""));
    let anybody = of.len() <= 2 && of.starts_with(|c: char| c.is_ascii_uppercase());
    let primitive = ["str", "u8", "T]", "u8]"].contains(&of);
    (anybody || primitive) && PREFIXES.iter().any(|prefix| by.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_written() {
        assert_eq!(demangled("_ZN3foo3bar17h0123456789abcdefE"), "foo::bar");
        assert_eq!(demangled("_RNvCskwGfYPst2Cb_3foo16example_function"), "foo::example_function");
        assert_eq!(demangled("_ZN7Catalog4loadEiPKc"), "Catalog::load");
        assert_eq!(demangled("_Znwm"), "operator new");
        assert_eq!(demangled("qsort"), "qsort");
        assert_eq!(demangled("_Zbroken"), "_Zbroken");
    }

    #[test]
    fn rusts_own_frames_are_told() {
        let name = "std::sys::backtrace::__rust_begin_short_backtrace";
        assert!(surrounds_programs(name) && surrounds_programs(&format!("{name}::<fn(), ()>")));
        assert!(!surrounds_programs("app::main") && !surrounds_programs(&format!("{name}_")));
        let name = "__rust_begin_short_backtrace";
        assert!(surrounds_programs(name) && surrounds_programs(&format!("{name}<fn(), ()>")));
        assert!(!surrounds_programs(&format!("my{name}")));
    }

    #[test]
    fn the_allocator_knows_itself() {
        let frame = |function: &str, file: &str| Frame {
            function: function.into(),
            file: file.into(),
            ..Frame::default()
        };
        let own = frame("<genesis_mem_host::genesis::Genesis as Alloc>::alloc", "");
        assert!(is_allocator(&own, ""));
        assert!(is_allocator(&frame("alloc", "/src/host/src/genesis.rs"), ""));
        assert!(is_allocator(&frame("alloc", "/r/genesis-mem-core-0.1.0/src/heap.rs"), ""));
        assert!(!is_allocator(&frame("alloc", "/app/src/genesis.rs"), ""));
        let malloc = frame("malloc", "");
        assert!(is_allocator(&malloc, "/opt/libgenesis_mem.so") && !is_allocator(&malloc, "libc"));
    }

    #[test]
    fn callers_of_libraries_are_meant() {
        let frame = |function: &str| Frame { function: function.into(), ..Frame::default() };
        for library in [
            "malloc",
            "operator new",
            "std::vector<int>::push_back",
            "alloc::raw_vec::RawVec<T,A>::grow_one",
            "<alloc::vec::Vec<T> as core::clone::Clone>::clone",
            "<T as alloc::string::ToString>::to_string",
            "<str as alloc::borrow::ToOwned>::to_owned",
            "hashbrown::raw::RawTable<T,A>::reserve_rehash",
        ] {
            assert!(allocates_for_others(&frame(library), "/usr/bin/program"), "{library}");
        }
        for own in ["main", "allocate", "stdlib::run", "<app::Row as core::clone::Clone>::clone"] {
            assert!(!allocates_for_others(&frame(own), "/usr/bin/program"), "{own}");
            assert!(allocates_for_others(&frame(own), "/lib/x86_64-linux-gnu/libc.so.6"));
        }
        let in_std =
            Frame { file: "/rustc/1234/library/alloc/src/vec/mod.rs".into(), ..frame("f") };
        assert!(allocates_for_others(&in_std, ""));
    }
}
