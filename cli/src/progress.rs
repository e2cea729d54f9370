//! Bars that show how far work is, on stderr where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of no length yet.
pub(crate) fn progress(name: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>6} {wide_bar} {pos}/{len} {elapsed}");
    ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(name)
}
