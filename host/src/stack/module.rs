//! Programs and libraries in memory, and what they say about their frames.

use core::slice;

use gimli::{BaseAddresses, EhFrameOffset, NativeEndian, UnwindContext, UnwindSection};

use super::{
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

impl Module {
    /// No address.
    pub(super) const NONE: Self = Self { start: 0, bytes: 0, header: 0, salt: 0 };

    /// The module that an address is in.
    pub(super) fn of(address: usize) -> Option<Self> {
        let mut found = machine::Object::default();
        // SAFETY: reads no memory but the dynamic linker's, writes `found`.
        let is_found =
            unsafe { machine::find_object()?(address as *const libc::c_void, &mut found) == 0 };
        let bytes = found.map_end.wrapping_sub(found.map_start);
        is_found.then_some(())?;
        let mut module =
            Self { start: found.map_start, bytes, header: found.eh_frame_hdr, salt: 0 };
        let mut salt = mix(module.start as u64, bytes as u64);
        salt = mix(salt, module.header as u64);
        if let Some(header) = module.header() {
            salt = mix(salt, u64::from(header.entries) << 32 | u64::from(header.frames as u32));
        }
        module.salt = salt;
        Some(module)
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
        let section = Section::new(section, NativeEndian);
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

/// Whether the instruction before `address` is a call, as it is before each return address.
pub(super) fn follows_call(address: usize) -> bool {
    const BYTES: usize = 8;
    let Some(start) = address.checked_sub(BYTES) else { return false };
    if !machine::is_readable(start) {
        return false;
    }
    // SAFETY: the bytes were readable just now, and are in use if the address is one of code.
    let code = unsafe { (start as *const [u8; BYTES]).read_unaligned() };
    is_call(&code)
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
