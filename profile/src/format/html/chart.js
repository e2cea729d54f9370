// Memory over time: the levels, and who makes them up. Both charts show the same stretch.

const GUTTER = 68,
  RIGHT = 14,
  HEAD = 20,
  FOOT = 24;

/** The horizontal axis: time, or the number of events, where all have the same width. */
class Axis {
  constructor(memory, byEvents) {
    [this.memory, this.byEvents] = [memory, byEvents];
    this.end = Math.max(byEvents ? memory.eventCount : memory.durationNs, 1);
    [this.from, this.to] = [0, this.end];
  }

  momentAt(x) {
    return this.byEvents
      ? clamp(Math.round(x), 0, this.memory.eventCount)
      : this.memory.momentAt(x);
  }

  of(moment) {
    return this.byEvents ? moment : this.memory.timeOf(moment);
  }

  ofTime(ns) {
    return this.byEvents ? this.memory.momentAt(ns) : ns;
  }

  get isWhole() {
    return this.from <= 0 && this.to >= this.end;
  }

  show(from, to) {
    const least = Math.min(this.byEvents ? 4 : 20, this.end);
    const length = clamp(to - from, least, this.end);
    this.from = clamp(from, 0, this.end - length);
    this.to = this.from + length;
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    this.show(around - (around - this.from) * factor, around + (this.to - around) * factor);
  }

  pan(share) {
    const by = (this.to - this.from) * share;
    this.show(this.from + by, this.to + by);
  }

  text(x, step = (this.to - this.from) / 1000) {
    return this.byEvents ? formatCount(x) : formatMoment(x, step);
  }
}

function clamp(value, least, most) {
  return Math.max(least, Math.min(most, value));
}

/** A chart of the axis that `page` shows; `paint` draws its content by columns. */
class TimeChart {
  constructor(page, box, height, paint) {
    Object.assign(this, { page, box, plotHeight: height, paint, drag: null });
    this.picture = new Picture(box, () => this.draw());
    this.canvas = this.picture.canvas;
    this.overlay = box.querySelector(".over");
    this.listen();
  }

  get plotWidth() {
    return Math.max(this.picture.width - GUTTER - RIGHT, 1);
  }

  xOf(position) {
    const { from, to } = this.page.axis;
    return GUTTER + ((position - from) / (to - from)) * this.plotWidth;
  }

  positionAt(x) {
    const { from, to } = this.page.axis;
    return (
      from + ((clamp(x, GUTTER, GUTTER + this.plotWidth) - GUTTER) / this.plotWidth) * (to - from)
    );
  }

  yOf(bytes) {
    return HEAD + this.plotHeight * (1 - bytes / this.top);
  }

  draw() {
    if (!this.page.axis || !this.picture.begin(HEAD + this.plotHeight + FOOT)) return;
    const { context } = this.picture;
    this.columns = this.measure();
    this.top = Math.max(this.paint.most(this.columns), 1) * 1.06;
    this.grid(context);
    context.save();
    context.beginPath();
    context.rect(GUTTER, HEAD, this.plotWidth, this.plotHeight + 1);
    context.clip();
    this.paint.draw(this, context);
    context.restore();
    this.marks(context);
    this.drawMoment();
  }

  /** The moments that each column of pixels stands for: first, most and least live, last. */
  measure() {
    const { axis, extremes } = this.page;
    const columns = [];
    const width = Math.ceil(this.plotWidth);
    let from = axis.momentAt(this.positionAt(GUTTER));
    for (let x = 0; x < width; x++) {
      const to = axis.momentAt(this.positionAt(GUTTER + x + 1));
      const [most, least] = extremes.live.within(from, to + 1);
      columns.push({ from, to, most, least });
      from = to;
    }
    return columns;
  }

  /** One shape between two levels of each column. */
  fill(context, colour, lower, upper) {
    context.fillStyle = colour;
    context.beginPath();
    const count = this.columns.length;
    for (let i = 0; i < count; i++) {
      context.lineTo(GUTTER + i, this.yOf(upper(i)));
      context.lineTo(GUTTER + i + 1, this.yOf(upper(i)));
    }
    for (let i = count - 1; i >= 0; i--) {
      context.lineTo(GUTTER + i + 1, this.yOf(lower(i)));
      context.lineTo(GUTTER + i, this.yOf(lower(i)));
    }
    context.fill();
  }

  line(context, colour, level, width = 1.5) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    for (let i = 0; i < this.columns.length; i++) {
      context.lineTo(GUTTER + i, this.yOf(level(i)));
      context.lineTo(GUTTER + i + 1, this.yOf(level(i)));
    }
    context.stroke();
  }

  grid(context) {
    const { axis } = this.page;
    context.lineWidth = 1;
    context.fillStyle = colours.muted;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const bytes of byteTicks(this.top, 5)) {
      const y = Math.round(this.yOf(bytes)) + 0.5;
      context.strokeStyle = bytes === 0 ? colours.muted : colours.line;
      context.beginPath();
      context.moveTo(GUTTER, y);
      context.lineTo(GUTTER + this.plotWidth, y);
      context.stroke();
      context.fillText(bytes === 0 ? "0" : shortBytes(bytes), GUTTER - 8, y);
    }
    const step = decimalStep(axis.from, axis.to, this.plotWidth / 110);
    context.textAlign = "center";
    context.textBaseline = "top";
    context.strokeStyle = colours.muted;
    for (let at = Math.ceil(axis.from / step) * step; at <= axis.to; at += step) {
      const x = Math.round(this.xOf(at)) + 0.5;
      context.beginPath();
      context.moveTo(x, HEAD + this.plotHeight);
      context.lineTo(x, HEAD + this.plotHeight + 4);
      context.stroke();
      const text = at === 0 ? "0" : axis.text(at, step);
      const half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(x, this.picture.width - half), HEAD + this.plotHeight + 7);
    }
  }

  /** What the program said, as far as there is room for its words. */
  marks(context) {
    const { axis, head } = this.page;
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.fillStyle = colours.muted;
    let [free, drawn] = [GUTTER, -9];
    for (const [ns, label] of head.marks) {
      const x = this.xOf(axis.ofTime(ns));
      if (x < GUTTER || x > GUTTER + this.plotWidth || x < drawn + 3) continue;
      drawn = x;
      context.fillStyle = colours.mark;
      context.fillRect(Math.round(x), HEAD - 4, 1, this.plotHeight + 4);
      const text = label.length > 24 ? `${label.slice(0, 23)}…` : label;
      const width = context.measureText(text).width;
      if (!this.paint.hasWords || x < free || x + width > this.picture.width) continue;
      context.fillStyle = colours.muted;
      context.fillText(text, x, HEAD - 8);
      free = x + width + 14;
    }
  }

  /** The chosen moment, and what is being selected: over the chart, which stays as it is. */
  drawMoment() {
    const place = (name, x, width = 0) => {
      const line = this.overlay.querySelector(`.${name}`);
      line.hidden = !(x + width >= GUTTER - 1 && x <= GUTTER + this.plotWidth + 1);
      line.style.transform = `translateX(${x}px)`;
      if (width) line.style.width = `${width}px`;
    };
    place("moment", this.xOf(this.page.axis.of(this.page.moment)));
    const { hover } = this.page;
    place("hover", hover === null ? -1 : this.xOf(hover));
    const { drag } = this;
    if (drag?.moved) place("drag", Math.min(drag.from, drag.to), Math.abs(drag.to - drag.from));
    else this.overlay.querySelector(".drag").hidden = true;
  }

  listen() {
    const { canvas, page, picture } = this;
    const redraw = () => page.drawTime();
    canvas.addEventListener(
      "wheel",
      (event) => {
        const { axis } = page;
        if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
          axis.pan((event.deltaX + event.deltaY) / 1200);
        } else if (event.deltaY > 0 && axis.isWhole) {
          return; // The page scrolls on.
        } else {
          axis.zoom(1.0015 ** event.deltaY, this.positionAt(picture.at(event)[0]));
        }
        event.preventDefault();
        redraw();
      },
      { passive: false },
    );
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const [x] = picture.at(event);
      this.drag = { from: x, to: x, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.drop());
    canvas.addEventListener("pointercancel", () => ((this.drag = null), this.drawMoment()));
    canvas.addEventListener("pointerleave", () => (hideTip(), page.setHover(null)));
    canvas.addEventListener("dblclick", () => page.resetZoom());
    this.box.addEventListener("keydown", (event) => this.key(event));
  }

  move(event) {
    const [x, y] = this.picture.at(event);
    const { drag, page } = this;
    if (drag) {
      drag.to = clamp(x, GUTTER, GUTTER + this.plotWidth);
      drag.moved ||= Math.abs(x - drag.from) > 4;
    }
    if (x < GUTTER || x > GUTTER + this.plotWidth || !this.columns) {
      page.setHover(null);
      return hideTip();
    }
    page.setHover(this.positionAt(x));
    const column = this.columns[Math.min(Math.floor(x - GUTTER), this.columns.length - 1)];
    const bytes = this.top * (1 - (y - HEAD) / this.plotHeight);
    showTip(event, [page.axis.text(this.positionAt(x)), ...this.paint.tell(this, column, bytes)]);
  }

  drop() {
    const { drag, page } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.moved) {
      page.axis.show(...[drag.from, drag.to].sort((a, b) => a - b).map((x) => this.positionAt(x)));
      page.drawTime();
    } else {
      const column =
        this.columns[clamp(Math.floor(drag.from - GUTTER), 0, this.columns.length - 1)];
      page.setMoment(column.most);
    }
  }

  key(event) {
    const { page } = this;
    const step =
      page.axis.momentAt(page.axis.from + (page.axis.to - page.axis.from) / 200) -
      page.axis.momentAt(page.axis.from);
    const keys = {
      "+": () => page.axis.zoom(0.5, page.axis.of(page.moment)),
      "=": () => page.axis.zoom(0.5, page.axis.of(page.moment)),
      "-": () => page.axis.zoom(2),
      0: () => page.axis.show(0, page.axis.end),
      Escape: () => page.axis.show(0, page.axis.end),
      ArrowLeft: () =>
        event.shiftKey ? page.axis.pan(-0.2) : page.setMoment(page.moment - Math.max(step, 1)),
      ArrowRight: () =>
        event.shiftKey ? page.axis.pan(0.2) : page.setMoment(page.moment + Math.max(step, 1)),
      Home: () => page.setMoment(0),
      End: () => page.setMoment(page.memory.eventCount),
      p: () => page.setMoment(page.peak),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
    page.drawTime();
  }
}
