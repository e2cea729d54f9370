//! Raw results: one row a run, as CSV with a header that says how they came about.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One run of one case with one allocator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Which table it belongs to.
    pub(crate) group: String,
    pub(crate) round: u32,
    pub(crate) case: String,
    pub(crate) allocator: String,
    pub(crate) operations: u64,
    pub(crate) cpu_ns_per_op: f64,
    pub(crate) wall_ns_per_op: f64,
    pub(crate) worst_ns_per_op: Option<f64>,
    pub(crate) minor_faults: u64,
    pub(crate) peak_kib: u64,
}

/// A CSV file that is written row by row, so that an interrupted run leaves what it had.
pub(crate) struct Sink(csv::Writer<BufWriter<File>>);

impl Sink {
    /// Creates the file, with `header` as comments on top.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn create(path: &Path, header: &[String]) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut file = BufWriter::new(file);
        for line in header {
            writeln!(file, "# {line}")?;
        }
        Ok(Self(csv::Writer::from_writer(file)))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn add<R: Serialize>(&mut self, row: &R) -> Result<()> {
        self.0.serialize(row)?;
        self.0.flush()?;
        Ok(())
    }
}

/// Reads back a file of rows and its header.
///
/// # Errors
/// When the file cannot be read, or is no such file.
pub(crate) fn read<R: for<'a> Deserialize<'a>>(path: &Path) -> Result<(Vec<String>, Vec<R>)> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let header =
        text.lines().map_while(|line| line.strip_prefix("# ")).map(str::to_owned).collect();
    let rows = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .from_reader(text.as_bytes())
        .deserialize()
        .collect::<Result<Vec<R>, _>>()
        .with_context(|| format!("{} is no table of results", path.display()))?;
    Ok((header, rows))
}
