//! Options from the environment, read once, without allocating. `docs/tuning.md` describes them.

use core::{
    ffi::{CStr, c_char},
    sync::atomic::{
        AtomicBool,
        Ordering::{AcqRel, Relaxed},
    },
};

use genesis_mem_core::arena::Arena;

use crate::{fault::say, os, process::HostConfig, purger, sampler, serve};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Reads every option, the first time that there is an environment: a preloaded library may be
/// asked for memory before. A bad value is reported once on stderr and ignored.
#[unsafe(link_section = "genesis_mem_slow")]
pub(crate) fn read(arena: &Arena<HostConfig>) {
    static DONE: AtomicBool = AtomicBool::new(false);
    // SAFETY: the system writes the variable before a program's first instruction.
    if unsafe { (&raw const environ).read() }.is_null() || DONE.swap(true, AcqRel) {
        return;
    }
    if let Some(text) = variable(c"GENESIS_MEM_LIMIT") {
        match parse_bytes(text) {
            Some(bytes) => arena.set_limit(bytes),
            None => refuse("GENESIS_MEM_LIMIT", text, "a size such as 512MiB, 2GB or 65536"),
        }
    }
    if let Some(text) = variable(c"GENESIS_MEM_HUGE_PAGES") {
        match text {
            b"auto" => os::HUGE_PAGES.store(true, Relaxed),
            b"never" => os::HUGE_PAGES.store(false, Relaxed),
            _ => refuse("GENESIS_MEM_HUGE_PAGES", text, "\"auto\" or \"never\""),
        }
    }
    if let Some(text) = variable(c"GENESIS_MEM_PURGE_DELAY_MS") {
        match text {
            b"never" => purger::ALLOWED.store(false, Relaxed),
            _ => match parse_number(text) {
                Some(ms) => purger::DELAY_MS.store(ms.clamp(1, 1 << 40), Relaxed),
                None => refuse("GENESIS_MEM_PURGE_DELAY_MS", text, "milliseconds or \"never\""),
            },
        }
    }
    // SAFETY: no preconditions.
    let has_rights_of_another = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    if let Some(text) = variable(c"GENESIS_MEM_SOCKET").filter(|_| !has_rights_of_another) {
        serve::plan(text);
    }
    sampler::read_environment();
}

/// The value of an environment variable, if it is set and not empty.
///
/// The bytes stay as long as nobody changes the environment, which is why they are read at once.
pub fn variable(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: the name is a C string. Allocates nothing.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: `getenv` returns a C string.
    Some(unsafe { CStr::from_ptr(value) }.to_bytes()).filter(|text| !text.is_empty())
}

/// Says that a value was ignored.
pub(crate) fn refuse(name: &str, text: &[u8], wanted: &str) {
    let text = core::str::from_utf8(text).unwrap_or("(not UTF-8)");
    say(format_args!("{name}={text} ignored: expected {wanted}"));
}

fn parse_number(text: &[u8]) -> Option<u64> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// A size as people write it: digits, then nothing, `B`, or one of `K`, `M`, `G` and `T`, with or
/// without `B` or `iB`, in any case; all of them count by 1024.
pub fn parse_bytes(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = usize::try_from(parse_number(&text[..digits])?).ok()?;
    let unit = text[digits..].trim_ascii();
    const UNITS: [([&[u8]; 3], u32); 5] = [
        ([b"", b"b", b"b"], 0),
        ([b"k", b"kb", b"kib"], 10),
        ([b"m", b"mb", b"mib"], 20),
        ([b"g", b"gb", b"gib"], 30),
        ([b"t", b"tb", b"tib"], 40),
    ];
    let is_unit = |names: &[&[u8]; 3]| names.iter().any(|name| unit.eq_ignore_ascii_case(name));
    let (_, shift) = UNITS.iter().find(|(names, _)| is_unit(names))?;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_bytes(b"65536"), Some(65536));
        assert_eq!(parse_bytes(b"512MiB"), Some(512 << 20));
        assert_eq!(parse_bytes(b"2GB"), Some(2 << 30));
        assert_eq!(parse_bytes(b"2 g"), Some(2 << 30));
        assert_eq!(parse_bytes(b"1kb"), Some(1024));
        for wrong in [&b""[..], b"GB", b"-1", b"1.5GB", b"2 pounds", b"99999999999999999999"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse_bytes(b"99999999999TiB"), None);
    }
}
