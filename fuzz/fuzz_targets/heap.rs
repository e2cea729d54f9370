//! Heaps of one arena with remote frees, misuse and refusals; the first byte is the configuration.
#![no_main]

use genesis_mem_tests::{
    config::{Dirty, Large, Small},
    heaps::Heaps,
    ops::Op,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((configuration, program)) = bytes.split_first() else { return };
    let program = Op::program(program);
    match configuration % 3 {
        0 => Heaps::<Small>::new().run(program),
        1 => Heaps::<Dirty>::new().run(program),
        _ => Heaps::<Large>::new().run(program),
    }
});
