//! What the kernel says of ranges of addresses, read without allocating.

use std::{fs::File, io::Read, ops::Range};

/// Room for the text of `/proc/self/smaps`, in use from the start.
pub(crate) struct Smaps(Vec<u8>);

impl Smaps {
    pub(crate) fn new() -> Self {
        Self(vec![1; 1 << 20])
    }

    /// Resident bytes in the mappings that lie in `ranges`.
    pub(crate) fn resident_bytes(&mut self, ranges: &[Range<usize>]) -> u64 {
        let mut file = File::open("/proc/self/smaps").expect("Linux has it");
        let mut len = 0;
        loop {
            let read = file.read(&mut self.0[len..]).expect("it can be read");
            assert!(len + read < self.0.len(), "the text is longer than there is room");
            len += read;
            if read == 0 {
                break;
            }
        }
        let text = str::from_utf8(&self.0[..len]).expect("it is text");
        let mut counts = false;
        let mut resident_kib = 0;
        for line in text.lines() {
            if let Some(kib) = line.strip_prefix("Rss:") {
                let kib: u64 = kib.trim().trim_end_matches(" kB").parse().expect("a number");
                resident_kib += if counts { kib } else { 0 };
            } else if let Some(start) = mapping_start(line) {
                counts = ranges.iter().any(|range| range.contains(&start));
            }
        }
        resident_kib * 1024
    }
}

/// Where a mapping starts, if this is its first line.
fn mapping_start(line: &str) -> Option<usize> {
    let (start, rest) = line.split_once('-')?;
    rest.starts_with(|digit: char| digit.is_ascii_hexdigit())
        .then(|| usize::from_str_radix(start, 16).ok())?
}
