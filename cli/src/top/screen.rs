//! What is drawn.

use genesis_mem_host::core::{
    frag::{self, Ratio},
    stats::Bytes,
};
use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Cell, Paragraph, RenderDirection, Row, Sparkline, Table},
};

use super::{
    history::{History, Point},
    source::Sample,
    table::{Column, rate},
};
use crate::snapshot::{Level, grouped, percent};

/// Below this many columns the curves go.
const WIDE: u16 = 72;
const HELP: [(&str, &str); 7] = [
    ("q", "quit"),
    ("space", "pause"),
    ("+-", "interval"),
    ("←→", "sort"),
    ("r", "reverse"),
    ("↑↓", "scroll"),
    ("tab", "call sites"),
];

/// What the user has chosen to see, and what there is.
#[derive(Debug)]
pub(super) struct View {
    /// What the program is called.
    pub(super) name: String,
    pub(super) history: History,
    pub(super) interval_s: f64,
    pub(super) paused: bool,
    /// Why there is nothing new.
    pub(super) problem: Option<String>,
    pub(super) sort: Column,
    pub(super) reverse: bool,
    /// Call sites in place of size classes.
    pub(super) shows_sites: bool,
    /// Rows above the first that is shown.
    pub(super) scroll: usize,
    /// How many rows there was room for; what a page is.
    pub(super) page: usize,
}

impl View {
    /// Draws everything, as far as there is room.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let rows = [1, 7, 5, 3, 1].map(Constraint::Length);
        let [head, memory, activity, list, help] =
            Layout::vertical([rows[0], rows[1], rows[2], Constraint::Min(3), rows[4]])
                .areas(frame.area());
        self.draw_head(frame, head);
        self.draw_memory(frame, memory);
        self.draw_activity(frame, activity);
        if self.shows_sites {
            self.draw_sites(frame, list);
        } else {
            self.draw_classes(frame, list);
        }
        draw_help(frame, help);
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let state = match (&self.problem, self.paused) {
            (Some(problem), _) => Span::from(format!(" {problem} ")).on_red(),
            (None, true) => Span::from(" paused ").on_yellow(),
            (None, false) => Span::from(format!(" every {} s ", self.interval_s)),
        };
        let state = Line::from(state).alignment(Alignment::Right);
        let width = u16::try_from(state.width()).unwrap_or(u16::MAX).min(area.width);
        let [name, state_area] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(area);
        let style = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
        frame.render_widget(Line::from(format!(" {}", self.name)).style(style), name);
        frame.render_widget(state.style(style), state_area);
    }

    fn draw_memory(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(Sample { report, resident_bytes, .. }) = &self.history.now else { return };
        let block = Block::bordered().title(" memory ");
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let level = |level: Level| (Some(level.current), Some(level.peak));
        type Levels = (Option<u64>, Option<u64>);
        type Of = fn(&Point) -> u64;
        let rows: [(&str, Levels, Of, Color); 5] = [
            ("requested", level(report.requested_bytes), |p| p.requested_bytes, Color::Green),
            ("allocated", level(report.allocated_bytes), |p| p.allocated_bytes, Color::Green),
            ("cached", level(report.cached_bytes), |p| p.cached_bytes, Color::Yellow),
            ("reserved", level(report.reserved_bytes), |p| p.reserved_bytes, Color::Blue),
            ("process", (*resident_bytes, None), |p| p.resident_bytes, Color::Magenta),
        ];
        let limit = Some(report.limit_bytes).filter(|&bytes| bytes > 0);
        for (index, (name, (now, peak), of, color)) in rows.into_iter().enumerate() {
            let text = |bytes: Option<u64>| bytes.map_or("-".into(), |b| Bytes(b).to_string());
            let note = match (name, peak) {
                ("reserved", _) if limit.is_some() => format!("limit {:>10}", text(limit)),
                (_, Some(peak)) => format!("peak {:>11}", Bytes(peak)),
                (_, None) => String::new(),
            };
            let text = format!(" {name:<10}{:>11}  {note:<16}", text(now));
            let points = self.history.points.iter().rev().map(of);
            draw_row(frame, row_of(inner, index), &text, points, color);
        }
    }

    fn draw_activity(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(Sample { report, .. }) = &self.history.now else { return };
        let block = Block::bordered().title(" activity ");
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let rates = self.history.last().rates;
        let share = |ratio: Ratio| if ratio.whole == 0 { "-".into() } else { percent(ratio) };
        let points = |of: fn(&Point) -> f64| {
            self.history.points.iter().rev().map(move |point| of(point).round() as u64)
        };
        let text = format!(
            " {:<10}{:>11}  {:>7} at hand ",
            "allocs/s",
            rate(rates.allocations),
            share(rates.hits)
        );
        let allocations = points(|point| point.rates.allocations);
        draw_row(frame, row_of(inner, 0), &text, allocations, Color::Cyan);
        let text = format!(
            " {:<10}{:>11}  {:>7} remote  ",
            "frees/s",
            rate(rates.frees),
            share(rates.remote)
        );
        draw_row(frame, row_of(inner, 1), &text, points(|point| point.rates.frees), Color::Cyan);
        let (allocated, reserved) = (report.allocated_bytes.current, report.reserved_bytes.current);
        let internal = frag::internal(report.requested_bytes.current, allocated);
        let external = frag::external(report.cached_bytes.current, report.largest_free_bytes);
        let line = Line::from(vec![
            Span::from(" fragmentation ").bold(),
            Span::from(format!("internal {}, ", share(internal))),
            Span::from(format!("external {}, ", share(external))),
            Span::from(format!("reserved {}", share(frag::reserved(allocated, reserved)))),
            Span::from(format!("; {} heaps", grouped(report.heaps))),
            match report.failures {
                0 => Span::default(),
                failures => Span::from(format!("; {} failures", grouped(failures))).red().bold(),
            },
        ]);
        frame.render_widget(line, row_of(inner, 2));
    }

    fn draw_classes(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let mut classes = self.history.classes();
        self.sort.sort(&mut classes, self.reverse);
        let title = |column: Column| {
            let sorted = column == self.sort;
            let arrow = if self.reverse { "▲" } else { "▼" };
            let text = format!("{}{}", if sorted { arrow } else { "" }, column.title());
            let style = if sorted { Style::new().bold().underlined() } else { Style::new().dim() };
            right(text).style(style)
        };
        let head = Row::new(Column::ALL.map(title));
        let first = self.first_row(area, classes.len());
        let rows = classes.iter().skip(first);
        let rows = rows.map(|class| Row::new(Column::ALL.map(|column| right(column.text(class)))));
        let widths = [9, 12, 12, 12, 11, 8].map(Constraint::Length);
        let title = format!(" size classes: {} ", position(first, self.page, classes.len()));
        let table = Table::new(rows, widths).header(head).block(Block::bordered().title(title));
        frame.render_widget(table, area);
    }

    fn draw_sites(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let mut sites = self.history.now.as_ref().map_or(Vec::new(), |now| now.sites.clone());
        sites.sort_by_key(|site| std::cmp::Reverse(site.live_bytes));
        let block = Block::bordered();
        if sites.is_empty() {
            let text = "The program does not profile: it names no call sites.";
            let block = block.title(" call sites ");
            return frame.render_widget(Paragraph::new(text).centered().block(block), area);
        }
        let first = self.first_row(area, sites.len());
        let rows = sites.iter().skip(first).map(|site| {
            let (bytes, blocks) = (Bytes(site.live_bytes).to_string(), grouped(site.live_blocks));
            Row::new([right(bytes), right(blocks), Cell::from(site.location.clone())])
        });
        let head = Row::new([right("live".into()), right("blocks".into()), Cell::from("where")]);
        let widths = [Constraint::Length(11), Constraint::Length(12), Constraint::Fill(1)];
        let title = format!(" call sites: {} ", position(first, self.page, sites.len()));
        let table = Table::new(rows, widths).header(head.dim()).block(block.title(title));
        frame.render_widget(table, area);
    }

    /// The first of `rows` that is shown, with the last page full.
    fn first_row(&mut self, area: Rect, rows: usize) -> usize {
        // The border and the head take three.
        self.page = usize::from(area.height.saturating_sub(3));
        self.scroll = self.scroll.min(rows.saturating_sub(self.page));
        self.scroll
    }
}

/// Which of how many rows are seen.
fn position(first: usize, page: usize, rows: usize) -> String {
    match rows <= page {
        true => format!("{rows}"),
        false => format!("{} to {} of {rows}", first + 1, (first + page).min(rows)),
    }
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

fn row_of(area: Rect, index: usize) -> Rect {
    let row = area.rows().nth(index);
    row.unwrap_or(Rect { height: 0, ..area })
}

/// A text, and where there is room a curve, whose newest point stands to the right.
fn draw_row(
    frame: &mut Frame<'_>,
    area: Rect,
    text: &str,
    points: impl Iterator<Item = u64>,
    color: Color,
) {
    let width = text.chars().count() as u16;
    let [words, curve] =
        Layout::horizontal([Constraint::Length(width), Constraint::Fill(1)]).areas(area);
    frame.render_widget(text, words);
    if frame.area().width >= WIDE {
        let curve = Rect { width: curve.width.saturating_sub(1), ..curve };
        let points = points.take(usize::from(curve.width));
        let points = points.collect::<Vec<_>>();
        let direction = RenderDirection::RightToLeft;
        frame.render_widget(
            Sparkline::default().data(&points).direction(direction).fg(color),
            curve,
        );
    }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let words = HELP.iter().flat_map(|(key, what)| {
        [Span::from(" "), Span::from(*key).reversed(), Span::from(format!(" {what} "))]
    });
    frame.render_widget(Line::from_iter(words), area);
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
