// What the page says in words and figures, beside and beneath its pictures.

class Words {
  constructor(page) {
    this.page = page;
  }

  about() {
    const { head } = this.page;
    const events = sum(head.memories, (memory) => memory.packed.kind.count);
    const begin = new Date(head.begin_ms).toLocaleString(undefined, {
      dateStyle: "medium",
      timeStyle: "medium",
    });
    const facts = [begin, formatDuration(head.duration_ns), counted(events, "event")];
    byId("about").textContent = facts.join(" · ");
    const note = (...words) => element("p", {}, ...words);
    const lost = counted(head.lost_events, "earlier event");
    fill(
      "notes",
      head.lost_events > 0 &&
        note(
          `${lost} ${head.lost_events === 1 ? "is" : "are"} lost, because the memory for them is `,
          "bounded. The curves begin after them; the figures at the end are exact.",
        ),
      events === 0 && note("No event was recorded: what follows is the state at the end."),
    );
  }

  /** Of a memory, whatever the moment. */
  figures() {
    const { memory, peak, extremes } = this.page;
    const { live, reserved, report, limit_bytes: limit, eventCount: end } = memory;
    const mostReserved = reserved[extremes.reserved.within(0, end + 1)[0]];
    const peakReserved = Math.max(mostReserved, report?.reserved_peak_bytes ?? 0);
    const figure = (name, id, value) =>
      element("div", {}, element("dt", {}, name), element("dd", { id: `figure-${id}` }, value));
    fill(
      "figures",
      figure("Peak live", "peak-live", bytesElement(live[peak])),
      figure("Live at the end", "live", bytesElement(live[end])),
      figure("Peak reserved", "peak-reserved", bytesElement(peakReserved)),
      figure("Reserved at the end", "reserved", bytesElement(reserved[end])),
      limit && figure("Limit", "limit", bytesElement(limit)),
      report && figure("Allocated so far", "total", bytesElement(report.total_bytes)),
      report && figure("Allocations so far", "allocations", countElement(report.total_blocks)),
      report?.hits > 0 && figure("From memory at hand", "hits", formatShare(report.hits, 1)),
    );
    root.dataset.events = end > 0 ? "some" : "none";
    this.failures();
    this.headings();
    this.leaks();
    const range = `from ${formatBytes(live[0])} to ${formatBytes(live[end])}`;
    const label = `${range}, at most ${formatBytes(live[peak])}`;
    const [levels, bands] = this.page.charts.map(({ canvas }) => canvas);
    const most = `reserved at most ${formatBytes(peakReserved)}`;
    levels.setAttribute("aria-label", `Live memory over time, ${label}; ${most}.`);
    const who = `Live memory by call site over time, ${label}.`;
    bands.setAttribute("aria-label", `${who} The legend has the figures of the chosen moment.`);
  }

  headings() {
    const { isBySize, isSampled } = this.page.memory;
    byId("bands-heading").textContent = isBySize ? "By size" : "By call site";
    byId("tab-sites").textContent = isBySize ? "Sizes" : "Call sites";
    byId("flame-heading").textContent = isBySize ? "What sizes it is made of" : "Who holds it";
    const notes = [
      isBySize && "Places in the code were not recorded: blocks are told apart by their sizes.",
      isSampled && "Only some blocks were recorded, each for many: sums are estimates.",
    ];
    byId("sites-note").textContent = notes.filter(Boolean).join(" ");
  }

  leaks() {
    const { leaks, head } = this.page;
    const bytes = bytesElement(sum(leaks, (leak) => leak.bytes));
    const blocks = countElement(sum(leaks, (leak) => leak.blocks));
    const since = head.baseline_ns === null ? "while anybody looked" : "since the baseline";
    const what = `At the end of the recording, of what was allocated ${since}: `;
    fill("leaks-text", what, bytes, " in ", blocks, " blocks.");
  }

  /** Requests that could not be served, each with a way to its moment. */
  failures() {
    const { page } = this;
    const { memory, sites } = page;
    const failures = memory.others.filter(({ kind }) => kind === OUT_OF_MEMORY);
    const shown = failures.slice(0, 3).map(({ event, bytes, stack }) => {
      const site = sites.all[sites.ofStack[stack]];
      const press = () => page.setMoment(event + 1);
      const when = formatMoment(memory.timeOf(event + 1), 1e5);
      const button = element("button", { type: "button", class: "quiet", onclick: press }, when);
      const from = ` from ${site.name || site.text} could not be served at `;
      return element("p", {}, "A request of ", bytesElement(bytes), from, button, ".");
    });
    const others = failures.length - shown.length;
    const more = others > 0 && `${counted(others, "more request")} could not be served.`;
    fill("failures", ...shown, more && element("p", {}, more));
  }

  /** Of a moment. */
  moment() {
    const { memory, moment, peak } = this.page;
    const { live, reserved, allocated, limit_bytes: limit, eventCount: end } = memory;
    const cached = Math.max(0, reserved[moment] - allocated[moment]);
    const levels = [
      ["live", "Live", live[moment]],
      ["reserved", "Cached", cached],
      ["line", "Reserved", reserved[moment]],
      limit && ["limit", "Limit", limit],
    ].filter(Boolean);
    const when = formatMoment(memory.timeOf(moment), Math.max(memory.durationNs / 1e5, 1));
    byId("when").textContent = when;
    byId("which").textContent = `event ${formatCount(moment)} of ${formatCount(end)}`;
    fill("moment-live", bytesElement(live[moment]), " live");
    const key = (name) => element("i", { class: `swatch ${name}`, "aria-hidden": "true" });
    const item = ([name, title, bytes]) =>
      element("li", {}, key(name), `${title} `, bytesElement(bytes));
    fill("levels-legend", ...levels.map(item));
    this.bands();
    const slider = byId("slider");
    slider.value = moment;
    const spoken = levels.map(([, title, bytes]) => `${title} ${formatBytes(bytes)}`);
    slider.setAttribute("aria-valuetext", [when, ...spoken].join(", "));
    for (const [id, at] of Object.entries({ "go-begin": 0, "go-peak": peak, "go-end": end })) {
      byId(id).setAttribute("aria-pressed", String(moment === at));
    }
  }

  /** The legend of the call sites, each a button that lets all others fade. */
  bands() {
    const { page } = this;
    const { sites } = page;
    const item = (bytes, band) => {
      const site = sites.coloured[band];
      if (band < COLOURS ? !site : bytes <= 0) return null;
      const name = element("span", {}, this.bandName(band));
      const words = [swatch(band), name, " ", bytesElement(bytes)];
      if (!site) return element("li", {}, ...words);
      const attributes = {
        type: "button",
        class: "site",
        title: [site.name, site.text].filter(Boolean).join("\n"),
        "data-key": `band-${band}`,
        "aria-pressed": String(page.chosen === site.number),
        onclick: () => page.choose(site.number),
      };
      return element("li", {}, element("button", attributes, ...words));
    };
    keepingFocus(byId("bands-legend"), () =>
      fill("bands-legend", ...Array.from(sites.cursor()(page.moment), item)),
    );
  }

  bandName(band) {
    const { sites, memory } = this.page;
    const site = sites.coloured[band];
    if (band < COLOURS) {
      if (!site.name) return shortPlace(site.text);
      const name = shortName(site.name);
      // Debug information with lines alone has no paths of functions.
      return name.includes("::") ? name : `${name}, ${site.text.split("/").at(-1)}`;
    }
    if (band === UNKNOWN_COLOUR) return "not known";
    return memory.isBySize ? "all other sizes" : "all other call sites";
  }

  // Beside the pointer.

  levelsAt({ from, to, most, least }) {
    const { memory, head } = this.page;
    const { live, reserved } = memory;
    const low = live[most] === live[least] ? "" : `${formatBytes(live[least])} to `;
    const mark = head.marks.findLast(([ns]) => ns <= memory.timeOf(most));
    return [
      `live ${low}${formatBytes(live[most])}`,
      `reserved ${formatBytes(reserved[most])}`,
      to > from && counted(to - from, "event"),
      mark && `after “${mark[1]}”`,
    ];
  }

  bandAt(found, { most }) {
    const all = `all ${formatBytes(this.page.memory.live[most])}`;
    if (!found) return [all];
    const site = this.page.sites.coloured[found.band];
    const name = this.bandName(found.band);
    return [`${name}: ${formatBytes(found.bytes)}`, site?.name && site.text, all];
  }

  block(block) {
    const { memory, sites, moment } = this.page;
    const site = sites.all[sites.of(block)];
    const [bytes, blockBytes] = [memory.bytes[block], memory.blockBytes[block]];
    const age = memory.timeOf(moment) - memory.bornNs[block];
    return [
      `${formatBytes(bytes)}${blockBytes > bytes ? ` in a block of ${formatBytes(blockBytes)}` : ""}`,
      site.name,
      site.name === site.text ? null : site.text,
      `at ${memory.addressText(memory.address[block])}, ${this.owner(memory.owner[block])}`,
      Number.isNaN(age) ? "from before the recording" : `${formatDuration(age)} old`,
    ].filter(Boolean);
  }

  owner(owner) {
    const { owner_name: name, owners } = this.page.memory;
    return `${name} ${owners[owner]}`;
  }

  found(bytes, whole) {
    byId("found").textContent =
      bytes === null ? "" : `${formatBytes(bytes)}, ${formatShare(bytes, whole)} of the graph`;
  }

  /** To those who listen rather than look. */
  say(lines) {
    byId("said").textContent = lines.filter(Boolean).join(", ");
  }
}
