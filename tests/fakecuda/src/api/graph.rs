//! Capture of streams, and graphs.

use std::ffi::{c_int, c_ulonglong};

use crate::{
    call::functions,
    capture::{self, Capture, Mode},
    code::{Answer, NOT_SUPPORTED},
    device::device,
    raw::Out,
};

/// The driver's word for where a stream stands, and the capture's number.
fn status(stream: u64) -> Answer<(c_int, u64)> {
    Ok(match device().stream(stream)?.capture() {
        None => (0, 0),
        Some(capture) if capture.is_invalid() => (2, capture.id),
        Some(capture) => (1, capture.id),
    })
}

fn info(stream: u64, to: Out<c_int>, id: Out<u64>, others: [Out<u64>; 4]) -> Answer {
    // Nodes have no handles here.
    if others.iter().any(|other| other.is_wanted()) {
        return Err(NOT_SUPPORTED);
    }
    let (status, number) = status(stream)?;
    id.set_if_any(number);
    to.set(status)
}

functions! {
    Context: cuStreamBeginCapture_v2(stream: u64, mode: c_int) {
        Capture::begin(device(), &device().stream(stream)?, Mode::from_number(mode)?)
    }

    Context: cuStreamEndCapture(stream: u64, graph: Out<u64>) {
        graph.set(0)?;
        let captured = Capture::end(device(), &device().stream(stream)?)?;
        graph.set(device().graphs.insert(captured))
    }

    Context: cuStreamIsCapturing(stream: u64, to: Out<c_int>) {
        to.set(status(stream)?.0)
    }

    Context: cuStreamGetCaptureInfo_v2(
        stream: u64, to: Out<c_int>, id: Out<u64>, graph: Out<u64>, nodes: Out<u64>,
        count: Out<u64>,
    ) {
        info(stream, to, id, [graph, nodes, count, count])
    }

    Context: cuStreamGetCaptureInfo_v3(
        stream: u64, to: Out<c_int>, id: Out<u64>, graph: Out<u64>, nodes: Out<u64>,
        edges: Out<u64>, count: Out<u64>,
    ) {
        info(stream, to, id, [graph, nodes, edges, count])
    }

    Nothing: cuThreadExchangeStreamCaptureMode(mode: Out<c_int>) {
        let wanted = Mode::from_number(mode.replace(0)?)?;
        mode.set(capture::exchange_thread_mode(wanted) as c_int)
    }

    Context: cuGraphInstantiateWithFlags(instance: Out<u64>, graph: u64, _flags: c_ulonglong) {
        let captured = device().graphs.get(graph)?;
        instance.set(device().graphs.insert((*captured).clone()))
    }

    Context: cuGraphUpload(instance: u64, stream: u64) {
        device().stream(stream)?;
        device().graphs.get(instance).map(drop)
    }

    Context: cuGraphLaunch(instance: u64, stream: u64) {
        device().graphs.get(instance)?.launch(device(), &device().stream(stream)?)
    }

    Context: cuGraphExecDestroy(instance: u64) {
        device().graphs.remove(instance).map(drop)
    }

    Context: cuGraphDestroy(graph: u64) {
        device().graphs.remove(graph).map(drop)
    }
}
