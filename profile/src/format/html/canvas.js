// What all pictures share: their size and their colours.

/** A canvas as wide as its box, in the device's own pixels. */
class Picture {
  constructor(box, draw) {
    this.box = box;
    this.canvas = box.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    this.width = this.height = 0;
    new ResizeObserver(() => box.clientWidth !== this.width && draw()).observe(box);
  }

  /** Clears it, for drawing in CSS pixels; `false` while it has no room. */
  begin(height) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    [this.width, this.height, this.ratio] = [this.box.clientWidth, height, ratio];
    const [width, lines] = [Math.round(this.width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== lines) {
      [this.canvas.width, this.canvas.height] = [width, lines];
      this.canvas.style.height = `${height}px`;
    }
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.clearRect(0, 0, this.width, height);
    this.context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    return this.width > 0;
  }

  /** Where the pointer is, CSS pixels. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }
}

const COLOUR_NAMES = [
  "ink",
  "muted",
  "line",
  "paper",
  "live",
  "live-soft",
  "reserved",
  "limit",
  "free",
  "pending",
  "frame",
  "found",
  "mark",
];
let colours = {};

/** Reads the colours of the style sheet as they are now, in light or in dark. */
function readColours() {
  const probe = document.body.appendChild(element("i"));
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  colours = Object.fromEntries(COLOUR_NAMES.map((name) => [name, read(name)]));
  colours.sites = Array.from({ length: BANDS }, (_, i) => read(`site-${i}`));
  probe.remove();
}

function rgbOf(colour) {
  return colour
    .match(/[\d.]+/g)
    .slice(0, 3)
    .map(Number);
}

/** Black or white, whichever is easier to read on a colour. */
function inkOn(colour) {
  const [red, green, blue] = rgbOf(colour).map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.19 ? "#14171a" : "#ffffff";
}

/** Text that ends in an ellipsis where it does not fit; nothing where not even that would tell. */
function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const fit = Math.floor((text.length * width) / context.measureText(text).width) - 1;
  return fit < 3 ? "" : `${text.slice(0, fit)}…`;
}
