// The figures behind the pictures: call sites, blocks, leaks.

/** A call site, with its colour; pressing it lets all others fade. */
function siteElement(page, site, stack = null) {
  const folder = site.file.slice(0, site.file.lastIndexOf("/") + 1);
  const place =
    site.line > 0
      ? [
          element("span", { class: "folder" }, shortFolder(folder)),
          `${site.file.slice(folder.length)}:${site.line}`,
        ]
      : [site.text];
  const isNamed = site.name && site.name !== site.text;
  const name = isNamed ? [element("span", { class: "function" }, site.name), " "] : [];
  const press = () => page.choose(site.number);
  const button = element(
    "button",
    {
      type: "button",
      class: "site",
      title: stackText(page, stack ?? site.stacks[0]),
      "data-key": `site-${site.number}-${stack}`,
      "aria-pressed": String(page.chosen === site.number),
      onclick: press,
    },
    swatch(page.sites.colourOf[site.number]),
    ...name,
    element("span", { class: "place" }, ...place),
  );
  return button;
}

/** The last two folders of a path that is long. */
function shortFolder(folder) {
  const parts = folder.split("/");
  return parts.length > 4 ? `…/${parts.slice(-3).join("/")}` : folder;
}

/** The frames of a stack, the innermost first. */
function stackText(page, stack) {
  const { frames: all, stacks } = page.memory;
  const frames = (stacks[stack] ?? []).map((frame) => all[frame]);
  return (
    frames.map(([name, file, line]) => `${name || "at"} ${placeOf(file, line)}`).join("\n") ||
    "not known"
  );
}

function shareElement(part, whole) {
  const width = whole > 0 ? (100 * part) / whole : 0;
  return element(
    "span",
    { class: "share" },
    element("i", { style: `width: ${width.toFixed(2)}%`, "aria-hidden": "true" }),
    formatShare(part, whole),
  );
}

class TablesView {
  constructor(page) {
    this.page = page;
    const isChosen = (row) => page.chosen === row.site.number;
    const site = {
      title: () => (page.memory.isBySize ? "Size" : "Call site"),
      text: true,
      value: (row) => row.site.text,
      show: (row) => siteElement(page, row.site, row.stack),
    };
    this.sites = new Table("sites", "Call sites by what they hold", isChosen, [
      site,
      bytesColumn("Live", "bytes", "At the chosen moment"),
      {
        title: "Share",
        value: (row) => row.bytes,
        show: (row) => shareElement(row.bytes, this.liveBytes),
      },
      countColumn("Blocks", "blocks", "At the chosen moment"),
      bytesColumn("Peak", "peakBytes", "The most at any moment"),
      bytesColumn("Allocated", "totalBytes", "In the whole recording"),
      countColumn("Allocations", "totalBlocks", "In the whole recording"),
      {
        title: "Short-lived",
        hint: "Of the freed blocks, those that lived less than a millisecond",
        value: (row) => row.short / row.freed,
        show: (row) => formatShare(row.short, row.freed),
      },
    ]);
    this.blocks = new Table("blocks", "The largest blocks", isChosen, [
      site,
      bytesColumn("Bytes", "bytes", "Asked for"),
      bytesColumn("Block", "blockBytes", "Rounded up"),
      {
        title: "Address",
        value: (row) => row.address,
        show: (row) => element("code", {}, page.memory.addressText(row.address)),
      },
      { title: "Owner", value: (row) => row.owner, show: (row) => page.words.owner(row.owner) },
      ageColumn("Age", "ageNs"),
    ]);
    const leaks = "Allocated and never freed";
    this.leaks = new Table("leaks", leaks, isChosen, [
      site,
      bytesColumn("Bytes", "bytes"),
      countColumn("Blocks", "blocks"),
      ageColumn("Oldest", "oldestNs"),
      ageColumn("Youngest", "youngestNs"),
    ]);
  }

  /** Rows that the search leaves. */
  found(rows) {
    const words = this.page.search.toLowerCase();
    return rows.filter(({ site }) => `${site.name} ${site.text}`.toLowerCase().includes(words));
  }

  /** Draws the table that is shown. */
  draw() {
    const isShown = (table) => !table.element.closest("[role=tabpanel]").hidden;
    if (isShown(this.sites)) {
      this.sites.show(this.found(this.holders()), "No call site is known.");
    }
    if (isShown(this.blocks)) {
      this.blocks.show(this.found(this.largest()), "Nothing is live at this moment.");
    }
    if (isShown(this.leaks)) {
      const empty = "Nothing: all of that is freed.";
      this.leaks.show(this.found(this.page.leaks), empty);
    }
  }

  holders() {
    const { memory, sites, moment } = this.page;
    this.liveBytes = memory.live[moment];
    const held = sites.heldByStack(moment);
    const rows = sites.all.map((site) => ({
      ...site,
      site,
      bytes: sum(site.stacks, (stack) => held.bytes[stack]),
      blocks: sum(site.stacks, (stack) => held.blocks[stack]),
    }));
    return rows.filter((row) => row.peakBytes > 0 || row.totalBlocks > 0);
  }

  /** The largest live blocks: few enough to be sorted in the page. */
  largest() {
    const { page } = this;
    const { memory, moment } = page;
    const live = memory.liveAt(moment);
    const sizes = Float64Array.from(live, (block) => memory.bytes[block]).sort();
    const least = sizes[Math.max(0, sizes.length - 1000)];
    const large = live.filter((block) => memory.bytes[block] > least);
    const last = live.filter((block) => memory.bytes[block] === least);
    const blocks = [...large, ...last.subarray(0, 1000 - large.length)];
    return blocks.map((block) => ({
      site: page.sites.all[page.sites.of(block)],
      stack: memory.stack[block],
      bytes: memory.bytes[block],
      blockBytes: memory.blockBytes[block],
      address: memory.address[block],
      owner: memory.owner[block],
      ageNs: memory.timeOf(moment) - memory.bornNs[block],
    }));
  }
}

/** Blocks that live at the end and were allocated after the baseline, by call site. */
function leaksOf({ head, memory, sites }) {
  const leaks = new Map();
  for (const block of memory.liveAt(memory.eventCount)) {
    const born = memory.bornNs[block];
    if (Number.isNaN(born) || born <= (head.baseline_ns ?? -Infinity)) continue;
    const site = sites.all[sites.of(block)];
    const age = memory.durationNs - born;
    if (!leaks.has(site))
      leaks.set(site, { site, bytes: 0, blocks: 0, oldestNs: age, youngestNs: age });
    const leak = leaks.get(site);
    leak.bytes += memory.held(block);
    leak.blocks += memory.weight[block];
    leak.oldestNs = Math.max(leak.oldestNs, age);
    leak.youngestNs = Math.min(leak.youngestNs, age);
  }
  return [...leaks.values()];
}

function sum(items, of) {
  return items.reduce((total, item) => total + of(item), 0);
}
