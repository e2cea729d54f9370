//! The buddy and the span pool; the first two bytes are the capacity, granules.
#![no_main]

use genesis_mem_tests::{buddies, ops::Op};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((capacity, program)) = bytes.split_first_chunk() else { return };
    buddies::run(1 + u32::from(u16::from_le_bytes(*capacity) % 2048), Op::program(program));
});
