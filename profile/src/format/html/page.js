// The page: what is chosen, and who has to be drawn again.

class Page {
  constructor(head) {
    this.head = head;
    this.memories = new Map();
    [this.moment, this.hover, this.chosen, this.search, this.byEvents] = [0, null, -1, "", false];
    readColours();
    document.title = byId("title").textContent = head.title;
    this.words = new Words(this);
    this.charts = [
      new TimeChart(this, byId("levels"), 190, levelsPaint(this)),
      new TimeChart(this, byId("bands"), 230, bandsPaint(this)),
    ];
    this.map = new MapView(this);
    this.flame = new FlameView(this);
    this.tables = new TablesView(this);
    this.words.about();
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
      const sites = new Sites(memory);
      const leaks = leaksOf({ head, memory, sites });
      this.memories.set(found.name, { memory, extremes, peak, sites, leaks });
    }
    Object.assign(this, this.memories.get(found.name));
    this.chosen = -1;
    this.axis = new Axis(this.memory, this.byEvents);
    this.flame.reset();
    for (const radio of document.querySelectorAll("input[name=memory]"))
      radio.checked = radio.value === found.name;
    const slider = byId("slider");
    slider.max = this.memory.eventCount;
    this.words.figures();
  }

  /** The one of most events, or else of most bytes. */
  defaultMemory() {
    const events = (memory) => memory.packed.kind.count;
    return this.head.memories.toSorted(
      (a, b) => events(b) - events(a) || b.live_bytes - a.live_bytes,
    )[0];
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
      byId("zoom-reset").disabled = this.axis.isWhole;
    });
  }

  drawMoment() {
    this.later("moment", () => {
      this.words.moment();
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
    const named = { begin: 0, peak: this.peak, end: this.memory.eventCount }[
      asked.get("t") ?? "peak"
    ];
    const seconds = Number.parseFloat(asked.get("t"));
    const event = Number.parseInt(asked.get("event"), 10);
    const moment = Number.isFinite(event)
      ? event
      : (named ?? (Number.isFinite(seconds) ? this.memory.momentAt(seconds * 1e9) : this.peak));
    if (isFirst || moment !== this.moment) this.setMoment(moment);
    if (isFirst) this.drawTime();
  }

  writeHash() {
    const hash = `#memory=${this.memory.name}&event=${this.moment}`;
    if (location.hash !== hash) history.replaceState(null, "", hash);
  }

  // What can be pressed.

  makeControls() {
    const on = (id, event, act) => byId(id).addEventListener(event, act);
    const memories = byId("memories");
    memories.hidden = this.head.memories.length < 2;
    for (const { name } of this.head.memories) {
      const choose = () => (this.chooseMemory(name), this.setMoment(this.peak), this.drawTime());
      memories.append(
        element(
          "label",
          {},
          element("input", { type: "radio", name: "memory", value: name, onchange: choose }),
          element("span", {}, name),
        ),
      );
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
    const select = byId("marks");
    select.parentElement.hidden = this.head.marks.length === 0;
    this.head.marks.forEach(([ns, label], i) =>
      select.append(element("option", { value: i }, `${label} · ${formatMoment(ns, 1e6)}`)),
    );
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
        byId(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
      }
      this.drawMoment();
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
    byId("theme").addEventListener("change", ({ target }) => {
      document.documentElement.dataset.theme = target.value;
      redraw();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }
}

try {
  const head = await readData(byId("data").textContent.trim());
  byId("data").remove();
  if (head.memories.length > 0) new Page(head);
  root.dataset.state = head.memories.length > 0 ? "ready" : "empty";
  if (head.memories.length === 0) byId("title").textContent = document.title = head.title;
} catch (error) {
  root.dataset.state = "failed";
  byId("failure").textContent =
    `The recording in this file cannot be read: ${error.message}. ` +
    "A browser of the years since 2024 is needed.";
  throw error;
}
requestAnimationFrame(() =>
  setTimeout(() => (root.dataset.readyMs = performance.now().toFixed(0))),
);
