// What can be asked of a million events within a frame: extremes of any stretch, and who held how
// much at any moment.

const FAN = 16;
/** Sites with a colour of their own; then all others, then what nobody knows. */
const COLOURS = 8;
const UNKNOWN_COLOUR = COLOURS + 1;
const BANDS = COLOURS + 2;
const STRIDE = 256;

/** The moments of the most and the least of a level within any range of moments. */
class Extremes {
  constructor(values) {
    this.values = values;
    this.layers = [];
    for (let count = values.length; count > FAN; count = this.layers.at(-1).most.length) {
      this.layers.push(this.layer(Math.ceil(count / FAN)));
    }
  }

  layer(count) {
    const below = this.layers.at(-1);
    const [most, least] = [new Int32Array(count), new Int32Array(count)];
    const size = below?.most.length ?? this.values.length;
    for (let i = 0; i < count; i++) {
      let [high, low] = [-1, -1];
      for (let j = i * FAN; j < Math.min(size, (i + 1) * FAN); j++) {
        high = this.higher(high, below ? below.most[j] : j);
        low = this.lower(low, below ? below.least[j] : j);
      }
      most[i] = high;
      least[i] = low;
    }
    return { most, least };
  }

  higher(a, b) {
    return a < 0 || this.values[b] > this.values[a] ? b : a;
  }

  lower(a, b) {
    return a < 0 || this.values[b] < this.values[a] ? b : a;
  }

  /** Of the moments `from` up to, and without, `to`; there is one at least. */
  within(from, to) {
    let [high, low] = [-1, -1];
    const take = (layer, i) => {
      high = this.higher(high, layer < 0 ? i : this.layers[layer].most[i]);
      low = this.lower(low, layer < 0 ? i : this.layers[layer].least[i]);
    };
    for (let layer = -1; from < to; layer++) {
      const isTop = layer + 1 >= this.layers.length;
      while (from < to && (isTop || from % FAN)) take(layer, from++);
      while (from < to && to % FAN) take(layer, --to);
      from /= FAN;
      to /= FAN;
    }
    return [high, low];
  }
}

/** The call sites of one memory: stacks by the line that they stand for. */
class Sites {
  constructor(memory) {
    this.memory = memory;
    const { frames: all, stacks } = memory;
    this.ofStack = new Int32Array(stacks.length);
    this.frameOfStack = memory.siteFrames;
    this.all = [];
    const numbers = new Map();
    for (const [stack, frames] of stacks.entries()) {
      const frame = frames[this.frameOfStack[stack]] ?? -1;
      if (!numbers.has(frame)) {
        numbers.set(frame, this.all.length);
        const [name, file, line] = all[frame] ?? ["", "", 0];
        const text = frame < 0 ? "(unknown)" : placeOf(file, line) || name;
        this.all.push({ number: this.all.length, name, file, line, text, stacks: [] });
      }
      this.ofStack[stack] = numbers.get(frame);
      this.all[numbers.get(frame)].stacks.push(stack);
    }
    // Whatever is not known block by block belongs to nobody.
    this.unknown = this.ofStack[0];
    this.count();
    this.rank();
  }

  of(block) {
    return this.ofStack[this.memory.stack[block]];
  }

  /** Sums over the recording, which no moment changes. */
  count() {
    for (const site of this.all) {
      Object.assign(site, {
        liveBytes: 0,
        peakBytes: 0,
        totalBytes: 0,
        totalBlocks: 0,
        freed: 0,
        short: 0,
      });
    }
    const { memory } = this;
    const { weight, timeNs, blockOf, kind, bornNs } = memory;
    this.startBytes = new Float64Array(this.all.length);
    for (const block of memory.liveAt(0)) this.startBytes[this.of(block)] += memory.held(block);
    this.startBytes[this.unknown] += memory.unknownBytes;
    this.all.forEach((site, i) => (site.peakBytes = site.liveBytes = this.startBytes[i]));
    for (let event = 0; event < memory.eventCount; event++) {
      const block = blockOf[event];
      if (block < 0) continue;
      const site = this.all[this.of(block)];
      if (kind[event] === FREE) {
        site.liveBytes -= memory.held(block);
        site.freed += weight[block];
        if (timeNs[event] - bornNs[block] < 1e6) site.short += weight[block];
      } else {
        site.liveBytes += memory.held(block);
        site.totalBytes += memory.held(block);
        site.totalBlocks += weight[block];
        if (site.liveBytes > site.peakBytes) site.peakBytes = site.liveBytes;
      }
    }
  }

  /** The sites that have a colour of their own: those that held most at their peak. */
  rank() {
    const ranked = this.all.filter((site) => site.peakBytes > 0);
    ranked.sort((a, b) => b.peakBytes - a.peakBytes || a.number - b.number);
    this.coloured = ranked.filter((site) => site.number !== this.unknown).slice(0, COLOURS);
    this.colourOf = new Int32Array(this.all.length).fill(COLOURS);
    this.coloured.forEach((site, i) => (this.colourOf[site.number] = i));
    this.colourOf[this.unknown] = UNKNOWN_COLOUR;
    this.keep();
  }

  /** Sums by colour at every so many moments, from which those of any other are counted. */
  keep() {
    const { memory } = this;
    const count = Math.floor(memory.eventCount / STRIDE) + 1;
    this.kept = new Float64Array(count * BANDS);
    const sums = new Float64Array(BANDS);
    this.startBytes.forEach((bytes, site) => (sums[this.colourOf[site]] += bytes));
    for (let moment = 0; moment <= memory.eventCount; moment++) {
      if (moment > 0) this.step(sums, moment);
      if (moment % STRIDE === 0) this.kept.set(sums, (moment / STRIDE) * BANDS);
    }
  }

  step(sums, moment) {
    const block = this.memory.blockOf[moment - 1];
    if (block < 0) return;
    const sign = this.memory.kind[moment - 1] === FREE ? -1 : 1;
    sums[this.colourOf[this.of(block)]] += sign * this.memory.held(block);
  }

  /** A function that gives the sums by colour at a moment; quick for moments in order. */
  cursor() {
    const sums = new Float64Array(BANDS);
    let at = -1;
    return (moment) => {
      const kept = Math.floor(moment / STRIDE);
      if (at < kept * STRIDE || at > moment) {
        sums.set(this.kept.subarray(kept * BANDS, (kept + 1) * BANDS));
        at = kept * STRIDE;
      }
      while (at < moment) this.step(sums, ++at);
      return sums;
    };
  }

  /** Bytes and blocks of each stack at a moment. */
  heldByStack(moment) {
    const { memory } = this;
    const bytes = new Float64Array(this.ofStack.length);
    const blocks = new Float64Array(this.ofStack.length);
    for (const block of memory.liveAt(moment)) {
      bytes[memory.stack[block]] += memory.held(block);
      blocks[memory.stack[block]] += memory.weight[block];
    }
    bytes[0] += memory.unknownBytes;
    return { bytes, blocks };
  }
}
