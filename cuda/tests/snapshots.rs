//! Memory snapshots of PyTorch; `data/snapshot.py` says what is in the bundled ones.
use std::{fs, path::PathBuf};

use genesis_mem_cuda::{
    driver::StreamId,
    replay::{Event, Position, Replay, ReplayOptions, Trace, TraceError},
};

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data", name].iter().collect()
}

/// Where `bytes` are broken, and the words for it.
fn broken(bytes: &[u8]) -> (Position, String) {
    match Trace::read_from("t", bytes) {
        Err(TraceError::Broken { position, reason, .. }) => (position, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_is_a_trace_for_each_device() {
    for name in ["snapshot.pickle", "snapshot_protocol2.pickle"] {
        let traces = Trace::read_all(&file(name)).unwrap();
        let names: Vec<_> = traces.iter().map(|trace| &trace.name[..]).collect();
        let stem = name.trim_end_matches(".pickle");
        assert_eq!(names, [format!("{stem}.cuda0"), format!("{stem}.cuda1")]);
        let [first, second] = &traces[..] else { panic!("two devices have events") };
        assert_eq!((second.allocations, second.frees, second.peak_live_bytes), (1, 1, 7_000_000));
        assert_eq!((first.allocations, first.frees), (6, 3));
        assert_eq!((first.earlier_blocks, first.skipped_frees, first.skipped_bytes), (1, 2, 3100));
    }
}

#[test]
fn a_block_is_freed_where_that_was_requested() {
    let trace = Trace::read(&file("snapshot.pickle")).unwrap();
    let (main, side, other) = (StreamId(0), StreamId(0x5581_2345_6780), StreamId(u64::MAX));
    let alloc = |bytes, stream| Event::Alloc { bytes, stream };
    let expected = [
        // From before the recording, by its requested size.
        alloc(2_000_001, main),
        alloc(1_000_000, main),
        alloc(2_000_000, main),
        alloc(500, side),
        Event::Free { block: 1 },
        alloc(900_000, main),
        Event::Record { block: 2, stream: other },
        Event::Free { block: 2 },
        alloc(4_000_000, main),
        Event::Record { block: 3, stream: other },
        Event::Free { block: 3 },
    ];
    assert_eq!(trace.events, expected);
    assert_eq!(trace.peak_live_bytes, 2_000_001 + 900_000 + 4_000_000 + 500);
    assert_eq!(trace.streams, [main, side, other]);
    let report = Replay::new(&trace, ReplayOptions::default()).run(|_| ()).unwrap();
    assert_eq!((report.allocations, report.frees, report.out_of_memory), (6, 3, false));
}

#[test]
fn a_truncated_snapshot_is_reported_wherever_it_ends() {
    let bytes = fs::read(file("snapshot.pickle")).unwrap();
    for end in 1..bytes.len() {
        let (position, reason) = broken(&bytes[..end]);
        let Position::Byte(byte) = position else { panic!("{position:?}") };
        assert!(byte <= end as u64 && reason.contains("truncated"), "{end}: {byte}: {reason}");
    }
    let packed = zstd::encode_all(&bytes[..], 3).unwrap();
    assert_eq!(Trace::read_from("t", &packed[..]).unwrap().len(), 2);
    assert!(broken(&packed[..packed.len() - 9]).1.contains("truncated"));
}

#[test]
fn a_damaged_snapshot_never_panics() {
    let bytes = fs::read(file("snapshot.pickle")).unwrap();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            refused += usize::from(Trace::read_from("t", &damaged[..]).is_err());
        }
    }
    // Most bytes are of texts and numbers that nothing depends on.
    assert!(refused > bytes.len() / 4, "{refused} of {}", bytes.len());
}

/// A pickle of protocol 2: one device with these events.
fn snapshot(events: &[(&str, Option<u32>, u32)]) -> Vec<u8> {
    let mut out = vec![0x80, 2, b'}'];
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let number = |out: &mut Vec<u8>, number: u32| {
        out.push(b'J');
        out.extend(number.to_le_bytes());
    };
    text(&mut out, "device_traces");
    out.extend(b"](]");
    for &(action, address, size) in events {
        out.push(b'}');
        text(&mut out, "action");
        text(&mut out, action);
        out.push(b's');
        if let Some(address) = address {
            text(&mut out, "addr");
            number(&mut out, address);
            out.push(b's');
        }
        text(&mut out, "size");
        number(&mut out, size);
        out.extend(b"sa");
    }
    out.extend(b"es.");
    out
}

#[test]
fn a_wrong_event_is_named() {
    let at = |event| Position::Event { device: 0, event };
    let good = [("alloc", Some(512), 8), ("free_requested", Some(512), 8)];
    assert_eq!(Trace::read_from("t", &snapshot(&good)[..]).unwrap()[0].frees, 1);
    let twice = [("alloc", Some(512), 8), ("oom", None, 1), ("alloc", Some(512), 8)];
    assert_eq!(broken(&snapshot(&twice)).0, at(2));
    let nowhere = [("alloc", Some(512), 8), ("alloc", None, 8)];
    assert_eq!(broken(&snapshot(&nowhere)), (at(1), "the event has no address".into()));
    let negative = [("alloc", Some(512), u32::MAX)];
    assert_eq!(broken(&snapshot(&negative)), (at(0), "the event has no size".into()));
    assert!(broken(&snapshot(&[])).1.contains("_record_memory_history"));
    assert!(broken(b"\x80\x02}.").1.contains("no memory snapshot"));
    assert_eq!(broken(b"\x80\x02}Z.").0, Position::Byte(3));
}
