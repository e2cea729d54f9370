//! From rows to figures: medians, bests, geometric means.

use crate::rows::Row;

/// What several runs of one case with one allocator come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    /// The quickest run's CPU time per operation: the least disturbed.
    pub(crate) best_cpu_ns: f64,
    pub(crate) median_cpu_ns: f64,
    /// The slowest batch, in the run where it was least slow: what the case itself causes.
    pub(crate) worst_ns: Option<f64>,
    pub(crate) median_peak_kib: f64,
    pub(crate) median_faults: f64,
}

/// All figures of one group, by case and allocator.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) cases: Vec<String>,
    pub(crate) allocators: Vec<String>,
    /// `figures[case][allocator]`, nothing where no run succeeded.
    pub(crate) figures: Vec<Vec<Option<Figure>>>,
}

impl Summary {
    /// Sums up the rows of one group; cases and allocators keep the order in which they first ran.
    pub(crate) fn of(rows: &[Row], group: &str) -> Self {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.group == group).collect();
        let cases = in_order(rows.iter().map(|row| &row.case));
        let allocators = in_order(rows.iter().map(|row| &row.allocator));
        let figure = |case: &String, allocator: &String| {
            let wanted = |row: &&&Row| &row.case == case && &row.allocator == allocator;
            Figure::of(&rows.iter().filter(wanted).copied().collect::<Vec<_>>())
        };
        let row = |case| allocators.iter().map(|allocator| figure(case, allocator)).collect();
        let figures = cases.iter().map(row).collect();
        Self { cases, allocators, figures }
    }

    /// The geometric mean of `value` relative to the baseline's, for each allocator, over the
    /// cases that both have.
    pub(crate) fn relative(
        &self,
        baseline: &str,
        value: impl Fn(&Figure) -> f64,
    ) -> Vec<Option<f64>> {
        let Some(one) = self.allocators.iter().position(|name| name == baseline) else {
            return vec![None; self.allocators.len()];
        };
        let mean = |other: usize| {
            geometric_mean(self.figures.iter().filter_map(|figures| {
                Some(value(figures[other].as_ref()?) / value(figures[one].as_ref()?))
            }))
        };
        (0..self.allocators.len()).map(mean).collect()
    }

    /// In how many cases each allocator's best CPU time is within `part` of the best of the others.
    pub(crate) fn near_best(&self, part: f64) -> Vec<usize> {
        let near = |own: usize, figures: &Vec<Option<Figure>>| {
            let others = figures.iter().enumerate().filter(|&(other, _)| other != own);
            let best = others.filter_map(|(_, figure)| Some(figure.as_ref()?.best_cpu_ns));
            let best = best.fold(f64::INFINITY, f64::min);
            figures[own].is_some_and(|figure| figure.best_cpu_ns <= best * (1.0 + part))
        };
        (0..self.allocators.len())
            .map(|own| self.figures.iter().filter(|figures| near(own, figures)).count())
            .collect()
    }
}

impl Figure {
    fn of(rows: &[&Row]) -> Option<Self> {
        let sorted = |value: fn(&Row) -> f64| {
            let mut values: Vec<f64> = rows.iter().map(|row| value(row)).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let cpu_ns = sorted(|row| row.cpu_ns_per_op);
        Some(Self {
            best_cpu_ns: *cpu_ns.first()?,
            median_cpu_ns: median(&cpu_ns),
            worst_ns: rows.iter().filter_map(|row| row.worst_ns_per_op).reduce(f64::min),
            median_peak_kib: median(&sorted(|row| row.peak_kib as f64)),
            median_faults: median(&sorted(|row| row.minor_faults as f64)),
        })
    }
}

/// The middle of sorted values, of which there is at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Nothing where there are no values.
pub(crate) fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value.ln(), count + 1));
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

/// Each name once, in the order in which they first come.
pub(crate) fn in_order<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        if !seen.contains(name) {
            seen.push(name.clone());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: u32, case: &str, allocator: &str, cpu_ns_per_op: f64, peak_kib: u64) -> Row {
        Row {
            group: "g".into(),
            round,
            case: case.into(),
            allocator: allocator.into(),
            operations: 1,
            cpu_ns_per_op,
            wall_ns_per_op: cpu_ns_per_op,
            worst_ns_per_op: Some(cpu_ns_per_op * 2.0),
            minor_faults: 0,
            peak_kib,
        }
    }

    fn sample() -> Summary {
        let mut rows = vec![
            row(1, "x", "mi", 10.0, 100),
            row(2, "x", "mi", 30.0, 100),
            row(3, "x", "mi", 20.0, 400),
            row(1, "x", "ours", 5.0, 50),
            row(1, "y", "mi", 10.0, 100),
            row(1, "y", "ours", 10.4, 200),
            row(1, "z", "ours", 1.0, 1),
        ];
        rows.push(Row { group: "other".into(), ..row(1, "x", "mi", 0.1, 1) });
        Summary::of(&rows, "g")
    }

    #[test]
    fn figures_are_best_and_median_of_the_runs() {
        let summary = sample();
        assert_eq!(summary.cases, ["x", "y", "z"]);
        assert_eq!(summary.allocators, ["mi", "ours"]);
        let figure = summary.figures[0][0].expect("mi ran x");
        assert_eq!((figure.best_cpu_ns, figure.median_cpu_ns), (10.0, 20.0));
        assert_eq!((figure.worst_ns, figure.median_peak_kib), (Some(20.0), 100.0));
        assert_eq!(summary.figures[2][0], None);
    }

    #[test]
    fn relative_means_leave_out_what_one_side_lacks() {
        let summary = sample();
        let cpu = summary.relative("mi", |figure| figure.best_cpu_ns);
        let expected = (0.5_f64 * 1.04).sqrt();
        assert!((cpu[1].expect("both ran") - expected).abs() < 1e-9, "{cpu:?}");
        assert_eq!(cpu[0], Some(1.0));
        assert_eq!(summary.relative("nobody", |figure| figure.best_cpu_ns), [None, None]);
    }

    #[test]
    fn within_five_percent_of_the_best_other_counts() {
        assert_eq!(sample().near_best(0.05), [1, 3]);
        assert_eq!(sample().near_best(0.01), [1, 2]);
    }
}
