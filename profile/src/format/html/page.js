// The page: what is chosen, and who has to be drawn again.

class Page {
  constructor(head) {
    this.head = head;
    this.memories = new Map();
    [this.moment, this.hover, this.chosen, this.search, this.byEvents] = [0, null, -1, "", false];
    readColours();
    document.title = document.getElementById("title").textContent = head.title;
    this.charts = [
      new TimeChart(this, document.getElementById("levels"), 190, levelsPaint(this), (column) => this.tellLevels(column)),
      new TimeChart(this, document.getElementById("bands"), 230, bandsPaint(this), (column, bytes) => this.tellBand(column, bytes)),
    ];
    this.map = new MapView(this);
    this.flame = new FlameView(this);
    this.tables = new TablesView(this);
    this.tellAbout();
    this.makeControls();
    this.followHash(true);
    addEventListener("hashchange", () => this.followHash(false));
  }

  /** Reads a memory when it is first asked for. */
  chooseMemory(name) {
    const { head } = this;
    const found = head.memories.find((memory) => memory.name === name) ?? this.defaultMemory();
    if (!this.memories.has(found.name)) {
      const memory = new Memory(head, found);
      const extremes = { live: new Extremes(memory.live), reserved: new Extremes(memory.reserved) };
      const peak = extremes.live.within(0, memory.eventCount + 1)[0];
      this.memories.set(found.name, { memory, extremes, peak, sites: new Sites(head, memory) });
    }
    Object.assign(this, this.memories.get(found.name));
    this.chosen = -1;
    this.axis = new Axis(this.memory, this.byEvents);
    this.flame.reset();
    for (const radio of document.querySelectorAll("input[name=memory]")) radio.checked = radio.value === found.name;
    const slider = document.getElementById("slider");
    slider.max = this.memory.eventCount;
    this.tellFigures();
  }

  /** The one of most events, or else of most bytes. */
  defaultMemory() {
    const weight = (memory) => memory.packed ? memory.packed.kind.count : (this.memories.get(memory.name)?.memory.eventCount ?? 0);
    return this.head.memories.toSorted((a, b) => weight(b) - weight(a) || b.live_bytes - a.live_bytes)[0];
  }

  // What is chosen.

  setMoment(moment) {
    this.moment = clamp(Math.round(moment), 0, this.memory.eventCount);
    const at = this.axis.of(this.moment);
    if (at < this.axis.from || at > this.axis.to) {
      this.axis.pan((at - (this.axis.from + this.axis.to) / 2) / (this.axis.to - this.axis.from));
      this.drawTime();
    }
    this.drawMoment();
  }

  setHover(position) {
    if (this.hover === position) return;
    this.hover = position;
    this.charts.forEach((chart) => chart.drawMoment());
  }

  /** Lets all other call sites fade; the same again, or -1, lets none. */
  choose(site) {
    this.chosen = site === this.chosen ? -1 : site;
    this.drawTime();
    this.drawMoment();
  }

  isFaded(band) {
    return this.chosen >= 0 && this.sites.colourOf[this.chosen] !== band;
  }

  resetZoom() {
    this.axis.show(0, this.axis.end);
    this.drawTime();
  }

  // Drawing, once a frame.

  drawTime() {
    this.later("time", () => {
      this.charts.forEach((chart) => chart.draw());
      document.getElementById("zoom-reset").disabled = this.axis.isWhole;
    });
  }

  drawMoment() {
    this.later("moment", () => {
      this.tellMoment();
      this.charts.forEach((chart) => chart.drawMoment());
      this.map.draw();
      this.flame.draw();
      this.tables.draw();
      this.writeHash();
    });
  }

  later(what, draw) {
    this.waiting ??= new Map();
    if (this.waiting.size === 0) {
      requestAnimationFrame(() => {
        const all = [...this.waiting.values()];
        this.waiting.clear();
        all.forEach((each) => each());
      });
    }
    this.waiting.set(what, draw);
  }

  // Where in the page's address.

  /** `#memory=device&t=1.5` in seconds, or `t=begin`, `peak`, `end`, or `event=1000`. */
  followHash(isFirst) {
    const asked = new URLSearchParams(location.hash.slice(1));
    const name = asked.get("memory");
    if (isFirst || (name && name !== this.memory.name)) this.chooseMemory(name);
    const named = { begin: 0, peak: this.peak, end: this.memory.eventCount }[asked.get("t") ?? "peak"];
    const seconds = Number.parseFloat(asked.get("t"));
    const event = Number.parseInt(asked.get("event"), 10);
    const moment = Number.isFinite(event) ? event : (named ?? (Number.isFinite(seconds) ? this.memory.momentAt(seconds * 1e9) : this.peak));
    if (isFirst || moment !== this.moment) this.setMoment(moment);
    if (isFirst) this.drawTime();
  }

  writeHash() {
    const hash = `#memory=${this.memory.name}&event=${this.moment}`;
    if (location.hash !== hash) history.replaceState(null, "", hash);
  }

  // In words.

  tellAbout() {
    const { head } = this;
    const events = sum(head.memories, (memory) => memory.packed.kind.count);
    const about = `${new Date(head.begin_ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })} · ${formatDuration(head.duration_ns)} · ${formatCount(events)} events`;
    document.getElementById("about").textContent = about;
    const notes = [];
    if (head.lost_events > 0) {
      notes.push(`${formatCount(head.lost_events)} earlier events are lost, because the memory for them is bounded. The curves begin after them; the figures at the end are exact.`);
    }
    if (events === 0) notes.push("No event was recorded: what follows is the state at the end.");
    document.getElementById("notes").replaceChildren(...notes.map((note) => element("p", {}, note)));
  }

  tellFigures() {
    const { memory, peak } = this;
    const { report } = memory;
    const end = memory.eventCount;
    const mostReserved = memory.reserved[this.extremes.reserved.within(0, end + 1)[0]];
    const figures = [
      ["Peak live", "peak-live", bytesElement(memory.live[peak])],
      ["Live at the end", "live", bytesElement(memory.live[end])],
      ["Peak reserved", "peak-reserved", bytesElement(Math.max(mostReserved, report?.reserved_peak_bytes ?? 0))],
      ["Reserved at the end", "reserved", bytesElement(memory.reserved[end])],
      memory.limit_bytes && ["Limit", "limit", bytesElement(memory.limit_bytes)],
      report && ["Allocated so far", "total", bytesElement(report.total_bytes)],
      report && ["Allocations so far", "allocations", countElement(report.total_blocks)],
      report?.hits > 0 && ["From memory at hand", "hits", formatShare(report.hits, 1)],
    ];
    document.getElementById("figures").replaceChildren(
      ...figures.filter(Boolean).map(([name, id, value]) => element("div", {}, element("dt", {}, name), element("dd", { id: `figure-${id}` }, value))),
    );
    this.tellFailures();
    const label = `from ${formatBytes(memory.live[0])} to ${formatBytes(memory.live[end])}, at most ${formatBytes(memory.live[peak])}`;
    this.charts[0].canvas.setAttribute("aria-label", `Live memory over time, ${label}; reserved at most ${formatBytes(mostReserved)}.`);
    this.charts[1].canvas.setAttribute("aria-label", `Live memory by call site over time, ${label}. The legend has the figures of the chosen moment.`);
  }

  /** Requests that could not be served, each with a way to its moment. */
  tellFailures() {
    const failures = this.memory.others.filter(({ kind }) => kind === OUT_OF_MEMORY);
    const shown = failures.slice(0, 3).map(({ event, bytes, stack }) => {
      const site = this.sites.all[this.sites.ofStack[stack]];
      const when = formatMoment(this.memory.timeOf(event + 1), 1e5);
      const go = () => this.setMoment(event + 1);
      return element("p", {}, "A request of ", bytesElement(bytes), ` from ${site.name || site.text} could not be served at `, element("button", { type: "button", class: "quiet", onclick: go }, when), ".");
    });
    if (failures.length > 3) shown.push(element("p", {}, `${counted(failures.length - 3, "more request")} could not be served.`));
    document.getElementById("failures").replaceChildren(...shown);
  }

  tellLevels({ from, to, most, least }) {
    const { live, reserved } = this.memory;
    const range = live[most] === live[least] ? formatBytes(live[most]) : `${formatBytes(live[least])} to ${formatBytes(live[most])}`;
    const words = this.head.marks.findLast(([ns]) => ns <= this.memory.timeOf(most));
    return [`live ${range}`, `reserved ${formatBytes(reserved[most])}`, to > from ? `${formatCount(to - from)} events` : null, words && `after “${words[1]}”`];
  }

  tellBand(column, bytes) {
    const found = this.charts[1].paint.bandAt(this.charts[1], column, bytes);
    const total = `all ${formatBytes(this.memory.live[column.most])}`;
    return found ? [`${this.bandText(found.band)}: ${formatBytes(found.bytes)}`, total] : [total];
  }

  bandText(band) {
    return band < COLOURS ? this.sites.coloured[band].name || this.sites.coloured[band].text : band === COLOURS ? "all other call sites" : "not known";
  }

  tellMoment() {
    const { memory, moment } = this;
    const slider = document.getElementById("slider");
    slider.value = moment;
    const levels = [
      ["live", "Live", memory.live[moment]],
      ["reserved", "Cached", Math.max(0, memory.reserved[moment] - memory.allocated[moment])],
      ["line", "Reserved", memory.reserved[moment]],
      memory.limit_bytes && ["limit", "Limit", memory.limit_bytes],
    ].filter(Boolean);
    const when = formatMoment(memory.timeOf(moment), Math.max(memory.durationNs / 1e5, 1));
    slider.setAttribute("aria-valuetext", [when, ...levels.map(([, name, bytes]) => `${name} ${formatBytes(bytes)}`)].join(", "));
    document.getElementById("when").textContent = when;
    const number = `event ${formatCount(moment)} of ${formatCount(memory.eventCount)}`;
    document.getElementById("which").textContent = number;
    document.getElementById("moment-live").replaceChildren(bytesElement(memory.live[moment]), " live");
    document.getElementById("levels-legend").replaceChildren(
      ...levels.map(([key, name, bytes]) => element("li", {}, element("i", { class: `swatch ${key}`, "aria-hidden": "true" }), `${name} `, bytesElement(bytes))),
    );
    this.tellBands();
    for (const [id, at] of [["begin", 0], ["peak", this.peak], ["end", memory.eventCount]]) {
      document.getElementById(`go-${id}`).setAttribute("aria-pressed", String(moment === at));
    }
  }

  tellBands() {
    const sums = this.sites.cursor()(this.moment);
    const items = Array.from(sums, (bytes, band) => {
      if (band < COLOURS ? !this.sites.coloured[band] : bytes <= 0) return null;
      const site = this.sites.coloured[band];
      const words = [swatch(band), element("span", {}, site ? site.name || shortPlace(site.text) : this.bandText(band)), " ", bytesElement(bytes)];
      return site
        ? element("li", {}, element("button", { type: "button", class: "site", "data-key": `band-${band}`, title: site.text, "aria-pressed": String(this.chosen === site.number), onclick: () => this.choose(site.number) }, ...words))
        : element("li", {}, ...words);
    });
    const legend = document.getElementById("bands-legend");
    const focused = legend.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    legend.replaceChildren(...items.filter(Boolean));
    if (focused) legend.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  linesOf(block) {
    const { memory, sites } = this;
    const site = sites.all[sites.of(block)];
    const age = memory.timeOf(this.moment) - memory.bornNs[block];
    return [
      `${formatBytes(memory.bytes[block])}${memory.blockBytes[block] > memory.bytes[block] ? ` in a block of ${formatBytes(memory.blockBytes[block])}` : ""}`,
      site.name && `${site.name}`, site.text,
      `at ${memory.addressText(memory.address[block])}, ${this.ownerText(memory.owner[block])}`,
      Number.isNaN(age) ? "from before the recording" : `${formatDuration(age)} old`,
    ];
  }

  ownerText(owner) {
    return `${this.memory.owner_name} ${this.memory.owners[owner]}`;
  }

  tellFound(bytes, whole) {
    document.getElementById("found").textContent = bytes === null ? "" : `${formatBytes(bytes)}, ${formatShare(bytes, whole)} of the flame graph`;
  }

  /** To those who listen rather than look. */
  say(text) {
    document.getElementById("said").textContent = text;
  }

  // What can be pressed.

  makeControls() {
    const on = (id, event, act) => document.getElementById(id).addEventListener(event, act);
    const memories = document.getElementById("memories");
    memories.hidden = this.head.memories.length < 2;
    for (const { name } of this.head.memories) {
      const choose = () => (this.chooseMemory(name), this.setMoment(this.peak), this.drawTime());
      memories.append(element("label", {}, element("input", { type: "radio", name: "memory", value: name, onchange: choose }), element("span", {}, name)));
    }
    on("axis", "change", (event) => {
      this.byEvents = event.target.value === "events";
      this.axis = new Axis(this.memory, this.byEvents);
      this.drawTime();
      this.drawMoment();
    });
    on("slider", "input", (event) => this.setMoment(event.target.valueAsNumber));
    on("go-begin", "click", () => this.setMoment(0));
    on("go-peak", "click", () => this.setMoment(this.peak));
    on("go-end", "click", () => this.setMoment(this.memory.eventCount));
    on("zoom-in", "click", () => (this.axis.zoom(0.5, this.axis.of(this.moment)), this.drawTime()));
    on("zoom-out", "click", () => (this.axis.zoom(2), this.drawTime()));
    on("zoom-reset", "click", () => this.resetZoom());
    on("search", "input", (event) => {
      this.search = event.target.value.trim();
      this.drawMoment();
    });
    this.makeMarks();
    this.makeTabs();
    this.makeTheme();
  }

  makeMarks() {
    const select = document.getElementById("marks");
    select.parentElement.hidden = this.head.marks.length === 0;
    this.head.marks.forEach(([ns, label], i) => select.append(element("option", { value: i }, `${label} · ${formatMoment(ns, 1e6)}`)));
    select.addEventListener("change", () => {
      const mark = this.head.marks[select.value];
      if (mark) this.setMoment(this.memory.momentAt(mark[0]));
    });
  }

  makeTabs() {
    const tabs = [...document.querySelectorAll("[role=tab]")];
    const choose = (chosen) => {
      for (const tab of tabs) {
        tab.setAttribute("aria-selected", String(tab === chosen));
        tab.tabIndex = tab === chosen ? 0 : -1;
        document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
      }
    };
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", ({ key }) => {
        const step = { ArrowRight: 1, ArrowLeft: tabs.length - 1 }[key];
        if (!step) return;
        const next = tabs[(i + step) % tabs.length];
        choose(next);
        next.focus();
      });
    });
  }

  makeTheme() {
    const redraw = () => {
      readColours();
      this.drawTime();
      this.drawMoment();
    };
    document.getElementById("theme").addEventListener("change", ({ target }) => {
      document.documentElement.dataset.theme = target.value;
      redraw();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }
}

const root = document.documentElement;
try {
  const head = await readData(document.getElementById("data").textContent.trim());
  document.getElementById("data").remove();
  if (head.memories.length > 0) root.page = new Page(head);
  root.dataset.state = head.memories.length > 0 ? "ready" : "empty";
  if (head.memories.length === 0) document.getElementById("title").textContent = document.title = head.title;
} catch (error) {
  root.dataset.state = "failed";
  document.getElementById("failure").textContent = `The recording in this file cannot be read: ${error.message}. A browser of the years since 2024 is needed.`;
  throw error;
}
requestAnimationFrame(() => setTimeout(() => (root.dataset.readyMs = performance.now().toFixed(0))));
