// Pieces of the page.

const root = document.documentElement;
const byId = (id) => document.getElementById(id);

/** Gives an element other children; what is false or missing is left out. */
function fill(id, ...children) {
  byId(id).replaceChildren(...children.filter(Boolean));
}

/** Draws the children of an element anew; what had the focus has it again. */
function keepingFocus(parent, draw) {
  const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  draw();
  if (key) parent.querySelector(`[data-key="${key}"]`)?.focus();
}

/** Shows lines of text beside the pointer; the first one is a heading. */
function showTip(event, lines) {
  const tip = byId("tip");
  tip.replaceChildren(...lines.filter(Boolean).map((line) => element("div", {}, line)));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left =
    event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
  const top = Math.min(event.clientY + 14, innerHeight - height - 8);
  tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
}

function hideTip() {
  byId("tip").hidden = true;
}

/** An element with attributes and children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** Bytes for people, with the exact number for machines. */
function bytesElement(bytes) {
  return element(
    "data",
    { value: bytes, title: `${formatCount(bytes)} bytes` },
    formatBytes(bytes),
  );
}

function countElement(count) {
  return element("data", { value: count }, formatCount(count));
}

/** The colour of a call site, as a small square. */
function swatch(colour) {
  return element("i", {
    class: "swatch",
    style: `background: var(--site-${colour})`,
    "aria-hidden": "true",
  });
}
