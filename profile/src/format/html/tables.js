// The figures behind the pictures, to be sorted.

const ROWS = 25;

/** A table of `columns`: `{ title, value(row), show(row), text }`; those with `text` sort from A. */
class Table {
  constructor(id, caption, columns, sorted) {
    this.element = document.getElementById(id);
    Object.assign(this, { caption, columns, sorted, down: true, limit: ROWS, rows: [] });
  }

  show(rows, empty) {
    this.rows = rows;
    this.empty = empty;
    this.draw();
  }

  draw() {
    const { value, text } = this.columns[this.sorted];
    const sign = this.down ? -1 : 1;
    const compare = text
      ? (a, b) => sign * String(value(a)).localeCompare(String(value(b)))
      : (a, b) => sign * ((value(a) || 0) - (value(b) || 0));
    const rows = this.rows.toSorted(compare);
    const focused = this.element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const body = rows.slice(0, this.limit).map((row) => this.row(row));
    if (!body.length) body.push(element("tr", {}, element("td", { colspan: this.columns.length, class: "empty" }, this.empty)));
    this.element.replaceChildren(
      element("caption", { class: "hidden" }, this.caption),
      element("thead", {}, element("tr", {}, ...this.columns.map((column, i) => this.header(column, i)))),
      element("tbody", {}, ...body),
    );
    if (rows.length > this.limit) this.element.append(this.more(rows.length));
    if (focused) this.element.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  header({ title, text, hint }, i) {
    const sorted = i === this.sorted && (this.down ? "descending" : "ascending");
    const press = () => {
      this.down = i === this.sorted ? !this.down : !text;
      this.sorted = i;
      this.draw();
    };
    const arrow = element("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (this.down ? "↓" : "↑") : "");
    const button = element("button", { type: "button", title: hint, "data-key": `head-${i}`, onclick: press }, title, arrow);
    return element("th", { scope: "col", class: text ? "text" : "", "aria-sort": sorted || null }, button);
  }

  row(row) {
    const cells = this.columns.map(({ show, text }) => element("td", { class: text ? "text" : "" }, show(row)));
    return element("tr", { class: row.isChosen ? "chosen" : null }, ...cells);
  }

  more(count) {
    const press = () => {
      this.limit = this.limit * 4;
      this.draw();
    };
    const text = `Show more: ${formatCount(this.limit)} of ${formatCount(count)}`;
    const button = element("button", { type: "button", class: "quiet", "data-key": "more", onclick: press }, text);
    return element("tfoot", {}, element("tr", {}, element("td", { colspan: this.columns.length }, button)));
  }
}

/** A call site, with its colour; pressing it lets all others fade. */
function siteElement(page, site, stack = null) {
  const folder = site.file.slice(0, site.file.lastIndexOf("/") + 1);
  const place = site.file
    ? [element("span", { class: "folder" }, folder), `${site.file.slice(folder.length)}:${site.line}`]
    : [site.text];
  const name = site.name && site.file ? [element("span", { class: "function" }, site.name), " "] : [];
  const press = () => page.choose(site.number);
  const button = element(
    "button",
    { type: "button", class: "site", title: stackText(page, stack ?? site.stacks[0]), "data-key": `site-${site.number}-${stack}`, "aria-pressed": String(page.chosen === site.number), onclick: press },
    swatch(page.sites.colourOf[site.number]), ...name, element("span", { class: "place" }, ...place),
  );
  return button;
}

/** The frames of a stack, the innermost first. */
function stackText(page, stack) {
  const frames = (page.head.stacks[stack] ?? []).map((frame) => page.head.frames[frame]);
  return frames.map(([name, file, line]) => `${name || "at"} ${file ? `${file}:${line}` : ""}`).join("\n") || "not known";
}

function shareElement(part, whole) {
  const width = whole > 0 ? (100 * part) / whole : 0;
  return element("span", { class: "share" }, element("i", { style: `width: ${width.toFixed(2)}%`, "aria-hidden": "true" }), formatShare(part, whole));
}

class TablesView {
  constructor(page) {
    this.page = page;
    const site = { title: "Call site", text: true, value: (row) => row.site.text, show: (row) => siteElement(page, row.site, row.stack) };
    const bytes = (title, key, hint) => ({ title, hint, value: (row) => row[key], show: (row) => bytesElement(row[key]) });
    const count = (title, key, hint) => ({ title, hint, value: (row) => row[key], show: (row) => countElement(row[key]) });
    const age = (title, key) => ({ title, value: (row) => row[key], show: (row) => (Number.isNaN(row[key]) ? "from before" : formatDuration(row[key])) });
    this.sites = new Table("sites", "Call sites by what they hold", [
      site,
      bytes("Live", "bytes", "At the chosen moment"),
      { title: "Share", value: (row) => row.bytes, show: (row) => shareElement(row.bytes, this.liveBytes) },
      count("Blocks", "blocks", "At the chosen moment"),
      bytes("Peak", "peakBytes", "The most at any moment"),
      bytes("Allocated", "totalBytes", "In the whole recording"),
      count("Allocations", "totalBlocks", "In the whole recording"),
      { title: "Short-lived", hint: "Of the freed blocks, those that lived less than a millisecond", value: (row) => row.short / row.freed, show: (row) => formatShare(row.short, row.freed) },
    ], 1);
    this.blocks = new Table("blocks", "The largest blocks", [
      site,
      bytes("Bytes", "bytes", "Asked for"),
      bytes("Block", "blockBytes", "Rounded up"),
      { title: "Address", value: (row) => row.address, show: (row) => element("code", {}, page.memory.addressText(row.address)) },
      { title: "Owner", value: (row) => row.owner, show: (row) => page.ownerText(row.owner) },
      age("Age", "ageNs"),
    ], 1);
    this.leaks = new Table("leaks", "Allocated since the baseline and never freed", [
      site,
      bytes("Bytes", "bytes"),
      count("Blocks", "blocks"),
      age("Oldest", "oldestNs"),
      age("Youngest", "youngestNs"),
    ], 1);
  }

  /** Rows that the search leaves. */
  found(rows) {
    const words = this.page.search.toLowerCase();
    return rows.filter(({ site }) => `${site.name} ${site.text}`.toLowerCase().includes(words));
  }

  draw() {
    const { page } = this;
    const { memory, sites, moment } = page;
    this.liveBytes = memory.live[moment];
    const held = sites.heldByStack(moment);
    const rows = sites.all.map((site) => ({
      site, stack: null, isChosen: page.chosen === site.number,
      bytes: sum(site.stacks, (stack) => held.bytes[stack]),
      blocks: sum(site.stacks, (stack) => held.blocks[stack]),
      peakBytes: site.peakBytes, totalBytes: site.totalBytes, totalBlocks: site.totalBlocks,
      freed: site.freed, short: site.short,
    }));
    this.sites.show(this.found(rows.filter((row) => row.peakBytes > 0 || row.totalBlocks > 0)), "No call site is known.");
    this.blocks.show(this.found(this.largest()), "Nothing is live at this moment.");
    this.drawLeaks();
  }

  /** The largest live blocks: few enough to be sorted in the page. */
  largest() {
    const { page } = this;
    const { memory, moment } = page;
    const live = Int32Array.from(memory.liveAt(moment)).sort((a, b) => memory.bytes[b] - memory.bytes[a]);
    return Array.from(live.subarray(0, 1000), (block) => ({
      site: page.sites.all[page.sites.of(block)], stack: memory.stack[block],
      isChosen: page.chosen === page.sites.of(block),
      bytes: memory.bytes[block], blockBytes: memory.blockBytes[block], address: memory.address[block],
      owner: memory.owner[block], ageNs: memory.timeOf(moment) - memory.bornNs[block],
    }));
  }

  /** What lives at the end, whatever moment is chosen. */
  drawLeaks() {
    const { page } = this;
    const { memory, head, sites } = page;
    const leaks = new Map();
    for (const block of memory.liveAt(memory.eventCount)) {
      const born = memory.bornNs[block];
      if (Number.isNaN(born) || born <= head.baseline_ns) continue;
      const site = sites.all[sites.of(block)];
      const age = memory.durationNs - born;
      if (!leaks.has(site)) leaks.set(site, { site, isChosen: page.chosen === site.number, bytes: 0, blocks: 0, oldestNs: age, youngestNs: age });
      const leak = leaks.get(site);
      leak.bytes += memory.bytes[block];
      leak.blocks++;
      leak.oldestNs = Math.max(leak.oldestNs, age);
      leak.youngestNs = Math.min(leak.youngestNs, age);
    }
    const rows = [...leaks.values()];
    this.leaks.show(this.found(rows), "Nothing: all that was allocated since the baseline is freed.");
    const [bytes, blocks] = [sum(rows, (row) => row.bytes), sum(rows, (row) => row.blocks)];
    document.getElementById("leaks-text").replaceChildren(
      "At the end of the recording, of what was allocated since the baseline: ",
      bytesElement(bytes), " in ", countElement(blocks), " blocks.",
    );
  }
}

function sum(items, of) {
  return items.reduce((total, item) => total + of(item), 0);
}
