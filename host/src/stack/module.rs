//! Programs and libraries in memory, and what they say about their frames.

use core::{
    ops::Range,
    slice,
    sync::atomic::{
        AtomicBool, AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use gimli::{BaseAddresses, EhFrameOffset, NativeEndian, UnwindContext, UnwindSection};

use super::{
    image::{self, Image},
    machine,
    rule::{Rule, Section, Storage},
};

/// The addresses of a program or a library.
#[derive(Clone, Copy, Debug)]
pub(super) struct Module {
    start: usize,
    bytes: usize,
    /// The address of `.eh_frame_hdr`; zero where there is none.
    header: usize,
    /// Another number for another module that is loaded at the same addresses later.
    pub(super) salt: u64,
    /// Whether it stays as long as this code can run.
    pub(super) is_lasting: bool,
}

/// The head of `.eh_frame_hdr`, in the only encoding that linkers use.
#[repr(C)]
struct Header {
    encoding: [u8; 4],
    /// From this field to `.eh_frame`.
    frames: i32,
    entries: u32,
}

/// Both from the header: where a function starts, and where its description is.
#[repr(C)]
struct Entry {
    function: i32,
    description: i32,
}

/// Modules that stay as long as this code can run, so that nobody need look for them in each walk:
/// the program, this one, and the C library.
static LASTING: [Lasting; 3] = [const { Lasting::NONE }; 3];

#[derive(Debug)]
struct Lasting {
    start: AtomicUsize,
    bytes: AtomicUsize,
    header: AtomicUsize,
    /// Zero while the others are not known.
    salt: AtomicU64,
}

impl Lasting {
    #[expect(clippy::declare_interior_mutable_const, reason = "initialises the array")]
    const NONE: Self = Self {
        start: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        header: AtomicUsize::new(0),
        salt: AtomicU64::new(0),
    };

    fn set(&self, module: &Module) {
        self.start.store(module.start, Relaxed);
        self.bytes.store(module.bytes, Relaxed);
        self.header.store(module.header, Relaxed);
        // Release pairs with the Acquire in `get`.
        self.salt.store(module.salt, Release);
    }

    fn get(&self) -> Option<Module> {
        let salt = self.salt.load(Acquire);
        let [start, bytes, header] =
            [&self.start, &self.bytes, &self.header].map(|part| part.load(Relaxed));
        (salt != 0).then_some(Module { start, bytes, header, salt, is_lasting: true })
    }
}

/// Looks for the modules that stay, once.
pub(super) fn look_for_lasting() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if IS_DONE.swap(true, Relaxed) {
        return;
    }
    for (lasting, address) in LASTING.iter().zip(machine::lasting_code()) {
        if let Some(module) = Module::search(address) {
            lasting.set(&module);
        }
    }
}

impl Module {
    /// No address.
    pub(super) const NONE: Self =
        Self { start: 0, bytes: 0, header: 0, salt: 0, is_lasting: false };

    /// The module that an address is in.
    pub(super) fn of(address: usize) -> Option<Self> {
        let mut lasting = LASTING.iter().filter_map(Lasting::get);
        lasting.find(|module| module.contains(address)).or_else(|| Self::search(address))
    }

    fn search(address: usize) -> Option<Self> {
        let Some(find) = machine::find_object() else {
            return Self::own().filter(|module| module.contains(address));
        };
        let mut found = machine::Object::default();
        // SAFETY: reads no memory but the dynamic linker's, writes `found`.
        let is_found = unsafe { find(address as *const libc::c_void, &mut found) == 0 };
        is_found.then(|| Self::new(found.map_start..found.map_end, found.eh_frame_hdr))
    }

    /// The module that this code is in, which is all there is of a program without libraries.
    fn own() -> Option<Self> {
        // SAFETY: this module stays as long as its code runs.
        let image = unsafe { Image::at(machine::image_start())? };
        Some(Self::new(image.addresses(), image.tables().unwrap_or(0)))
    }

    fn new(addresses: Range<usize>, header: usize) -> Self {
        let Range { start, end } = addresses;
        let bytes = end.saturating_sub(start);
        let mut module = Self { start, bytes, header, ..Self::NONE };
        let tables = module
            .header()
            .map_or(0, |header| u64::from(header.entries) << 32 | u64::from(header.frames as u32));
        // SAFETY: the module is loaded: one of its functions is running.
        let build = unsafe { image::build_id(start) }.unwrap_or(0);
        let parts = [start as u64, module.bytes as u64, header as u64, tables, build];
        module.salt = parts.into_iter().fold(0, mix);
        module
    }

    /// Whether an address is in it.
    #[inline(always)]
    pub(super) fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.start) < self.bytes
    }

    /// The rule of the instruction at `address`.
    pub(super) fn rule(&self, address: usize) -> Rule {
        self.look_up(address).unwrap_or(Rule::FRAME_POINTER)
    }

    fn look_up(&self, address: usize) -> Option<Rule> {
        let section_start = (self.header + 4).checked_add_signed(self.header()?.frames as isize)?;
        let description = self.description(address)?;
        // SAFETY: the description is in the module, and starts with its length.
        let bytes = unsafe { (description as *const u32).read_unaligned() } as usize;
        let end = description.checked_add(4)?.checked_add(bytes)?;
        if section_start > description || !self.contains(section_start) || !self.contains(end - 1) {
            return None;
        }
        // SAFETY: the section is in the module, which is loaded: one of its functions is running.
        let section =
            unsafe { slice::from_raw_parts(section_start as *const u8, end - section_start) };
        let mut section = Section::new(section, NativeEndian);
        if cfg!(target_arch = "aarch64") {
            // For the instruction that says that return addresses are signed.
            section.set_vendor(gimli::Vendor::AArch64);
        }
        let bases = BaseAddresses::default().set_eh_frame(section_start as u64);
        let offset = EhFrameOffset(description - section_start);
        let description = section.fde_from_offset(&bases, offset, Section::cie_from_offset).ok()?;
        if !description.contains(address as u64) {
            return None;
        }
        let mut context = UnwindContext::<usize, Storage>::new_in();
        let row = description
            .unwind_info_for_address(&section, &bases, &mut context, address as u64)
            .ok()?;
        Some(Rule::from_row(row, &section, address, description.is_signal_trampoline()))
    }

    /// The address of the description of the function that `address` may be in.
    fn description(&self, address: usize) -> Option<usize> {
        let entries = self.header()?.entries as usize;
        let table = self.header + size_of::<Header>();
        let end = table.checked_add(entries.checked_mul(size_of::<Entry>())?)?;
        if entries == 0 || !self.contains(end - 1) {
            return None;
        }
        // SAFETY: the table is in the module, of integers, and aligned as the header is.
        let table = unsafe { slice::from_raw_parts(table as *const Entry, entries) };
        let function = |entry: &Entry| self.header.wrapping_add_signed(entry.function as isize);
        let index = table.partition_point(|entry| function(entry) <= address).checked_sub(1)?;
        let description = self.header.wrapping_add_signed(table[index].description as isize);
        (self.contains(description) && self.contains(description + 3)).then_some(description)
    }

    fn header(&self) -> Option<&Header> {
        let end = self.header.checked_add(size_of::<Header>())?;
        if !self.contains(self.header) || !self.contains(end - 1) || !self.header.is_multiple_of(4)
        {
            return None;
        }
        // SAFETY: the header is in the module, of integers, and aligned.
        let header = unsafe { &*(self.header as *const Header) };
        // Version 1; from itself, four bytes; four bytes; from the header, four bytes.
        (header.encoding == [1, 0x1b, 0x03, 0x3b]).then_some(header)
    }
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// The eight bytes from `address`, if they can be read.
fn code(address: usize) -> Option<[u8; 8]> {
    if !machine::is_readable(address) {
        return None;
    }
    // SAFETY: the bytes were readable just now, and are in use if the address is one of code.
    Some(unsafe { (address as *const [u8; 8]).read_unaligned() })
}

/// Whether the instruction before `address` is a call, as it is before each return address.
pub(super) fn follows_call(address: usize) -> bool {
    address.checked_sub(8).and_then(code).is_some_and(|code| is_call(&code))
}

/// The rule of the code at `address` if that is what signal handlers return to, which has no tables
/// there: number 139 into the register for system calls, and one.
#[cfg(target_arch = "aarch64")]
pub(super) fn signal_return(address: usize) -> Option<Rule> {
    let is_it = code(address)? == [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];
    is_it.then_some(Rule::SIGNAL_RETURN)
}

/// The rule of what signal handlers return to, where it has no tables.
#[cfg(target_arch = "x86_64")]
pub(super) fn signal_return(_: usize) -> Option<Rule> {
    None
}

/// Whether the bytes end with a call: relative, or of one of the lengths that an indirect one has.
#[cfg(target_arch = "x86_64")]
fn is_call(code: &[u8; 8]) -> bool {
    let indirect = |length: usize| code[8 - length] == 0xff && code[9 - length] >> 3 & 7 == 2;
    code[3] == 0xe8 || (2..=7).any(indirect)
}

/// Whether the last instruction is a branch with link: to a place, to a register, or to one that is
/// authenticated.
#[cfg(target_arch = "aarch64")]
fn is_call(code: &[u8; 8]) -> bool {
    let [_, _, _, _, a, b, c, d] = *code;
    let instruction = u32::from_le_bytes([a, b, c, d]);
    instruction >> 26 == 0b10_0101
        || instruction & 0xffff_fc1f == 0xd63f_0000
        || instruction & 0xfeff_f800 == 0xd63f_0800
}

#[cfg(all(test, feature = "std", target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_from_other_code() {
        assert!(is_call(&[0x90, 0x90, 0x90, 0xe8, 1, 2, 3, 4]), "call 0x4030201");
        assert!(is_call(&[0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0]), "call rax");
        assert!(is_call(&[0x90, 0x90, 0xff, 0x15, 1, 2, 3, 4]), "call [rip + 0x4030201]");
        assert!(is_call(&[0x90, 0x90, 0x90, 0x90, 0xff, 0x54, 0x24, 8]), "call [rsp + 8]");
        assert!(!is_call(&[0x90, 0x90, 0x90, 0xe9, 1, 2, 3, 4]), "jmp 0x4030201");
        assert!(!is_call(&[0; 8]));
        assert!(!is_call(&[0xff; 8]));
    }

    #[test]
    fn what_cannot_be_read_follows_no_call() {
        for address in [0, 1, 7, 4096, usize::MAX] {
            assert!(!follows_call(address));
        }
    }
}
