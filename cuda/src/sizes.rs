//! Sizes as people write them: `2GB`, `512 MiB`, `1.5g`.
#![forbid(unsafe_code)]

use std::fmt;

/// A size that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeError {
    text: String,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no size: write a number and B, KB, MB, GB, TB or KiB…TiB", self.text)
    }
}

impl std::error::Error for SizeError {}

/// Reads a size in bytes. `K`, `M`, `G` and `T`, with or without `B` or `iB`, in any case, are
/// powers of 1024: device memory is sold that way.
///
/// # Errors
/// The text is no number with such a unit, or the size does not fit into 64 bits.
///
/// ```
/// use genesis_mem_cuda::parse_size;
/// assert_eq!(parse_size("2GB"), Ok(2 << 30));
/// assert_eq!(parse_size("1.5 MiB"), Ok(3 << 19));
/// assert!(parse_size("two").is_err());
/// ```
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let error = || SizeError { text: text.into() };
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(error()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(error);
    }
    let number: f64 = number.parse().map_err(|_| error())?;
    let bytes = number * (1u64 << shift) as f64;
    if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(error()) }
}
