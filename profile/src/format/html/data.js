// The recording as the page holds it: columns of numbers, a memory at a time.

async function readData(base64) {
  const packed = new Blob([bytesOf(base64)]);
  const inflated = packed.stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(inflated).arrayBuffer());
  const headBytes = new DataView(bytes.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + headBytes)));
  let at = 4 + headBytes;
  for (const memory of head.memories) {
    memory.packed = {};
    for (const [name, length, count] of memory.columns) {
      memory.packed[name] = { bytes: bytes.subarray(at, at + length), count };
      at += length;
    }
  }
  return head;
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The numbers of a column, of seven bits a byte; of signed ones the last bit is the sign. */
function unpack({ bytes, count }, signed = false) {
  const numbers = new Float64Array(count);
  for (let i = 0, at = 0; i < count; i++) {
    let byte = bytes[at++];
    let number = byte & 0x7f;
    for (let factor = 128; byte >= 0x80; factor *= 128) {
      byte = bytes[at++];
      number += (byte & 0x7f) * factor;
    }
    numbers[i] = signed ? (number % 2 ? -(number + 1) / 2 : number / 2) : number;
  }
  return numbers;
}

/** The number of values in an ascending array that are at most `value`. */
function countUpTo(ascending, value, length = ascending.length) {
  let [low, high] = [0, length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Numbers of the column `kind`, as `lives.rs` writes them; those below are allocations.
const [FREE, GROW, PURGE, MOVE, OUT_OF_MEMORY, LEVELS] = [2, 3, 4, 5, 8, 9];
const NEVER = 0x7fffffff;

/**
 * One kind of memory. A *moment* is a number of events, from 0 to `eventCount`: the state after the
 * first so many. A block lives at the moments from `born` up to, and without, `died`.
 *
 * Always: `live[moment]` = bytes of blocks that live then + `unknownBytes`.
 */
class Memory {
  constructor(head, memory) {
    Object.assign(this, memory);
    this.durationNs = head.duration_ns;
    this.kind = Uint8Array.from(unpack(memory.packed.kind));
    this.eventCount = this.kind.length;
    this.timeNs = unpack(memory.packed.after_ns);
    for (let i = 1; i < this.eventCount; i++) this.timeNs[i] += this.timeNs[i - 1];
    this.readBlocks();
    this.readPlaces(head);
    this.readOthers();
    this.readLives();
    this.addUp();
    delete this.packed;
  }

  readBlocks() {
    const { packed } = this;
    this.address = unpack(packed.address, true);
    for (let i = 1; i < this.address.length; i++) this.address[i] += this.address[i - 1];
    for (let i = 0; i < this.address.length; i++) this.address[i] *= this.address_unit;
    this.bytes = unpack(packed.bytes);
    this.blockBytes = unpack(packed.rounding_bytes, true);
    for (let i = 0; i < this.bytes.length; i++) this.blockBytes[i] += this.bytes[i];
    // How many blocks each stands for, where only some were recorded, in thousandths.
    this.isSampled = Boolean(packed.weight);
    this.weight = this.isSampled
      ? unpack(packed.weight).map((weight) => weight / 1000)
      : new Float64Array(this.bytes.length).fill(1);
    this.stack = Uint32Array.from(unpack(packed.stack));
    this.owner = Uint32Array.from(unpack(packed.owner));
    this.blockCount = this.bytes.length;
    // Older blocks stand at the end; their time of birth is negative, or not known.
    this.bornNs = new Float64Array(this.blockCount).fill(NaN);
    const ages = unpack(packed.age_ns);
    this.allocCount = this.blockCount - ages.length;
    ages.forEach((age, i) => (this.bornNs[this.allocCount + i] = age > 0 ? 1 - age : NaN));
  }

  /** Frames and stacks; sizes instead where no place in the code is known. */
  readPlaces({ frames, stacks, sites }) {
    this.isBySize = this.blockCount > 0 && this.stack.every((stack) => stack === 0);
    Object.assign(this, { frames, stacks, siteFrames: sites });
    if (!this.isBySize) return;
    const size = (power) => shortBytes(2 ** power);
    this.frames = Array.from({ length: 60 }, (_, power) => [
      power ? `${size(power - 1)} – ${size(power)}` : "1 B",
      "",
      0,
    ]);
    this.stacks = [[], ...this.frames.map((_, power) => [power])];
    this.siteFrames = this.stacks.map(() => 0);
    this.stack = Uint32Array.from(
      this.bytes,
      (bytes) => 1 + Math.ceil(Math.log2(Math.max(bytes, 1))),
    );
  }

  /** Events that concern no block. */
  readOthers() {
    const { packed } = this;
    const address = unpack(packed.other_address);
    const bytes = unpack(packed.other_bytes);
    const stack = unpack(packed.other_stack);
    this.others = [];
    for (let event = 0; event < this.eventCount; event++) {
      if (this.kind[event] <= FREE || this.kind[event] === LEVELS) continue;
      const i = this.others.length;
      const at = address[i] > 0 ? (address[i] - 1) * this.address_unit : null;
      this.others.push({
        event,
        kind: this.kind[event],
        address: at,
        bytes: bytes[i],
        stack: stack[i],
      });
    }
    const ranges = (name) => {
      const length = unpack(packed[`${name}_bytes`]);
      const from = unpack(packed[`${name}_address`]);
      return Array.from(from, (at, i) => [
        at * this.address_unit,
        at * this.address_unit + length[i],
      ]);
    };
    this.segments = ranges("segment").sort((a, b) => a[0] - b[0]);
    this.pending = ranges("pending");
  }

  readLives() {
    const ago = unpack(this.packed.ago);
    this.born = new Int32Array(this.blockCount).fill(0);
    this.died = new Int32Array(this.blockCount).fill(NEVER);
    this.blockOf = new Int32Array(this.eventCount).fill(-1);
    let [next, older, frees] = [0, this.allocCount, 0];
    for (let event = 0; event < this.eventCount; event++) {
      if (this.kind[event] === FREE) {
        const back = ago[frees++];
        const block = back > 0 ? next - back : older++;
        this.died[block] = event + 1;
        this.blockOf[event] = block;
      } else if (this.kind[event] < FREE) {
        this.born[next] = event + 1;
        this.bornNs[next] = this.timeNs[event];
        this.blockOf[event] = next++;
      }
    }
  }

  /** Levels at each moment. */
  addUp() {
    const levels = () => new Float64Array(this.eventCount + 1);
    [this.live, this.allocated, this.reserved] = [levels(), levels(), levels()];
    this.unknownBytes = 0;
    if (this.packed.level_live.count > 0) this.takeNoted();
    else this.countEvents();
  }

  /** Levels as they were noted, where the events are only a sample. */
  takeNoted() {
    for (const name of ["live", "allocated", "reserved"]) {
      const noted = unpack(this.packed[`level_${name}`]);
      this[name][0] = noted[0];
      for (let event = 0, next = 0; event < this.eventCount; event++) {
        const isNoted = this.kind[event] === LEVELS;
        this[name][event + 1] = isNoted ? noted[next++] : this[name][event];
      }
    }
  }

  /** Levels by the events, so that they end as the allocator says. */
  countEvents() {
    const { eventCount: count, live, allocated, reserved } = this;
    for (let event = 0, other = 0; event < count; event++) {
      const block = this.blockOf[event];
      live[event + 1] = live[event];
      allocated[event + 1] = allocated[event];
      reserved[event + 1] = reserved[event];
      if (block >= 0) {
        const count = this.kind[event] === FREE ? -this.weight[block] : this.weight[block];
        live[event + 1] += count * this.bytes[block];
        allocated[event + 1] += count * this.blockBytes[block];
      } else {
        const { kind, bytes } = this.others[other++];
        if (kind === GROW) reserved[event + 1] += bytes;
        if (kind === PURGE) reserved[event + 1] -= bytes;
      }
    }
    const raise = (level, end) => {
      const by = end - level[count];
      for (let i = 0; i <= count; i++) level[i] = Math.max(0, level[i] + by);
    };
    raise(live, this.live_bytes);
    raise(allocated, this.allocated_bytes);
    raise(reserved, this.reserved_bytes);
    let known = 0;
    for (let block = this.allocCount; block < this.blockCount; block++) known += this.held(block);
    this.unknownBytes = Math.max(0, live[0] - known);
  }

  /** When a moment begins. */
  timeOf(moment) {
    return moment > 0 ? this.timeNs[moment - 1] : 0;
  }

  /** The moment at a time. */
  momentAt(ns) {
    return countUpTo(this.timeNs, ns);
  }

  /** The blocks that live at a moment. */
  liveAt(moment) {
    if (this.lastAsked === moment) return this.lastAnswer;
    const { born, died, allocCount, blockCount } = this;
    const live = new Int32Array(blockCount);
    let count = 0;
    const allocated = countUpTo(born, moment, allocCount);
    for (let i = 0; i < allocated; i++) if (died[i] > moment) live[count++] = i;
    for (let i = allocCount; i < blockCount; i++) if (died[i] > moment) live[count++] = i;
    [this.lastAsked, this.lastAnswer] = [moment, live.slice(0, count)];
    return this.lastAnswer;
  }

  /** Bytes that a block stands for. */
  held(block) {
    return this.weight[block] * this.bytes[block];
  }

  addressText(offset) {
    return `0x${(BigInt(this.lowest_address) + BigInt(offset)).toString(16)}`;
  }
}
