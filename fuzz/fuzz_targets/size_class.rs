//! The size classes of the host and of the device, one request an operation.
#![no_main]

use genesis_mem_tests::{classes, ops::Op};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| Op::program(bytes).for_each(classes::check));
