//! Ranges of addresses that do not overlap, each with a value.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

/// A range and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range<T> {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) value: T,
}

impl<T> Range<T> {
    const fn end(&self) -> u64 {
        self.at + self.bytes
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ranges<T>(BTreeMap<u64, (u64, T)>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Copy> Ranges<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<T>> {
        self.0.iter().map(|(&at, &(bytes, value))| Range { at, bytes, value })
    }

    /// Adds a range, unless it overlaps another or is empty.
    pub(crate) fn insert(&mut self, range: Range<T>) -> bool {
        let end = range.at.checked_add(range.bytes);
        let free = range.bytes > 0 && end.is_some_and(|_| !self.overlaps(range.at, range.bytes));
        if free {
            self.0.insert(range.at, (range.bytes, range.value));
        }
        free
    }

    /// Takes the range that starts here out.
    pub(crate) fn remove(&mut self, at: u64) -> Option<Range<T>> {
        self.0.remove(&at).map(|(bytes, value)| Range { at, bytes, value })
    }

    /// Changes the value of the range that starts here.
    pub(crate) fn set(&mut self, at: u64, value: T) {
        if let Some(range) = self.0.get_mut(&at) {
            range.1 = value;
        }
    }

    /// The range that `at` lies in.
    pub(crate) fn around(&self, at: u64) -> Option<Range<T>> {
        let (&start, &(bytes, value)) = self.0.range(..=at).next_back()?;
        let range = Range { at: start, bytes, value };
        (at < range.end()).then_some(range)
    }

    /// Whether one range holds all of this one.
    pub(crate) fn holds(&self, at: u64, bytes: u64) -> bool {
        self.around(at).is_some_and(|range| bytes <= range.end() - at)
    }

    pub(crate) fn overlaps(&self, at: u64, bytes: u64) -> bool {
        let before = self.0.range(..at + bytes).next_back();
        before.is_some_and(|(&start, &(bytes, _))| start + bytes > at)
    }

    /// The ranges that tile this one; `None` where there are gaps. The first and the last one may
    /// reach beyond it.
    pub(crate) fn tiles(&self, at: u64, bytes: u64) -> Option<Vec<Range<T>>> {
        let end = at.checked_add(bytes)?;
        let (mut tiles, mut next) = (Vec::new(), at);
        while next < end {
            let tile = self.around(next)?;
            next = tile.end();
            tiles.push(tile);
        }
        Some(tiles)
    }

    /// The ranges that tile this one exactly.
    pub(crate) fn exact_tiles(&self, at: u64, bytes: u64) -> Option<Vec<Range<T>>> {
        let tiles = self.tiles(at, bytes)?;
        let (first, last) = (tiles.first()?, tiles.last()?);
        (first.at == at && last.end() == at + bytes).then_some(tiles)
    }
}
