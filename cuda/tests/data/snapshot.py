#!/usr/bin/env python3
"""Writes snapshot.pickle and snapshot_protocol2.pickle: a memory snapshot as torch 2.x dumps it
with torch.cuda.memory._dump_snapshot, small, but with all that a reader must know: two devices,
call stacks shared among events, blocks from before the recording, a block that another stream
used, a free that is not completed yet, an allocation that failed, and settings of many types.
"""

import pathlib
import pickle

BASE = 0x7F12_0000_0000
FRAMES = [
    {"filename": "/train.py", "line": n, "name": name}
    for n, name in enumerate(["<module>", "step", "forward", "size", "alloc"])
]
STACKS = [[FRAMES[4], FRAMES[1], FRAMES[0]], [FRAMES[2], FRAMES[1], FRAMES[0]]]


def event(action, offset, size, stream=0, **more):
    event.count += 1
    return {
        "action": action,
        "addr": BASE + offset,
        "size": size,
        "stream": stream,
        "time_us": 1_760_000_000_000_000 + event.count,
        "compile_context": "N/A",
        "user_metadata": "",
        "segment_pool_id": (0, 0),
        "frames": STACKS[event.count % 2],
        **more,
    }


event.count = 0


def freed(offset, size, stream=0):
    return [event("free_requested", offset, size, stream), event("free_completed", offset, size, stream)]


def block(offset, size, requested, state):
    return {"address": BASE + offset, "size": size, "requested_size": requested, "state": state, "frames": STACKS[0]}


def segment(device, offset, stream, blocks):
    size = sum(block["size"] for block in blocks)
    active = sum(block["size"] for block in blocks if block["state"] != "inactive")
    return {
        "device": device,
        "address": BASE + offset,
        "total_size": size,
        "allocated_size": active,
        "active_size": active,
        "requested_size": sum(block["requested_size"] for block in blocks),
        "stream": stream,
        "segment_type": "large",
        "segment_pool_id": (0, 0),
        "is_expandable": False,
        "frames": STACKS[1],
        "blocks": blocks,
    }


SIDE = 0x5581_2345_6780
FIRST = [
    *freed(0, 3000),  # from before the recording
    event("free_completed", 4096, 100),  # the same, requested before it
    event("segment_alloc", 0x200_0000, 20 << 20),
    event("alloc", 0x200_0000, 1_000_000),
    event("alloc", 0x210_0000, 2_000_000),
    event("alloc", 0x400_0000, 500, SIDE),
    *freed(0x200_0000, 1_000_000),
    event("alloc", 0x200_0000, 900_000),
    event("free_requested", 0x210_0000, 2_000_000),  # a side stream used it
    event("alloc", 0x230_0000, 4_000_000),
    event("free_completed", 0x210_0000, 2_000_000),
    event("oom", 0, 100 << 30, device_free=1 << 30),
    event("snapshot", 0, 0),
    event("free_requested", 0x400_0000, 500, SIDE),  # not completed at the end
]
SECOND = [event("alloc", 0x900_0000, 7_000_000), *freed(0x900_0000, 7_000_000)]
SEGMENTS = [
    segment(0, 0, 0, [block(0, 8192, 0, "inactive"), block(8192, 2 << 20, 2_000_001, "active_allocated")]),
    segment(
        0,
        0x200_0000,
        0,
        [
            block(0x200_0000, 0x10_0000, 900_000, "active_allocated"),
            block(0x210_0000, 0x20_0000, 0, "inactive"),
            block(0x230_0000, 0x110_0000, 4_000_000, "active_allocated"),
        ],
    ),
    segment(0, 0x400_0000, SIDE, [block(0x400_0000, 512, 500, "active_pending_free")]),
    segment(1, 0x900_0000, 0, [block(0x900_0000, 8 << 20, 0, "inactive")]),
]
SNAPSHOT = {
    "segments": SEGMENTS,
    "device_traces": [FIRST, SECOND, []],
    "allocator_settings": {
        "PYTORCH_CUDA_ALLOC_CONF": "",
        "max_split_size": -1,
        "garbage_collection_threshold": 0.0,
        "expandable_segments": False,
        "most": 2**64 - 1,
        "roundup_power2_divisions": {"1": 0, "2": 0},
        "last_allocator_settings": None,
    },
    "external_annotations": [],
}

here = pathlib.Path(__file__).parent
for name, protocol in [("snapshot.pickle", 4), ("snapshot_protocol2.pickle", 2)]:
    (here / name).write_bytes(pickle.dumps(SNAPSHOT, protocol))
