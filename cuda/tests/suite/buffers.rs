//! Buffers in cudarc's own calls.

use std::sync::Arc;

use cudarc::driver::{
    CudaStream,
    sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};
use genesis_mem_cuda::{
    DeviceAllocator, DeviceBuffer,
    cudarc::CudarcDriver,
    driver::{Driver, DriverError},
};

use super::{Device, finish};

pub(crate) const GRANULES: u64 = 64;

type Buffer = DeviceBuffer<u32, CudarcDriver>;

fn new<D: Device<Driver = CudarcDriver>>(
    device: &D,
    len: usize,
    stream: &Arc<CudaStream>,
) -> Buffer {
    let buffer = Buffer::new(device.allocator(), len, stream);
    buffer.unwrap_or_else(|error| panic!("{error}"))
}

fn write(buffer: &mut Buffer, stream: &Arc<CudaStream>, value: u32) {
    stream.memcpy_htod(&[value].repeat(buffer.len()), buffer).expect("the device copies");
}

fn holds(buffer: &Buffer, stream: &Arc<CudaStream>, value: u32) -> bool {
    let mut host = [!value].repeat(buffer.len());
    stream.memcpy_dtoh(buffer, &mut host).expect("the device copies");
    stream.synchronize().expect("the device answers");
    host == [value].repeat(buffer.len())
}

fn streams<D: Device<Driver = CudarcDriver>>(device: &D) -> [Arc<CudaStream>; 2] {
    let context = device.allocator().driver().context();
    [(); 2].map(|()| context.new_stream().expect("the device answers"))
}

pub(crate) fn copies_and_zeroes_go_where_they_should<D: Device<Driver = CudarcDriver>>(device: D) {
    let [stream, _] = streams(&device);
    // Memory that is used for the second time, so that it is not zero already.
    for value in [7, 9] {
        let mut a = new(&device, 1000, &stream);
        let mut b = new(&device, device.granules(20) as usize / 4 - 77, &stream);
        let c = Buffer::zeroed(device.allocator(), 500, &stream).expect("there is memory for it");
        write(&mut a, &stream, value);
        write(&mut b, &stream, value + 1);
        assert!(holds(&a, &stream, value) && holds(&b, &stream, value + 1));
        assert!(holds(&c, &stream, 0));
        let mut c = c;
        write(&mut c, &stream, value + 2);
    }
    drop(stream);
    finish(device);
}

pub(crate) fn a_buffer_follows_its_uses<D: Device<Driver = CudarcDriver>>(device: D) {
    let streams = streams(&device);
    let len = device.granules(20) as usize / 4;
    let mut kept = new(&device, len, &streams[0]);
    write(&mut kept, &streams[0], 5);
    for round in 0..6 {
        let (one, two) = (&streams[round % 2], &streams[(round + 1) % 2]);
        let mut buffer = new(&device, len, one);
        // Written on the other stream than it was allocated for.
        write(&mut buffer, two, round as u32);
        assert!(holds(&buffer, one, round as u32));
        write(&mut buffer, two, 99);
        drop(buffer);
        let mut next = new(&device, len, one);
        write(&mut next, one, 100);
        two.synchronize().expect("the device answers");
        assert!(holds(&next, one, 100), "round {round}");
    }
    assert!(holds(&kept, &streams[0], 5));
    drop((kept, streams));
    finish(device);
}

/// A graph that copies `input` to `output` by way of a scratch buffer which is freed within it.
/// Between its launches the ordinary pool is worn out and emptied.
pub(crate) fn a_graph_is_launched_from_memory_of_its_own<D: Device<Driver = CudarcDriver>>(
    device: D,
) {
    let allocator = device.allocator();
    let [stream, other] = streams(&device);
    let len = device.granules(3) as usize / 4;
    let (mut input, mut output) = (new(&device, len, &stream), new(&device, len, &stream));
    write(&mut input, &stream, 1);
    stream.synchronize().expect("the device answers");

    let pool = allocator.create_pool();
    let capture = allocator.capture(allocator.driver().stream_id(&stream), pool);
    let capture = capture.expect("the device answers");
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
    stream.begin_capture(mode).expect("the device captures");
    for _ in 0..4 {
        // The first needs new memory, which a capture would otherwise forbid.
        let mut scratch = new(&device, len, &stream);
        stream.memcpy_dtod(&input, &mut scratch).expect("a copy is captured");
        stream.memcpy_dtod(&scratch, &mut output).expect("a copy is captured");
    }
    // Another stream goes on meanwhile.
    let beside = new(&device, len, &other);
    drop(beside);
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).expect("the device captures").expect("there is work");
    drop(capture);

    for value in 10..16 {
        write(&mut input, &stream, value);
        let mut worn = new(&device, device.granules(40) as usize / 4, &stream);
        write(&mut worn, &stream, 99);
        drop(worn);
        allocator.empty_cache().expect("the device answers");
        graph.launch().expect("the graph is whole");
        assert!(holds(&output, &stream, value), "launch with {value}");
    }
    drop((graph, input, output));
    allocator.drop_pool(pool).expect("the device answers");
    drop((stream, other));
    finish(device);
}

pub(crate) fn too_many_devices_is_an_error<D: Device<Driver = CudarcDriver>>(device: D) {
    let error = DeviceAllocator::<CudarcDriver>::new(4096).expect_err("nobody has that many");
    assert_eq!(error, DriverError::NoDevice { ordinal: 4096 });
    finish(device);
}
