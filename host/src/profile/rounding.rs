//! Estimates as whole numbers that still add up.
#![forbid(unsafe_code)]

/// Rounds numbers one after the other so that their sum is the rounded sum: what one loses the
/// next one gets, so that each is off by less than one.
#[derive(Debug, Default)]
pub(super) struct Rounding {
    exact: f64,
    given: u64,
}

impl Rounding {
    pub(super) fn next(&mut self, number: f64) -> u64 {
        self.exact += number.max(0.0);
        let until_now = self.exact.round() as u64;
        let given = until_now.saturating_sub(self.given);
        self.given = until_now;
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_kept() {
        let numbers: Vec<f64> = (0..1000).map(|n| f64::from(n % 7) * 0.37).collect();
        let mut rounding = Rounding::default();
        let rounded: Vec<u64> = numbers.iter().map(|&number| rounding.next(number)).collect();
        assert_eq!(rounded.iter().sum::<u64>(), numbers.iter().sum::<f64>().round() as u64);
        assert!(numbers.iter().zip(&rounded).all(|(a, &b)| (a - b as f64).abs() <= 1.0));
        let mut whole = Rounding::default();
        assert_eq!([3.0, 0.0, 41.0].map(|number| whole.next(number)), [3, 0, 41]);
    }
}
