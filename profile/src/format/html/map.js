// Where everything lies at a moment: the memory in use, row by row, and the blocks in it.

const ROW = 13,
  ROW_GAP = 2,
  MOST_ROWS = 720;
/** Without a map, blocks that lie closer than this are drawn in one piece, bytes. */
const NEAR = 65536;

/**
 * The union of ranges: their begins and their ends, each sorted for itself. Before a begin there is
 * a gap if as many ranges have ended as had begun. What is closer than `near` is joined.
 */
function united(from, to, near = 0) {
  const ranges = [];
  let first = 0;
  for (let i = 1; i <= from.length; i++) {
    if (i < from.length && from[i] <= to[i - 1] + near) continue;
    ranges.push([from[first], to[i - 1]]);
    first = i;
  }
  return ranges;
}

/** Sorted numbers with one end of each of some ranges among them. */
function sortedWith(numbers, ranges, end) {
  const all = new Float64Array(numbers.length + ranges.length);
  all.set(numbers);
  all.set(
    ranges.map((range) => range[end]),
    numbers.length,
  );
  return all.sort();
}

function without(ranges, [from, to]) {
  return ranges.flatMap(([a, b]) =>
    b <= from || a >= to
      ? [[a, b]]
      : [
          [a, from],
          [to, b],
        ].filter(([x, y]) => x < y),
  );
}

function including(ranges, range) {
  const all = [...ranges, range];
  return united(sortedWith([], all, 0), sortedWith([], all, 1));
}

/** What is where at a moment. */
class Layout {
  constructor(memory, moment) {
    this.memory = memory;
    const { address, blockBytes } = memory;
    this.blocks = memory.liveAt(moment);
    const from = Float64Array.from(this.blocks, (block) => address[block]).sort();
    const to = Float64Array.from(this.blocks, (block) => address[block] + blockBytes[block]).sort();
    const mapped = this.mappedAt(moment);
    this.isMapped = mapped !== null;
    this.ranges = this.isMapped
      ? united(sortedWith(from, mapped, 0), sortedWith(to, mapped, 1))
      : united(from, to, NEAR);
    this.froms = this.ranges.map(([from]) => from);
    let bytes = 0;
    this.starts = this.ranges.map(([a, b]) => ((bytes += b - a), bytes - (b - a)));
    this.bytes = bytes;
    this.pending = moment === memory.eventCount ? memory.pending : [];
    const { pending } = this;
    if (this.isMapped)
      this.measure(united(sortedWith(from, pending, 0), sortedWith(to, pending, 1)));
  }

  /** The ranges in use, from those at the end back; `null` where nobody looked. */
  mappedAt(moment) {
    const { segments, others, isSampled } = this.memory;
    if (isSampled || !segments.length) return null;
    let ranges = segments;
    for (let i = others.length - 1; i >= 0 && others[i].event >= moment; i--) {
      const { kind, address, bytes } = others[i];
      if (address === null) continue;
      if (kind === GROW || kind === MOVE) ranges = without(ranges, [address, address + bytes]);
      if (kind === PURGE) ranges = including(ranges, [address, address + bytes]);
    }
    return ranges;
  }

  /** Free memory is what lies between. */
  measure(used) {
    [this.freeBytes, this.freeRanges, this.largestFreeBytes] = [0, 0, 0];
    let next = 0;
    for (const [from, to] of this.ranges) {
      let at = from;
      const free = (upTo) => {
        if (upTo <= at) return;
        this.freeBytes += upTo - at;
        this.freeRanges++;
        this.largestFreeBytes = Math.max(this.largestFreeBytes, upTo - at);
      };
      for (; next < used.length && used[next][0] < to; next++) {
        free(used[next][0]);
        at = Math.max(at, used[next][1]);
      }
      free(to);
    }
  }

  /** How far into the map an address is, bytes; addresses between ranges are nowhere. */
  positionOf(address) {
    const range = countUpTo(this.froms, address) - 1;
    return this.starts[range] + (address - this.ranges[range][0]);
  }

  addressAt(position) {
    const range = countUpTo(this.starts, position) - 1;
    return this.ranges[range][0] + (position - this.starts[range]);
  }

  blockAt(address) {
    const { memory, blocks } = this;
    return blocks.find(
      (b) =>
        memory.address[b] <= address &&
        address < memory.address[b] + Math.max(memory.blockBytes[b], 1),
    );
  }

  /** The free range around an address. */
  freeAround(address) {
    const { memory, blocks } = this;
    let [from, to] = this.ranges[countUpTo(this.froms, address) - 1];
    for (const block of blocks) {
      const begin = memory.address[block];
      if (begin > address) to = Math.min(to, begin);
      else from = Math.max(from, begin + memory.blockBytes[block]);
    }
    return [from, to];
  }
}

/** The picture: one line of pixels a row, each as dark as it is full, then drawn as tall as a row. */
class MapView {
  constructor(page) {
    this.page = page;
    this.box = byId("map");
    this.picture = new Picture(this.box, () => this.draw());
    this.focus = -1;
    const { canvas } = this.picture;
    canvas.addEventListener("pointermove", (event) => this.tell(event));
    canvas.addEventListener("pointerleave", hideTip);
    canvas.addEventListener("click", (event) => {
      const block = this.blockUnder(event);
      if (block >= 0) page.choose(page.sites.of(block));
    });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.detail = byId("map-detail");
    this.detail.addEventListener("change", () => this.draw());
  }

  draw() {
    const { page } = this;
    if (!page.memory) return;
    this.layout = new Layout(page.memory, page.moment);
    const { layout } = this;
    const width = Math.max(this.box.clientWidth, 1);
    const coarse = 2 ** Math.ceil(Math.log2(Math.max(layout.bytes / 24, 64)));
    this.rowBytes = Math.max(coarse / Number(this.detail.value), 64);
    let rows = Math.ceil(layout.bytes / this.rowBytes);
    if (rows > MOST_ROWS) {
      this.rowBytes *= 2 ** Math.ceil(Math.log2(rows / MOST_ROWS));
      rows = Math.ceil(layout.bytes / this.rowBytes);
    }
    this.rows = rows;
    this.describe();
    this.box.hidden = rows === 0;
    if (rows === 0 || !this.picture.begin(rows * (ROW + ROW_GAP))) return;
    const { context, ratio } = this.picture;
    const line = Math.round(width * ratio);
    const pixels = this.paint(line, rows);
    const strip = new OffscreenCanvas(line, rows);
    strip.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    for (let row = 0; row < rows; row++) {
      context.drawImage(strip, 0, row, line, 1, 0, row * (ROW + ROW_GAP), width, ROW);
    }
    this.drawFocus(context, width);
  }

  paint(line, rows) {
    const { layout, page } = this;
    const { memory, sites } = page;
    const image = new ImageData(line, rows);
    const bytesPerPixel = this.rowBytes / line;
    const total = layout.bytes / bytesPerPixel;
    const cover = new Float32Array(line * rows);
    const share = new Float32Array(line * rows);
    const band = new Uint8Array(line * rows);
    const edge = new Uint8Array(line * rows);
    const put = (address, bytes, colour) => {
      const from = layout.positionOf(address) / bytesPerPixel;
      const to = from + bytes / bytesPerPixel;
      for (let i = Math.floor(from); i < to && i < cover.length; i++) {
        const part = Math.min(to, i + 1) - Math.max(from, i);
        cover[i] += part;
        if (part > share[i]) [share[i], band[i]] = [part, colour];
      }
      if (to - from > 4 * page.map.picture.ratio) edge[Math.floor(from)] = 1;
    };
    for (const [from, to] of layout.pending) put(from, to - from, BANDS);
    for (const block of layout.blocks) {
      const colour = sites.colourOf[sites.of(block)];
      const faded = page.chosen >= 0 && sites.of(block) !== page.chosen;
      put(memory.address[block], memory.blockBytes[block], colour + (faded ? 32 : 0));
    }
    for (const start of layout.starts) edge[Math.floor(start / bytesPerPixel)] = 2;
    const free = rgbOf(layout.isMapped ? colours.free : colours.line);
    const paper = rgbOf(colours.paper);
    const rgb = [...colours.sites, colours.pending].map(rgbOf);
    for (let i = 0; i < Math.min(total, cover.length); i++) {
      const full = Math.min(cover[i], 1) * (band[i] >= 32 ? 0.3 : 1);
      const colour = rgb[band[i] % 32];
      const sharp = edge[i] === 2 ? 1 : edge[i] === 1 ? 0.55 : 0;
      for (let part = 0; part < 3; part++) {
        const inside = free[part] + (colour[part] - free[part]) * full;
        image.data[4 * i + part] = inside + (paper[part] - inside) * sharp;
      }
      image.data[4 * i + 3] = 255 * Math.min(total - i, 1);
    }
    return image;
  }

  /** The picture in words. */
  describe() {
    const { layout, page, rows } = this;
    const { freeBytes, freeRanges, largestFreeBytes, blocks, ranges } = layout;
    const elsewhere = page.memory.reserved[page.moment] - layout.bytes;
    const place = `${counted(ranges.length, "contiguous range")} of ${formatBytes(layout.bytes)}`;
    const pieces = `${formatBytes(freeBytes)} free in ${counted(freeRanges, "piece")}`;
    const share = formatShare(freeBytes - largestFreeBytes, freeBytes);
    const waiting = counted(layout.pending.length, "freed block");
    const facts = [
      `${counted(blocks.length, "live block")} in ${place}`,
      layout.isMapped && `${pieces}, the largest ${formatBytes(largestFreeBytes)}`,
      layout.isMapped && freeBytes > 0 && `fragmentation ${share}`,
      layout.pending.length && `${waiting} waiting for other streams`,
    ].filter(Boolean);
    if (rows === 0) facts.splice(0, facts.length, "No block is known at this moment");
    const note = layout.isMapped
      ? elsewhere > layout.bytes / 1000 &&
        `${formatBytes(elsewhere)} of free memory is not drawn: where it lay is not known.`
      : rows > 0 && "Only the blocks themselves are known here; what lies between them is not.";
    const key = (name, text) =>
      element("li", {}, element("i", { class: `swatch ${name}`, "aria-hidden": "true" }), text);
    fill(
      "map-legend",
      rows > 0 &&
        element(
          "li",
          {},
          page.memory.isBySize
            ? "Live blocks have the colour of their size"
            : "Live blocks have the colour of their call site",
        ),
      rows > 0 && key("free", layout.isMapped ? "Free" : "Not known"),
      layout.pending.length > 0 && key("pending", "Freed, and waiting for other streams"),
    );
    const text = `${facts.join("; ")}. ${note || ""}`;
    byId("map-text").textContent = text;
    byId("map-scale").textContent = rows ? `A row is ${shortBytes(this.rowBytes)}` : "";
    this.picture.canvas.setAttribute("aria-label", `Map of memory. ${text}`);
  }

  addressUnder(event) {
    const [x, y] = this.picture.at(event);
    const row = Math.floor(y / (ROW + ROW_GAP));
    const position = (row + clamp(x / this.picture.width, 0, 0.999999)) * this.rowBytes;
    return position < this.layout.bytes ? this.layout.addressAt(position) : null;
  }

  blockUnder(event) {
    const address = this.layout && this.addressUnder(event);
    return address === null ? -1 : (this.layout.blockAt(address) ?? -1);
  }

  tell(event) {
    const address = this.layout ? this.addressUnder(event) : null;
    if (address === null) return hideTip();
    const block = this.layout.blockAt(address);
    if (block !== undefined) return showTip(event, this.page.words.block(block));
    const [from, to] = this.layout.freeAround(address);
    const state = this.layout.isMapped ? "free" : "not known";
    showTip(event, [
      `${formatBytes(to - from)} ${state}`,
      `at ${this.page.memory.addressText(from)}`,
    ]);
  }

  /** Arrow keys go from block to block. */
  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !this.layout?.blocks.length) return;
    event.preventDefault();
    const { memory } = this.page;
    const sorted = Array.from(this.layout.blocks).sort(
      (a, b) => memory.address[a] - memory.address[b],
    );
    const at = sorted.indexOf(this.focus);
    this.focus = sorted[at < 0 ? 0 : clamp(at + step, 0, sorted.length - 1)];
    this.page.words.say(this.page.words.block(this.focus));
    this.draw();
  }

  drawFocus(context, width) {
    if (this.focus < 0 || !this.layout.blocks.includes(this.focus)) return;
    const { memory } = this.page;
    const from = this.layout.positionOf(memory.address[this.focus]) / this.rowBytes;
    const to = from + memory.blockBytes[this.focus] / this.rowBytes;
    context.strokeStyle = colours.ink;
    context.lineWidth = 2;
    for (let row = Math.floor(from); row < to; row++) {
      const [a, b] = [Math.max(from - row, 0) * width, Math.min(to - row, 1) * width];
      context.strokeRect(a, row * (ROW + ROW_GAP), Math.max(b - a, 2), ROW);
    }
  }
}
