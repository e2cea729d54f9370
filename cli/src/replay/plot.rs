//! Live and reserved memory over time, in the terminal and as SVG.

use std::{
    env,
    io::{self, IsTerminal},
};

use anyhow::anyhow;
use genesis_mem_cuda::replay::{Point, Report};
use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    element::PathElement,
    series::{AreaSeries, LineSeries},
    style::{Color, RGBColor, WHITE},
};
use textplots::{
    Chart, ColorPlot, LabelBuilder, LabelFormat, Plot, Shape, TickDisplay, TickDisplayBuilder,
};

/// Dots in the terminal; a character has two by four.
const WIDTH: u32 = 132;
const HEIGHT: u32 = 60;
/// Pixels of a picture.
const PIXELS: (u32, u32) = (960, 360);
const LIVE: (u8, u8, u8) = (60, 130, 220);
const RESERVED: (u8, u8, u8) = (220, 110, 40);

/// What is to be drawn, in a unit that suits it.
struct Curves {
    live: Vec<(f32, f32)>,
    reserved: Vec<(f32, f32)>,
    unit: &'static str,
    /// The ends of both axes, never zero.
    events: f32,
    most: f32,
}

impl Curves {
    fn of(report: &Report) -> Self {
        let points = &report.timeline;
        let most = points.iter().map(|point| point.live_bytes.max(point.reserved_bytes)).max();
        let most_bytes = most.unwrap_or(0).max(1);
        let (unit_bytes, unit) = match most_bytes {
            0..0x10_0000 => (1024.0, "KiB"),
            0x10_0000..0x4000_0000 => (1_048_576.0, "MiB"),
            _ => (1_073_741_824.0, "GiB"),
        };
        let in_unit = |bytes: u64| (bytes as f64 / unit_bytes) as f32;
        let curve = |bytes: fn(&Point) -> u64| {
            points.iter().map(|point| (point.events as f32, in_unit(bytes(point)))).collect()
        };
        Self {
            live: curve(|point| point.live_bytes),
            reserved: curve(|point| point.reserved_bytes),
            unit,
            events: points.last().map_or(1, |point| point.events) as f32,
            most: in_unit(most_bytes) * 1.05,
        }
    }
}

/// Both curves in characters; reserved memory is the upper one.
pub(crate) fn in_terminal(report: &Report) -> String {
    let Curves { live, reserved, unit, events, most } = Curves::of(report);
    let (live, reserved) = (Shape::Lines(&live), Shape::Lines(&reserved));
    let mut chart = Chart::new_with_y_range(WIDTH, HEIGHT, 0.0, events, 0.0, most);
    let chart = chart
        .x_label_format(LabelFormat::Custom(Box::new(|events| format!("{events:.0} events"))))
        .y_label_format(LabelFormat::Custom(Box::new(move |value| format!("{value:.2} {unit}"))))
        .y_tick_display(TickDisplay::Sparse);
    let colours = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    let chart = match colours {
        true => chart.linecolorplot(&live, LIVE.into()).linecolorplot(&reserved, RESERVED.into()),
        false => chart.lineplot(&live).lineplot(&reserved),
    };
    chart.axis();
    chart.figures();
    format!("Live memory, and reserved memory above it:\n{chart}")
}

/// Both curves of each replay as one picture, one below the other.
pub(crate) fn as_svg(reports: &[Report]) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw_all(&mut svg, reports).map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(svg)
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw_all(svg: &mut String, reports: &[Report]) -> Drawn {
    let size = (PIXELS.0, PIXELS.1 * reports.len() as u32);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, report) in root.split_evenly((reports.len(), 1)).iter().zip(reports) {
        draw(area, report)?;
    }
    Ok(root.present()?)
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, report: &Report) -> Drawn {
    let Curves { live, reserved, unit, events, most } = Curves::of(report);
    let title = format!("{}: {:.4} of peak live", report.trace, report.reserved_over_live());
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..events, 0.0..most)?;
    let whole = |events: &f32| format!("{events:.0}");
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("events").y_desc(unit).x_label_formatter(&whole).light_line_style(WHITE).draw()?;
    let ((r, g, b), (red, green, blue)) = (LIVE, RESERVED);
    let (colour, above) = (RGBColor(r, g, b), RGBColor(red, green, blue));
    chart
        .draw_series(AreaSeries::new(live, 0.0, colour.mix(0.4)))?
        .label("live")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    chart
        .draw_series(LineSeries::new(reserved, above))?
        .label("reserved")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], above));
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::LowerRight).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}
