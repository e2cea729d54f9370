//! Timelines as pictures: in characters and as SVG.

use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, SeriesLabelPosition},
    drawing::IntoDrawingArea,
    element::{PathElement, Text},
    series::{AreaSeries, LineSeries},
    style::{Color, RGBColor, WHITE},
};
use textplots::{Chart, LabelBuilder, LabelFormat, Plot, Shape, TickDisplay, TickDisplayBuilder};

use crate::{Level, Point, Timeline};

/// Dots in the terminal; a character has two by four.
const WIDTH: u32 = 132;
const HEIGHT: u32 = 60;
/// Pixels of a picture.
const PIXELS: (u32, u32) = (960, 400);
const POINTS: usize = 2000;
/// Marks that are drawn.
const MARKS: usize = 500;
const LIVE: RGBColor = RGBColor(60, 130, 220);
const RESERVED: RGBColor = RGBColor(220, 110, 40);
const MARK: RGBColor = RGBColor(120, 120, 120);

/// Both curves in a unit that suits them, with steps where levels change.
struct Curves {
    live: Vec<(f32, f32)>,
    reserved: Vec<(f32, f32)>,
    unit: &'static str,
    /// The ends of both axes, never zero.
    seconds: f32,
    most: f32,
}

impl Curves {
    fn of(timeline: &Timeline) -> Self {
        let Level { live_bytes, reserved_bytes, .. } = timeline.peak();
        let most_bytes = live_bytes.max(reserved_bytes).max(1);
        let (unit_bytes, unit) = match most_bytes {
            0..0x10_0000 => (1024.0, "KiB"),
            0x10_0000..0x4000_0000 => (1_048_576.0, "MiB"),
            _ => (1_073_741_824.0, "GiB"),
        };
        let in_unit = |bytes: u64| (bytes as f64 / unit_bytes) as f32;
        let thinned = timeline.thinned(POINTS);
        let curve = |bytes: fn(&Level) -> u64| {
            let mut curve: Vec<(f32, f32)> = Vec::new();
            for Point { time_ns, level } in &thinned.points {
                let x = seconds(timeline, *time_ns);
                curve.extend(curve.last().map(|&(_, before)| (x, before)));
                curve.push((x, in_unit(bytes(level))));
            }
            curve
        };
        let end_ns = timeline.points.last().map_or(0, |point| point.time_ns);
        Self {
            live: curve(|level| level.live_bytes),
            reserved: curve(|level| level.reserved_bytes),
            unit,
            seconds: seconds(timeline, end_ns).max(1e-6),
            most: in_unit(most_bytes) * 1.05,
        }
    }
}

fn seconds(timeline: &Timeline, time_ns: u64) -> f32 {
    (time_ns.saturating_sub(timeline.begin_ns()) as f64 / 1e9) as f32
}

/// Both curves in characters; reserved memory is the upper one.
pub fn in_terminal(timeline: &Timeline) -> String {
    let Curves { live, reserved, unit, seconds, most } = Curves::of(timeline);
    let (live, reserved) = (Shape::Lines(&live), Shape::Lines(&reserved));
    let mut chart = Chart::new_with_y_range(WIDTH, HEIGHT, 0.0, seconds, 0.0, most);
    let chart = chart
        .x_label_format(LabelFormat::Custom(Box::new(|seconds| format!("{seconds:.3} s"))))
        .y_label_format(LabelFormat::Custom(Box::new(move |value| format!("{value:.2} {unit}"))))
        .y_tick_display(TickDisplay::Sparse)
        .lineplot(&live)
        .lineplot(&reserved);
    chart.axis();
    chart.figures();
    let memory = timeline.memory;
    format!("Live {memory} memory, and reserved memory above it:\n{chart}")
}

/// Both curves and the marks as SVG.
///
/// # Errors
/// The picture could not be made; it is said why.
pub fn svg(timeline: &Timeline) -> Result<String, String> {
    let mut svg = String::new();
    draw(&mut svg, timeline).map_err(|error| format!("cannot draw: {error}"))?;
    Ok(svg)
}

fn draw(svg: &mut String, timeline: &Timeline) -> Result<(), Box<dyn std::error::Error>> {
    let curves = Curves::of(timeline);
    let root = SVGBackend::with_string(svg, PIXELS).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{} memory", timeline.memory), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..curves.seconds, 0.0..curves.most)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("seconds").y_desc(curves.unit).light_line_style(WHITE).draw()?;
    let legend = |colour: RGBColor| {
        move |(x, y): (i32, i32)| PathElement::new([(x, y), (x + 20, y)], colour)
    };
    chart
        .draw_series(AreaSeries::new(curves.live, 0.0, LIVE.mix(0.4)))?
        .label("live")
        .legend(legend(LIVE));
    chart
        .draw_series(LineSeries::new(curves.reserved, RESERVED))?
        .label("reserved")
        .legend(legend(RESERVED));
    // Marks that lie closer than a label is wide stay without one.
    let mut free_from = 0.0;
    for mark in timeline.marks.iter().take(MARKS) {
        let x = seconds(timeline, mark.time_ns);
        chart.draw_series([PathElement::new([(x, 0.0), (x, curves.most)], MARK.mix(0.5))])?;
        if x >= free_from {
            let at = (x, curves.most * 0.98);
            chart.draw_series([Text::new(mark.label.clone(), at, ("sans-serif", 11))])?;
            free_from = x + curves.seconds * (mark.label.len() as f32 + 2.0) / 140.0;
        }
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::LowerRight).background_style(WHITE.mix(0.8)).draw()?;
    Ok(root.present()?)
}
