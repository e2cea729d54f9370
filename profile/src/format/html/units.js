// Numbers for people.

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Bytes in the unit that suits them, with three digits at least: `1.25 GiB`. */
function formatBytes(bytes) {
  const size = Math.abs(bytes);
  let power = 0;
  while (power + 1 < BYTE_UNITS.length && size >= 1024 ** (power + 1) * 0.9995) power++;
  const value = bytes / 1024 ** power;
  const digits =
    power === 0 ? 0 : size / 1024 ** power >= 99.95 ? 0 : size / 1024 ** power >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${BYTE_UNITS[power]}`;
}

/** A whole number with thin spaces between thousands. */
function formatCount(count) {
  return Math.round(count)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

function counted(count, noun) {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function formatShare(part, whole) {
  if (!(whole > 0)) return "–";
  const percent = (100 * part) / whole;
  return `${percent >= 99.95 || percent === 0 ? percent.toFixed(0) : percent.toFixed(1)} %`;
}

const TIME_UNITS = [
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "µs"],
  [1, "ns"],
];

/** A duration in the unit that suits it. */
function formatDuration(ns) {
  if (ns >= 600e9) return `${(ns / 60e9).toFixed(1)} min`;
  const [unit, name] = TIME_UNITS.find(([unit]) => ns >= unit) ?? TIME_UNITS[3];
  const value = ns / unit;
  const digits = unit === 1 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${name}`;
}

/** A moment, as exactly as one can tell moments apart that are `step` apart. */
function formatMoment(ns, step) {
  const [unit, name] =
    TIME_UNITS.find(([unit]) => Math.abs(ns) >= unit || step >= unit) ?? TIME_UNITS[3];
  const digits = Math.min(9, Math.max(0, Math.ceil(Math.log10(unit / Math.max(step, 1)))));
  return `${(ns / unit).toFixed(digits)} ${name}`;
}

/** A line of the code, or the program or library where the line is not known. */
function placeOf(file, line) {
  return line > 0 ? `${file}:${line}` : file.slice(file.lastIndexOf("/") + 1);
}

/** The steps of an axis from zero to `most` bytes: a power of two apart, about `count`. */
function byteTicks(most, count) {
  const step = 2 ** Math.max(0, Math.round(Math.log2(Math.max(most, 1) / count)));
  const ticks = [];
  for (let at = 0; at <= most; at += step) ticks.push(at);
  return ticks;
}

/** The steps of an axis between two numbers: one, two or five of a power of ten apart. */
function decimalStep(from, to, count) {
  const rough = Math.max((to - from) / count, 1e-3);
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
}

/** Bytes of an axis, without zeros after the point. */
function shortBytes(bytes) {
  const power = Math.min(5, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${Number(value.toFixed(2))} ${BYTE_UNITS[power]}`;
}
