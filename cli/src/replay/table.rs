//! The tables of replays: one for people, one for documents, one for programs.

use anyhow::Context;
use comfy_table::{Table, presets};
use genesis_mem_cuda::replay::Report;
use genesis_mem_host::core::stats::Bytes;

use super::pytorch::{Figures, PyTorch};
use crate::snapshot::{grouped, row, table};

/// What a replay needed, beside PyTorch's figures where they are known.
pub(crate) fn comparison(report: &Report, tight: bool, pytorch: Option<&PyTorch>) -> Table {
    let mut table = match pytorch {
        Some(_) => table(&["", "Genesis Memory", "PyTorch", "PyTorch, expandable"]),
        None => table(&["", "Genesis Memory"]),
    };
    let live = report.peak_live_bytes;
    let mut line = |name: &str, own: String, theirs: &dyn Fn(Figures) -> String| {
        let figures = pytorch.map(|pytorch| pytorch.figures(tight)).into_iter().flatten();
        table.add_row(row([name.to_owned(), own].into_iter().chain(figures.map(theirs))));
    };
    let none = |_: Figures| String::new();
    let (name, bytes) = match tight {
        true => ("device", report.device_bytes),
        false => ("peak reserved", report.peak_reserved_bytes),
    };
    line("peak live", Bytes(live).to_string(), &none);
    line(name, Bytes(bytes).to_string(), &|f| {
        Bytes((live as f64 * f.over_live) as u64).to_string()
    });
    line("over peak live", format!("{:.4}", over(bytes, live)), &|f| format!("{:.4}", f.over_live));
    line("driver calls", grouped(report.driver_calls), &|f| grouped(f.calls));
    line("in the last iteration", grouped(report.driver_calls_last_iteration), &none);
    line("waits of a stream", grouped(report.stream_waits), &none);
    line("retries", grouped(report.retries), &none);
    line("own time a pair", format!("{:.0} ns", report.bookkeeping_ns_per_pair), &none);
    let driver = if report.backend == "sim" { "driver's time, modelled" } else { "driver's time" };
    line(driver, format!("{:.1} ms", report.modelled_driver_us as f64 / 1e3), &none);
    table
}

/// The same in a few lines, on a device that is large enough.
pub(crate) fn summary(report: &Report) -> Table {
    let mut table = table(&["allocator", "peak reserved", "over peak live", "driver calls"]);
    let live = report.peak_live_bytes;
    let mut line = |name: &str, Figures { over_live, calls }: Figures| {
        let reserved = Bytes((live as f64 * over_live) as u64).to_string();
        let cells = [name.to_owned(), reserved, format!("{over_live:.3}"), grouped(calls)];
        table.add_row(row(cells));
    };
    let own = Figures { over_live: report.reserved_over_live(), calls: report.driver_calls };
    line("Genesis Memory", own);
    if let Some(pytorch) = PyTorch::of(report) {
        let [default, expandable] = pytorch.figures(false);
        line("PyTorch", default);
        line("PyTorch, expandable", expandable);
    }
    table
}

fn over(bytes: u64, live_bytes: u64) -> f64 {
    bytes as f64 / live_bytes.max(1) as f64
}

/// A trace on a device that is large enough, and on the smallest one that is.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) free: Report,
    pub(crate) tight: Report,
}

/// One line a trace, in Markdown.
pub(crate) fn markdown(all: &[Both]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(row([
        "trace",
        "allocations",
        "peak live GiB",
        "Genesis free / calls",
        "Genesis tight / calls",
        "calls in last iteration",
        "stream waits",
        "ns a pair",
        "PyTorch free / calls",
        "PyTorch tight / calls",
        "expandable free / calls",
        "expandable tight / calls",
    ]));
    for Both { free, tight } in all {
        let pytorch = PyTorch::of(free);
        let cell = |figures: Option<Figures>| match figures {
            Some(Figures { over_live, calls }) => format!("{over_live:.4} / {}", grouped(calls)),
            None => "–".to_owned(),
        };
        let theirs = |tight, which: usize| {
            cell(pytorch.as_ref().map(|pytorch| pytorch.figures(tight)[which]))
        };
        let own = |report: &Report, bytes: u64| {
            let over_live = over(bytes, report.peak_live_bytes);
            let figures = Figures { over_live, calls: report.driver_calls };
            cell((!report.out_of_memory).then_some(figures))
        };
        table.add_row(row([
            free.trace.clone(),
            grouped(free.allocations),
            format!("{:.3}", free.peak_live_bytes as f64 / (1 << 30) as f64),
            own(free, free.peak_reserved_bytes),
            own(tight, tight.device_bytes),
            grouped(free.driver_calls_last_iteration),
            grouped(free.stream_waits),
            format!("{:.0}", free.bookkeeping_ns_per_pair),
            theirs(false, 0),
            theirs(true, 0),
            theirs(false, 1),
            theirs(true, 1),
        ]));
    }
    table
}

/// All figures, two lines a trace, as CSV.
pub(crate) fn csv(all: &[Both]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for Both { free, tight } in all {
        for (device, report) in [("free", free), ("tight", tight)] {
            writer.serialize((Device { device, device_bytes: report.device_bytes }, report))?;
        }
    }
    writer.into_inner().context("no memory for the table")
}

/// The columns before those of the report.
#[derive(serde::Serialize)]
struct Device {
    device: &'static str,
    device_bytes: u64,
}
