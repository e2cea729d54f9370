#!/usr/bin/env python3
"""Whether PyTorch's memory_viz page and its Python tools can open a memory snapshot.

usage: check_snapshot.py FILE; prints what is wrong and ends with 1, or a line of sums.

The page has an unpickler of its own: protocols 2 to 4, few opcodes, lists in batches, numbers as
JavaScript has them. Beyond that: mandatory fields, blocks that tile their segments, and events that
lead to the blocks that are live at the end.
"""
import pickle
import pickletools
import sys

OPCODES = set(
    "PROTO APPEND APPENDS LIST TUPLE NEWFALSE NEWTRUE NONE BINGET BININT BININT1 BININT2 EMPTY_DICT "
    "EMPTY_LIST FRAME LONG1 LONG_BINGET MARK MEMOIZE BINPUT LONG_BINPUT SETITEMS SETITEM DICT "
    "SHORT_BINUNICODE BINUNICODE STOP EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 BINFLOAT".split()
)
ACTIONS = set(
    "alloc free_requested free_completed free segment_alloc segment_free segment_map "
    "segment_unmap snapshot oom".split()
)
STATES = {"active_allocated", "active_pending_free", "inactive"}
SEGMENT_KEYS = set(
    "device address total_size stream blocks allocated_size active_size segment_type".split()
)


def check_opcodes(data):
    protocol = None
    for opcode, argument, position in pickletools.genops(data):
        name = opcode.name
        if name not in OPCODES:
            yield f"opcode {name} at byte {position}"
            return
        if name == "PROTO":
            protocol = argument
        elif name == "LONG1" and abs(argument) >= 2**53:
            yield f"the number {argument} at byte {position} loses precision"
    if protocol is None or not 2 <= protocol <= 4:
        yield f"protocol {protocol}"


def check_segment(segment):
    missing = SEGMENT_KEYS - set(segment)
    if missing:
        yield f"a segment lacks {missing}"
        return
    blocks = segment["blocks"]
    if sum(block["size"] for block in blocks) != segment["total_size"]:
        yield f"the blocks at {segment['address']:#x} do not tile their segment"
    live = sum(block["size"] for block in blocks if block["state"] == "active_allocated")
    if live != segment["allocated_size"]:
        yield f"allocated_size at {segment['address']:#x} is not the sum of its blocks"
    for block in blocks:
        if block["state"] not in STATES:
            yield f"a block is {block['state']}"
        if "frames" in block and "requested_size" not in block:
            yield "a block with frames lacks requested_size"


def check_events(events, live):
    for event in events:
        action = event["action"]
        if action not in ACTIONS:
            yield f"the action {action}"
        if not {"size", "stream", "time_us"} <= set(event):
            yield f"an event lacks one of size, stream, time_us: {event}"
        if ("device_free" if action == "oom" else "addr") not in event:
            yield f"an event lacks its address: {event}"
        for frame in event["frames"]:
            if not (isinstance(frame["name"], str) and isinstance(frame["filename"], str)):
                yield f"a frame has no name: {frame}"
        if action == "alloc":
            if event["addr"] in live:
                yield f"{event['addr']:#x} is allocated while it is live"
            live[event["addr"]] = event["size"]
        elif action == "free_completed":
            if live.pop(event["addr"], event["size"]) != event["size"]:
                yield f"{event['addr']:#x} is freed with another size"


def check(data):
    yield from check_opcodes(data)
    snapshot = pickle.loads(data)
    for segment in snapshot["segments"]:
        yield from check_segment(segment)
    for device, events in enumerate(snapshot["device_traces"]):
        live = {}
        yield from check_events(events, live)
        sizes = {
            block["address"]: block["requested_size"]
            for segment in snapshot["segments"]
            if segment["device"] == device
            for block in segment["blocks"]
            if block["state"] == "active_allocated"
        }
        for address, size in live.items():
            if sizes.get(address) != size:
                yield f"{address:#x} is live by the events, and no block of {size} bytes"


def main():
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    wrong = list(check(data))
    for line in wrong[:10]:
        print(line)
    snapshot = pickle.loads(data)
    events = sum(len(events) for events in snapshot["device_traces"])
    requested = sum(
        block["requested_size"]
        for segment in snapshot["segments"]
        for block in segment["blocks"]
        if block["state"] == "active_allocated"
    )
    print(f"{len(data)} bytes, {events} events, {len(snapshot['segments'])} segments, {requested} live")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
