//! A bitmap that finds its lowest set bit in a handful of loads, over borrowed memory.
//!
//! Above the bits lie summaries, 64 to one: a summary bit is set where the word below it is not
//! zero, up to a root of one word. Finding a bit walks down once; setting one walks up only as
//! long as it meets words that were zero.
#![forbid(unsafe_code)]

use core::{fmt, mem, ops::Range};

/// Levels of the largest bitmap, the bits themselves included.
const LEVELS: usize = 4;
/// log2 of the bits in a word.
const WORD_LOG2: u32 = u64::BITS.trailing_zeros();

/// A set of the numbers below [`bits`](Self::bits).
///
/// Always: bit `i` of a summary is set if and only if word `i` of the level below is not zero.
/// [`assert_valid`](Self::assert_valid) checks it. Operations on one bit are `O(log64 bits)`.
///
/// ```
/// use genesis_mem_core::bitmap::Bitmap;
/// let mut words = [0; Bitmap::words(1000)];
/// let mut bitmap = Bitmap::new(&mut words, 1000);
/// bitmap.set(700);
/// assert_eq!(bitmap.first(), Some(700));
/// assert!(bitmap.clear(700));
/// assert_eq!(bitmap.first(), None);
/// ```
pub struct Bitmap<'m> {
    /// The bits, then their summaries; empty above the root, which has one word.
    levels: [&'m mut [u64]; LEVELS],
    bits: u32,
}

impl<'m> Bitmap<'m> {
    /// The most bits a bitmap can have.
    pub const MAX_BITS: u32 = 1 << (WORD_LOG2 * LEVELS as u32);

    /// How many words a bitmap of `bits` bits borrows.
    pub const fn words(bits: u32) -> usize {
        let mut level = bits.div_ceil(u64::BITS);
        let mut words = level as usize;
        while level > 1 {
            level = level.div_ceil(u64::BITS);
            words += level as usize;
        }
        words
    }

    /// The empty bitmap of `bits` bits in the first [`words(bits)`](Self::words) of `words`.
    ///
    /// They must be zero: they are not written here, so that memory from the system stays
    /// untouched until a bit is set. Otherwise use [`new_clearing`](Self::new_clearing).
    ///
    /// # Panics
    /// If `bits` is above [`MAX_BITS`](Self::MAX_BITS) or `words` is too short.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub fn new(words: &'m mut [u64], bits: u32) -> Self {
        assert!(bits <= Self::MAX_BITS, "{bits} bits are more than {}", Self::MAX_BITS);
        let needed = Self::words(bits);
        assert!(words.len() >= needed, "{needed} words needed, {} given", words.len());
        let mut rest = &mut words[..needed];
        let mut level = bits;
        // Cut from the end: the small levels share the first page with the low end of the others.
        let levels = core::array::from_fn(|_| {
            level = level.div_ceil(u64::BITS);
            let start = rest.len().saturating_sub(level as usize);
            let (above, this) = mem::take(&mut rest).split_at_mut(start);
            rest = above;
            this
        });
        Self { levels, bits }
    }

    /// As [`new`](Self::new), in memory that holds anything: writes all of it.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn new_clearing(words: &'m mut [u64], bits: u32) -> Self {
        words.fill(0);
        Self::new(words, bits)
    }

    /// Goes on in `larger`, which is empty, and borrows other memory.
    ///
    /// # Panics
    /// If a number of the set is past its end.
    pub fn move_to(&mut self, mut larger: Self) {
        let mut from = 0;
        while let Some(bit) = self.first_from(from) {
            larger.set(bit);
            from = bit + 1;
        }
        *self = larger;
    }

    /// How many numbers the set can hold.
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// Whether `bit` is set; never past the end.
    #[inline]
    pub fn test(&self, bit: u32) -> bool {
        let (word, mask) = place(bit);
        self.levels[0].get(word).is_some_and(|word| word & mask != 0)
    }

    /// Sets `bit`.
    ///
    /// # Panics
    /// If `bit` is past the end.
    #[inline]
    pub fn set(&mut self, bit: u32) {
        assert!(bit < self.bits, "bit {bit} of {}", self.bits);
        let mut index = bit;
        for level in &mut self.levels {
            let (word, mask) = place(index);
            // Above the root there is no word.
            let Some(word) = level.get_mut(word) else { return };
            let before = mem::replace(word, *word | mask);
            if before != 0 {
                return;
            }
            index >>= WORD_LOG2;
        }
    }

    /// Clears `bit` and says whether it was set; never past the end.
    #[inline]
    pub fn clear(&mut self, bit: u32) -> bool {
        if !self.test(bit) {
            return false;
        }
        let mut index = bit;
        for level in &mut self.levels {
            let (word, mask) = place(index);
            let Some(word) = level.get_mut(word) else { break };
            *word &= !mask;
            if *word != 0 {
                break;
            }
            index >>= WORD_LOG2;
        }
        true
    }

    /// The lowest set bit.
    #[inline]
    pub fn first(&self) -> Option<u32> {
        self.descend(LEVELS, 0)
    }

    /// The lowest set bit that is not below `from`.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub fn first_from(&self, from: u32) -> Option<u32> {
        let mut index = from;
        for (depth, level) in self.levels.iter().enumerate() {
            let (word, mask) = place(index);
            // Keeps the bits from `mask` up.
            let rest = level.get(word)? & mask.wrapping_neg();
            if rest != 0 {
                return self.descend(depth, bit_at(word as u32, rest));
            }
            index = word as u32 + 1;
        }
        None
    }

    /// The lowest set bit below the word `index` of the level under `depth`.
    #[inline]
    fn descend(&self, depth: usize, mut index: u32) -> Option<u32> {
        for level in self.levels[..depth].iter().rev() {
            if level.is_empty() {
                continue;
            }
            let word = level[index as usize];
            if word == 0 {
                return None;
            }
            index = bit_at(index, word);
        }
        (self.bits > 0).then_some(index)
    }

    /// Sets every bit of `range`; `O(words)`.
    ///
    /// # Panics
    /// If `range` reaches past the end.
    #[cfg_attr(target_os = "linux", unsafe(link_section = "genesis_mem_slow"))]
    pub fn set_range(&mut self, range: Range<u32>) {
        assert!(range.end <= self.bits, "bits to {} of {}", range.end, self.bits);
        let Range { mut start, mut end } = range;
        for level in &mut self.levels {
            if start >= end || level.is_empty() {
                return;
            }
            for (word, mask) in masks(start..end) {
                level[word] |= mask;
            }
            (start, end) = (start >> WORD_LOG2, ((end - 1) >> WORD_LOG2) + 1);
        }
    }

    /// Clears every bit of `range`, as far as it lies in the bitmap; `O(words)`.
    pub fn clear_range(&mut self, range: Range<u32>) {
        let (mut start, mut end) = (range.start, range.end.min(self.bits));
        for level in &mut self.levels {
            if start >= end || level.is_empty() {
                return;
            }
            for (word, mask) in masks(start..end) {
                level[word] &= !mask;
            }
            // The words between are zero now; the two at the ends may have kept other bits.
            let (first, last) = (start >> WORD_LOG2, (end - 1) >> WORD_LOG2);
            start = first + u32::from(level[first as usize] != 0);
            end = last + u32::from(level[last as usize] == 0);
        }
    }

    /// How many bits are set; reads all of them.
    pub fn count(&self) -> u32 {
        self.levels[0].iter().map(|word| word.count_ones()).sum()
    }

    /// Checks the invariant of the type; reads every word.
    ///
    /// # Panics
    /// If a summary bit is wrong, or a bit past the end is set.
    pub fn assert_valid(&self) {
        let mut bits = self.bits;
        for pair in self.levels.windows(2) {
            let (below, above) = (&pair[0], &pair[1]);
            assert_eq!(below.len(), bits.div_ceil(u64::BITS) as usize);
            if !bits.is_multiple_of(u64::BITS) {
                assert_eq!(below[below.len() - 1] >> (bits % u64::BITS), 0, "past the end");
            }
            for (index, &word) in below.iter().enumerate().take(above.len() * 64) {
                let (at, mask) = place(index as u32);
                assert_eq!(above[at] & mask != 0, word != 0, "summary of word {index}");
            }
            bits = if above.is_empty() { 0 } else { below.len() as u32 };
        }
    }
}

impl fmt::Debug for Bitmap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bitmap").field("bits", &self.bits).finish_non_exhaustive()
    }
}

/// The word of `bit` in its level, and its mask there.
#[inline]
const fn place(bit: u32) -> (usize, u64) {
    ((bit >> WORD_LOG2) as usize, 1 << (bit % u64::BITS))
}

/// The lowest set bit of `word`, which is the word `index` of its level.
#[inline]
const fn bit_at(index: u32, word: u64) -> u32 {
    (index << WORD_LOG2) + word.trailing_zeros()
}

/// The words that `range`, which is not empty, reaches into, each with its bits of the range.
fn masks(range: Range<u32>) -> impl Iterator<Item = (usize, u64)> {
    let (first, head) = place(range.start);
    let (last, tail) = place(range.end - 1);
    (first..=last).map(move |word| {
        let low = if word == first { head.wrapping_neg() } else { u64::MAX };
        let high = if word == last { tail | (tail - 1) } else { u64::MAX };
        (word, low & high)
    })
}

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use std::{collections::BTreeSet, vec};

    use super::*;

    #[test]
    fn agrees_with_an_ordered_set() {
        for (seed, bits) in [1, 63, 64, 65, 4096, 4097, 70_000, 300_001].into_iter().enumerate() {
            let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed as u64;
            let mut below = |bound: u32| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u32 % bound
            };
            let mut words = vec![u64::MAX; Bitmap::words(bits) + 1];
            let mut bitmap = Bitmap::new_clearing(&mut words, bits);
            let mut model = BTreeSet::new();
            for step in 0..3_000 {
                let bit = below(bits);
                let end = bit + below((bits - bit).min(300) + 1);
                match below(10) {
                    0..4 => {
                        bitmap.set(bit);
                        model.insert(bit);
                    }
                    4..8 => {
                        let bit = bitmap.first_from(bit).unwrap_or(bit);
                        assert_eq!(bitmap.clear(bit), model.remove(&bit), "bit {bit} of {bits}");
                    }
                    8 => {
                        bitmap.set_range(bit..end);
                        model.extend(bit..end);
                    }
                    _ => {
                        bitmap.clear_range(bit..end);
                        (bit..end).for_each(|cleared| {
                            model.remove(&cleared);
                        });
                    }
                }
                assert_eq!(bitmap.first(), model.first().copied(), "step {step} of {bits}");
                let from = below(bits + 2);
                assert_eq!(bitmap.first_from(from), model.range(from..).next().copied());
                assert_eq!(bitmap.test(from), model.contains(&from));
                if step % 500 == 0 {
                    bitmap.assert_valid();
                    assert_eq!(bitmap.count() as usize, model.len());
                }
            }
            bitmap.clear_range(0..u32::MAX);
            assert_eq!((bitmap.first(), bitmap.count()), (None, 0));
            bitmap.assert_valid();
        }
    }

    #[test]
    fn a_bitmap_of_any_size_fits_its_words() {
        for bits in [0, 1, 64, 65, 4096, 4097, 1 << 18, (1 << 18) + 1, Bitmap::MAX_BITS] {
            let mut words = vec![0; Bitmap::words(bits)];
            let mut bitmap = Bitmap::new(&mut words, bits);
            assert!(!bitmap.test(bits) && !bitmap.clear(bits) && !bitmap.clear(u32::MAX));
            assert_eq!((bitmap.first(), bitmap.first_from(bits)), (None, None));
            if let Some(last) = bits.checked_sub(1) {
                bitmap.set(last);
                assert_eq!(bitmap.first(), Some(last));
                assert_eq!(bitmap.first_from(0), Some(last));
                bitmap.assert_valid();
                assert!(bitmap.clear(last));
            }
            assert_eq!(bitmap.first(), None);
            bitmap.assert_valid();
        }
    }

    #[test]
    fn a_set_bit_touches_one_word_of_each_level() {
        let bits = Bitmap::MAX_BITS;
        let mut words = vec![0; Bitmap::words(bits)];
        let mut bitmap = Bitmap::new(&mut words, bits);
        bitmap.set(0);
        bitmap.set(5);
        // Root, second summary, first summary, bits.
        let starts = [0, 1, 65, 65 + 4096];
        let touched = words.iter().enumerate().filter(|(_, word)| **word != 0);
        assert!(touched.map(|(index, _)| index).eq(starts));
    }
}
