//! A slab over bits; the first two bytes are how many blocks it has.
#![no_main]

use genesis_mem_tests::{ops::Op, slabs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((blocks, program)) = bytes.split_first_chunk() else { return };
    slabs::run(1 + u32::from(u16::from_le_bytes(*blocks) % 4096), Op::program(program));
});
