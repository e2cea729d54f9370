// A table that can be sorted.

const ROWS = 25;

/** A table of `columns`: `{ title, value(row), show(row), text }`; those with `text` sort from A. */
class Table {
  constructor(id, caption, isChosen, columns) {
    this.element = byId(id);
    Object.assign(this, {
      caption,
      isChosen,
      columns,
      sorted: 1,
      down: true,
      limit: ROWS,
      rows: [],
    });
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
    const body = rows.slice(0, this.limit).map((row) => this.row(row));
    if (!body.length) body.push(this.wide(this.empty, "empty"));
    const heads = this.columns.map((column, i) => this.header(column, i));
    keepingFocus(this.element, () =>
      this.element.replaceChildren(
        element("caption", { class: "hidden" }, this.caption),
        element("thead", {}, element("tr", {}, ...heads)),
        element("tbody", {}, ...body),
        ...(rows.length > this.limit ? [element("tfoot", {}, this.more(rows.length))] : []),
      ),
    );
  }

  wide(child, name = null) {
    const cell = element("td", { colspan: this.columns.length, class: name }, child);
    return element("tr", {}, cell);
  }

  header({ title, text, hint }, i) {
    const sorted = i === this.sorted && (this.down ? "descending" : "ascending");
    const press = () => {
      this.down = i === this.sorted ? !this.down : !text;
      this.sorted = i;
      this.draw();
    };
    const name = typeof title === "function" ? title() : title;
    const arrow = element(
      "span",
      { class: "arrow", "aria-hidden": "true" },
      sorted ? (this.down ? "↓" : "↑") : "",
    );
    const button = element(
      "button",
      { type: "button", title: hint, "data-key": `head-${i}`, onclick: press },
      ...(text ? [name, arrow] : [arrow, name]),
    );
    return element(
      "th",
      { scope: "col", class: text ? "text" : "", "aria-sort": sorted || null },
      button,
    );
  }

  row(row) {
    const cells = this.columns.map(({ show, text }) =>
      element("td", { class: text ? "text" : "" }, show(row)),
    );
    return element("tr", { class: this.isChosen(row) ? "chosen" : null }, ...cells);
  }

  more(count) {
    const press = () => {
      this.limit = this.limit * 4;
      this.draw();
    };
    const text = `Show more: ${formatCount(this.limit)} of ${formatCount(count)}`;
    const attributes = { type: "button", class: "quiet", "data-key": "more", onclick: press };
    return this.wide(element("button", attributes, text));
  }
}

// Kinds of columns, of a key of the row.

const bytesColumn = (title, key, hint) => ({
  title,
  hint,
  value: (row) => row[key],
  show: (row) => bytesElement(row[key]),
});

const countColumn = (title, key, hint) => ({
  title,
  hint,
  value: (row) => row[key],
  show: (row) => countElement(row[key]),
});

const ageColumn = (title, key) => ({
  title,
  value: (row) => row[key],
  show: (row) => (Number.isNaN(row[key]) ? "from before" : formatDuration(row[key])),
});
