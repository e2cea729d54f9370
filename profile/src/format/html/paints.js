// What the charts over time show of each column of pixels.

/** Live memory, with the least and the most of each column, below reserved memory. */
const levelsPaint = (page) => ({
  hasWords: true,
  tell: (_, column) => page.words.levelsAt(column),
  most(columns) {
    const limit = page.memory.limit_bytes;
    this.reserved = columns.map(
      ({ from, to }) => page.memory.reserved[page.extremes.reserved.within(from, to + 1)[0]],
    );
    const most = columns.reduce(
      (most, { most: at }, i) => Math.max(most, page.memory.live[at], this.reserved[i]),
      0,
    );
    // A limit far above all else would press the curves flat.
    return limit && limit < 4 * most ? Math.max(most, limit) : most;
  },
  draw(chart, context) {
    const { live, others, limit_bytes: limit } = page.memory;
    const { columns } = chart;
    const [least, most] = [(i) => live[columns[i].least], (i) => live[columns[i].most]];
    chart.fill(context, colours.reserved, most, (i) => Math.max(most(i), this.reserved[i]));
    chart.fill(context, colours["live-soft"], least, most);
    chart.fill(context, colours.live, () => 0, least);
    chart.line(context, colours.muted, (i) => this.reserved[i]);
    if (limit) {
      context.setLineDash([6, 4]);
      chart.line(context, colours.limit, () => limit);
      context.setLineDash([]);
    }
    context.fillStyle = colours.limit;
    for (const { event } of others.filter(({ kind }) => kind === OUT_OF_MEMORY)) {
      const x = chart.xOf(page.axis.of(event + 1));
      context.beginPath();
      context.moveTo(x - 5, HEAD);
      context.lineTo(x + 5, HEAD);
      context.lineTo(x, HEAD + 9);
      context.fill();
    }
  },
});

/** Live memory by call site, at the moment of the most of each column. */
const bandsPaint = (page) => ({
  hasWords: false,
  most(columns) {
    const sumsAt = page.sites.cursor();
    this.tops = columns.map(({ most }) => {
      let sum = 0;
      return Array.from(sumsAt(most), (bytes) => (sum += Math.max(bytes, 0)));
    });
    return this.tops.reduce((most, tops) => Math.max(most, tops[BANDS - 1]), 0);
  },
  draw(chart, context) {
    for (let band = 0; band < BANDS; band++) {
      const lower = (i) => (band > 0 ? this.tops[i][band - 1] : 0);
      context.globalAlpha = page.isFaded(band) ? 0.25 : 1;
      chart.fill(context, colours.sites[band], lower, (i) => this.tops[i][band]);
    }
    context.globalAlpha = 1;
    chart.line(context, colours.muted, (i) => this.tops[i][BANDS - 1], 1);
  },
  tell(chart, column, bytes) {
    const tops = this.tops[chart.columns.indexOf(column)];
    const band = bytes < 0 ? -1 : tops.findIndex((top) => bytes <= top);
    const found = band < 0 ? null : { band, bytes: tops[band] - (tops[band - 1] ?? 0) };
    return page.words.bandAt(found, column);
  },
});
