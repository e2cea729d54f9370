//! A pooled buffer in cudarc's own calls: copies, memset, and as the argument of a kernel.
use std::{error::Error, sync::Arc};

use cudarc::driver::{CudaModule, LaunchConfig, PushKernelArg};
use genesis_mem_cuda::{DeviceAllocator, DeviceBuffer};

/// `data[i] *= 2` for `i < n`, as PTX that every GPU since 2014 can run.
const DOUBLE: &str = r"
.version 6.0
.target sm_50
.address_size 64
.visible .entry twice(.param .u64 data, .param .u32 n) {
    .reg .pred %p; .reg .b32 %r<6>; .reg .b64 %d<4>; .reg .f32 %f<3>;
    ld.param.u64 %d1, [data]; ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p, %r5, %r1; @%p bra done;
    cvta.to.global.u64 %d1, %d1; mul.wide.u32 %d2, %r5, 4; add.u64 %d3, %d1, %d2;
    ld.global.f32 %f1, [%d3]; add.f32 %f2, %f1, %f1; st.global.f32 [%d3], %f2;
done: ret;
}
";

fn main() -> Result<(), Box<dyn Error>> {
    let allocator = match DeviceAllocator::new(0) {
        Ok(allocator) => allocator,
        Err(error) => {
            println!("skipped: {error}");
            return Ok(());
        }
    };
    let context = Arc::clone(allocator.driver().context());
    let stream = context.new_stream()?;
    let numbers: Vec<f32> = (0..1000).map(|i| i as f32).collect();

    let mut buffer = DeviceBuffer::<f32>::new(&allocator, numbers.len(), &stream)?;
    stream.memcpy_htod(&numbers, &mut buffer)?;

    let module: Arc<CudaModule> = context.load_module(DOUBLE.into())?;
    let kernel = module.load_function("twice")?;
    let n = numbers.len() as u32;
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&mut buffer).arg(&n);
    // SAFETY: the kernel writes `n` floats at the buffer's address, which holds as many.
    unsafe { launch.launch(LaunchConfig::for_num_elems(n)) }?;

    let mut doubled = vec![0.0; numbers.len()];
    stream.memcpy_dtoh(&buffer, &mut doubled)?;
    stream.synchronize()?;
    assert!(numbers.iter().zip(&doubled).all(|(one, two)| one * 2.0 == *two));
    println!("{} numbers doubled; reserved {} bytes", n, allocator.reserved_bytes());
    Ok(())
}
