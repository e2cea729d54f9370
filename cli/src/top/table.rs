//! The rows of size classes and call sites, in the order that is asked for.

use clap::ValueEnum;
use comfy_table::Table;
use genesis_mem_host::core::stats::Bytes;

use super::{history::Class, source::Site};
use crate::snapshot::{self, grouped, percent, row};

/// A column of the size classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Column {
    /// The size of a block.
    Block,
    /// Live blocks.
    Live,
    /// Allocations in a second.
    Allocations,
    /// Frees in a second.
    Frees,
    /// Bytes of live blocks.
    Allocated,
    /// What was not asked for, of the allocated.
    Waste,
}

impl Column {
    pub(super) const ALL: [Self; 6] =
        [Self::Block, Self::Live, Self::Allocations, Self::Frees, Self::Allocated, Self::Waste];

    /// What stands above it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Live => "live",
            Self::Allocations => "allocs/s",
            Self::Frees => "frees/s",
            Self::Allocated => "allocated",
            Self::Waste => "waste",
        }
    }

    /// The column `step` to the right, around the end.
    pub(super) fn beside(self, step: isize) -> Self {
        let index = Self::ALL.iter().position(|&column| column == self).unwrap_or(0);
        Self::ALL[(index as isize + step).rem_euclid(Self::ALL.len() as isize) as usize]
    }

    /// What it shows of a class.
    pub(super) fn text(self, class: &Class) -> String {
        match self {
            Self::Block if class.block_bytes == 0 => "large".to_owned(),
            Self::Block => grouped(class.block_bytes),
            Self::Live => grouped(class.live),
            Self::Allocations => rate(class.allocations),
            Self::Frees => rate(class.frees),
            Self::Allocated => Bytes(class.allocated_bytes).to_string(),
            Self::Waste => percent(class.waste),
        }
    }

    /// Sorts the largest first, or the smallest.
    pub(super) fn sort(self, classes: &mut [Class], reverse: bool) {
        let key = |class: &Class| match self {
            Self::Block if class.block_bytes == 0 => f64::INFINITY,
            Self::Block => class.block_bytes as f64,
            Self::Live => class.live as f64,
            Self::Allocations => class.allocations,
            Self::Frees => class.frees,
            Self::Allocated => class.allocated_bytes as f64,
            Self::Waste => class.waste.as_f64(),
        };
        // By size they are in order already, and stay so where keys are equal.
        classes.sort_by(|a, b| key(b).total_cmp(&key(a)));
        if reverse {
            classes.reverse();
        }
    }
}

/// A number of events in a second.
pub(super) fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

/// Call sites for people.
pub(super) fn sites(sites: &[Site]) -> Table {
    let mut table = snapshot::table(&["held most by", "blocks", "live"]);
    for site in sites {
        let (blocks, bytes) = (grouped(site.live_blocks), Bytes(site.live_bytes).to_string());
        table.add_row(row([site.location.clone(), blocks, bytes]));
    }
    table
}

#[cfg(test)]
mod tests {
    use genesis_mem_host::core::frag::Ratio;

    use super::*;

    #[test]
    fn every_column_sorts() {
        let class = |block_bytes, live| Class {
            block_bytes,
            live,
            allocations: live as f64 / 2.0,
            frees: 0.0,
            allocated_bytes: live * block_bytes,
            waste: Ratio::new(live, 100),
        };
        let order = |column: Column, reverse| {
            let mut classes = [class(0, 1), class(16, 30), class(64, 20)];
            column.sort(&mut classes, reverse);
            classes.map(|class| class.block_bytes)
        };
        assert_eq!(order(Column::Block, false), [0, 64, 16]);
        assert_eq!(order(Column::Block, true), [16, 64, 0]);
        assert_eq!(order(Column::Allocated, false), [64, 16, 0]);
        assert_eq!(order(Column::Waste, false), [16, 64, 0]);
        assert_eq!(Column::Waste.beside(1), Column::Block);
        assert_eq!(Column::Block.beside(-1), Column::Waste);
        assert_eq!(Column::Block.text(&class(0, 1)), "large");
        assert_eq!(
            (rate(0.0), rate(2.34), rate(123456.7)),
            ("0".into(), "2.3".into(), "123,457".into())
        );
    }
}
