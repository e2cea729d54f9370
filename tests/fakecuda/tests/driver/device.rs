//! The device and its context, as cudarc's own types see them.

use std::{ptr, thread};

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg, sys::CUresult};
use fakecuda::client::Fake;

use crate::{OK, call, start};

const PTX: &str = ".visible .entry increment(.param .u64 data, .param .u32 n) { ret; }
.visible .entry unheard_of() { ret; }";

#[test]
fn there_is_one_device_and_calls_need_its_context() {
    let _fake = start();
    let (mut count, mut device, mut at) = (0, 7, 0);
    assert_eq!(call!(cuDeviceGetCount(&mut count)), OK);
    assert_eq!((count, call!(cuDeviceGet(&mut device, 1))), (1, Err(101)));
    thread::scope(|scope| {
        let other = scope.spawn(|| call!(cuMemAlloc_v2(&mut at, 4096)));
        assert_eq!(other.join().unwrap(), Err(201), "no context is current on that thread");
    });
    assert_eq!(call!(cuDevicePrimaryCtxRelease_v2(0)), OK);
    assert_eq!(call!(cuMemAlloc_v2(&mut at, 4096)), Err(709), "nobody holds the context");
    assert_eq!(call!(cuCtxSetCurrent(ptr::null_mut())), OK);
}

#[test]
fn cudarc_allocates_copies_and_launches() {
    let fake = Fake::load();
    let context = CudaContext::new(0).unwrap();
    let stream = context.new_stream().unwrap();
    assert_eq!(context.compute_capability(), Ok((8, 0)));
    assert!(context.name().unwrap().starts_with("Fake CUDA"));
    let numbers: Vec<u32> = (0..5000).collect();
    let mut slice = stream.clone_htod(&numbers).unwrap();
    let copy = stream.clone_dtod(&slice).unwrap();
    let module = context.load_module(PTX.into()).unwrap();
    assert_eq!(module.load_function("missing").unwrap_err().0, CUresult::CUDA_ERROR_NOT_FOUND);
    let unknown = module.load_function("unheard_of").unwrap_err();
    assert_eq!(unknown.0, CUresult::CUDA_ERROR_NOT_SUPPORTED);
    let kernel = module.load_function("increment").unwrap();
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&mut slice).arg(&4000u32);
    // SAFETY: the slice holds more numbers than that.
    unsafe { launch.launch(LaunchConfig::for_num_elems(4000)) }.unwrap();
    let expected: Vec<_> = (0..5000).map(|i| if i < 4000 { i + 1 } else { i }).collect();
    assert_eq!(stream.clone_dtoh(&slice).unwrap(), expected);
    assert_eq!(stream.clone_dtoh(&copy).unwrap(), numbers);
    assert!(fake.live().bytes > 0);
    drop((slice, copy, kernel, module));
    stream.synchronize().unwrap();
    drop((stream, context));
    assert_eq!(fake.live(), Default::default());
}

#[test]
fn settings_faults_and_counts_are_per_test() {
    let fake = start();
    fake.set("FAKECUDA_TOTAL_MB", 8);
    fake.fail("cuMemGetInfo_v2", 1, 999);
    let (mut free, mut total) = (0, 0);
    let mut ask = || call!(cuMemGetInfo_v2(&mut free, &mut total));
    assert_eq!([ask(), ask(), ask()], [OK, Err(999), OK]);
    assert_eq!(fake.count("cuMemGetInfo_v2"), 3);
    fake.take_memory(1 << 20);
    assert_eq!(ask(), OK);
    assert_eq!((free, total), (7 << 20, 8 << 20));
    drop(fake);
    let fake = start();
    assert_eq!(call!(cuMemGetInfo_v2(&mut free, &mut total)), OK);
    assert_eq!((free, total, fake.count("cuMemGetInfo_v2")), (1 << 30, 1 << 30, 1));
}

#[test]
fn a_fatal_fault_stays() {
    let fake = start();
    fake.fail("", 2, 719);
    let mut at = 0;
    let mut alloc = || call!(cuMemAlloc_v2(&mut at, 4096));
    assert_eq!([alloc(), alloc(), alloc(), alloc()], [OK, OK, Err(719), Err(719)]);
    assert_eq!(call!(cuCtxSynchronize()), Err(719));
}
