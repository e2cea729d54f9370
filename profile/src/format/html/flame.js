// Who holds the memory at a moment, from the outermost frame in: the width of a frame is its bytes.

const FRAME_ROW = 21;

/** All stacks as one tree; only its weights differ from moment to moment. */
class Tree {
  constructor(memory, sites) {
    this.frames = memory.frames;
    this.nodes = [this.node(`${memory.name} memory`, "", -1)];
    this.children = new Map();
    this.leafOf = memory.stacks.map((stack, number) => this.grow(sites, stack, number));
  }

  node(name, place, parent) {
    return { name, place, parent, site: -1, children: [], bytes: 0, blocks: 0 };
  }

  grow(sites, stack, number) {
    let node = 0;
    for (let i = Math.max(stack.length, 1) - 1; i >= 0; i--) {
      node = this.childOf(node, stack[i] ?? this.frames.length);
      if (i <= sites.frameOfStack[number]) this.nodes[node].site = sites.ofStack[number];
    }
    return node;
  }

  childOf(parent, frame) {
    const key = parent * (this.frames.length + 1) + frame;
    let child = this.children.get(key);
    if (child === undefined) {
      child = this.nodes.length;
      const [name, file, line] = this.frames[frame] ?? ["(unknown)", "", 0];
      const place = placeOf(file, line);
      this.nodes.push(this.node(name || place, name ? place : "", parent));
      this.nodes[parent].children.push(child);
      this.children.set(key, child);
    }
    return child;
  }

  weigh({ bytes, blocks }) {
    for (const node of this.nodes) node.bytes = node.blocks = 0;
    this.leafOf.forEach((leaf, stack) => {
      this.nodes[leaf].bytes += bytes[stack];
      this.nodes[leaf].blocks += blocks[stack];
    });
    // Children come after their parents.
    for (let i = this.nodes.length - 1; i > 0; i--) {
      this.nodes[this.nodes[i].parent].bytes += this.nodes[i].bytes;
      this.nodes[this.nodes[i].parent].blocks += this.nodes[i].blocks;
    }
  }

  childrenOf(node) {
    const children = this.nodes[node].children.filter((child) => this.nodes[child].bytes > 0);
    return children.sort((a, b) => this.nodes[b].bytes - this.nodes[a].bytes);
  }

  pathTo(node) {
    const path = [];
    for (let at = node; at >= 0; at = this.nodes[at].parent) path.unshift(at);
    return path;
  }
}

class FlameView {
  constructor(page) {
    this.page = page;
    this.box = byId("flame");
    this.picture = new Picture(this.box, () => this.draw());
    this.root = 0;
    this.focus = -1;
    const { canvas } = this.picture;
    canvas.addEventListener("pointermove", (event) => {
      const found = this.under(event);
      canvas.style.cursor = found ? "pointer" : "";
      if (found) showTip(event, this.linesOf(found.node));
      else hideTip();
    });
    canvas.addEventListener("pointerleave", hideTip);
    canvas.addEventListener("click", (event) => {
      const found = this.under(event);
      if (found) this.zoom(found.node);
    });
    this.box.addEventListener("keydown", (event) => this.key(event));
    byId("flame-reset").addEventListener("click", () => this.zoom(0));
  }

  /** Another memory was chosen. */
  reset() {
    this.tree = new Tree(this.page.memory, this.page.sites);
    [this.root, this.focus] = [0, -1];
  }

  draw() {
    const { page, tree } = this;
    if (!tree) return;
    tree.weigh(page.sites.heldByStack(page.moment));
    if (!tree.nodes[this.root].bytes) this.root = 0;
    const width = this.box.clientWidth;
    this.boxes = this.arrange(width);
    const rows = this.boxes.reduce((most, { row }) => Math.max(most, row + 1), 1);
    byId("flame-reset").hidden = this.root === 0;
    this.describe();
    if (!this.picture.begin(rows * FRAME_ROW)) return;
    const words = page.search.toLowerCase();
    let found = 0;
    for (const box of this.boxes) {
      const node = tree.nodes[box.node];
      const matches = words !== "" && `${node.name} ${node.place}`.toLowerCase().includes(words);
      if (matches && !box.within) found += node.bytes;
      this.drawBox(box, node, matches);
    }
    page.words.found(words === "" ? null : found, tree.nodes[this.root].bytes);
  }

  /** Boxes from the root down; those of parents come first. */
  arrange(width) {
    const { tree } = this;
    const path = tree.pathTo(this.root);
    const boxes = path.map((node, row) => ({
      node,
      row,
      x: 0,
      width,
      whole: row < path.length - 1,
    }));
    const scale = width / Math.max(tree.nodes[this.root].bytes, 1);
    for (let i = path.length - 1; i < boxes.length; i++) {
      let { x } = boxes[i];
      for (const node of tree.childrenOf(boxes[i].node)) {
        const wide = tree.nodes[node].bytes * scale;
        if (wide >= 0.4) boxes.push({ node, row: boxes[i].row + 1, x, width: wide });
        x += wide;
      }
    }
    const words = this.page.search.toLowerCase();
    const matches = new Set();
    for (const box of boxes) {
      const { name, place, parent } = tree.nodes[box.node];
      box.within = matches.has(parent) || box.whole;
      if (matches.has(parent) || (words && `${name} ${place}`.toLowerCase().includes(words)))
        matches.add(box.node);
    }
    return boxes;
  }

  drawBox({ node: number, row, x, width, whole }, node, matches) {
    const { context } = this.picture;
    const { page } = this;
    const band = node.site < 0 ? -1 : page.sites.colourOf[node.site];
    const plain = band < 0 ? colours.frame : colours.sites[band];
    const colour = matches ? colours.found : plain;
    const isOther = page.chosen >= 0 && node.site >= 0 && node.site !== page.chosen;
    const faded = !matches && (whole || isOther || page.search !== "");
    const y = row * FRAME_ROW;
    context.globalAlpha = faded ? 0.4 : 1;
    context.fillStyle = colour;
    context.fillRect(x, y, Math.max(width - 1, 0.4), FRAME_ROW - 1);
    context.globalAlpha = 1;
    if (width > 34) {
      context.fillStyle = faded ? colours.ink : inkOn(colour);
      context.textAlign = "left";
      context.textBaseline = "middle";
      const short = node.place ? shortName(node.name) : shortPlace(node.name);
      const labels = [node.name, short].map((name) => `${name}  ${formatBytes(node.bytes)}`);
      const room = width - 12;
      const label = labels.find((text) => context.measureText(text).width <= room) ?? labels[1];
      context.fillText(
        fitted(context, label, room),
        x + 6,
        y + FRAME_ROW / 2,
      );
    }
    if (number === this.focus) {
      context.strokeStyle = colours.ink;
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, Math.max(width - 3, 2), FRAME_ROW - 3);
    }
  }

  linesOf(number) {
    const { nodes } = this.tree;
    const node = nodes[number];
    const of = formatShare(node.bytes, nodes[0].bytes);
    return [
      node.name,
      node.place,
      `${formatBytes(node.bytes)} in ${formatCount(node.blocks)} blocks, ${of}`,
    ];
  }

  describe() {
    const { nodes } = this.tree;
    const top = this.tree
      .childrenOf(this.root)
      .slice(0, 3)
      .map((node) => this.linesOf(node).filter(Boolean).join(", "));
    const text = nodes[0].bytes
      ? `Widest: ${top.join("; ") || this.linesOf(this.root).filter(Boolean).join(", ")}.`
      : "Nothing is live at this moment.";
    this.picture.canvas.setAttribute(
      "aria-label",
      `Flame graph of live bytes. ${text} The table of call sites has all figures.`,
    );
    byId("flame-text").textContent = nodes[0].bytes ? "" : text;
  }

  under(event) {
    const [x, y] = this.picture.at(event);
    const row = Math.floor(y / FRAME_ROW);
    return this.boxes?.find((box) => box.row === row && x >= box.x && x < box.x + box.width);
  }

  zoom(node) {
    this.root = node;
    this.draw();
  }

  key(event) {
    if (!this.boxes?.length) return;
    const { nodes } = this.tree;
    const at = this.focus < 0 ? this.root : this.focus;
    const beside = (step) => {
      const siblings =
        at === this.root || nodes[at].parent < 0 ? [at] : this.tree.childrenOf(nodes[at].parent);
      return siblings[clamp(siblings.indexOf(at) + step, 0, siblings.length - 1)];
    };
    const moves = {
      ArrowDown: () => (this.focus = this.tree.childrenOf(at)[0] ?? at),
      ArrowUp: () => (this.focus = nodes[at].parent < 0 ? at : nodes[at].parent),
      ArrowLeft: () => (this.focus = beside(-1)),
      ArrowRight: () => (this.focus = beside(1)),
      Enter: () => (this.root = at),
      Escape: () => (this.root = 0),
      Backspace: () => (this.root = Math.max(nodes[this.root].parent, 0)),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
    this.page.words.say(this.linesOf(this.focus < 0 ? this.root : this.focus));
    this.draw();
  }
}

/** The last two parts of a path. */
function shortPlace(place) {
  const parts = place.split("/");
  return parts.length > 2 ? `…/${parts.slice(-2).join("/")}` : place;
}

/** The last two parts of a function's path in Rust, without type parameters and traits. */
function shortName(name) {
  let [text, before] = [name, ""];
  while (text !== before) {
    before = text;
    text = text.replace(/([\w}])(?:::)?<[^<>]*>/g, "$1").replace(/^<([^<>]*?)(?: as [^<>]*)?>/, "$1");
  }
  // Names with parameters are those of C++.
  if (text.includes("(")) return name;
  const parts = text.split("::");
  return parts.slice(parts.at(-1).startsWith("{") ? -3 : -2).join("::");
}
