//! The work: an index of words over files, which goes through JSON and back.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
};

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::files::Files;

/// Where a word stands: the number of the file, and the line.
type Place = (u32, u32);

/// Every word of the files, and what kinds of file there are.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Index {
    words: BTreeMap<String, Vec<Place>>,
    kinds: BTreeMap<String, Lines>,
    #[serde(skip)]
    json_bytes: u64,
}

/// Line statistics of a kind of file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Lines {
    files: u64,
    lines: u64,
    blank_lines: u64,
    longest_line: String,
}

/// What the work came to; the same on every allocator.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) lines: u64,
    pub(super) words: u64,
    pub(super) different_words: u64,
    pub(super) json_bytes: u64,
}

/// A thread's share, before all are put together.
#[derive(Default)]
struct Share {
    words: HashMap<String, Vec<Place>>,
    kinds: HashMap<String, Lines>,
}

impl Index {
    /// Reads and indexes the files on all cores, writes the index as JSON and reads it again. Tells
    /// `on_step` what begins.
    ///
    /// # Errors
    /// The index came back from JSON as another.
    pub(super) fn of(
        files: &Files,
        bar: &ProgressBar,
        on_step: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        on_step("index");
        let numbered = files.paths.par_iter().enumerate();
        let share = numbered
            .fold(Share::default, |mut share, (number, path)| {
                // A file that went away meanwhile is left out.
                if let Ok(bytes) = fs::read(path) {
                    let kind = path
                        .extension()
                        .map_or_else(String::new, |kind| kind.to_string_lossy().to_lowercase());
                    share.add(number as u32, kind, &String::from_utf8_lossy(&bytes));
                }
                bar.inc(1);
                share
            })
            .reduce(Share::default, Share::merge);
        on_step("sort");
        let mut index = share.sorted();
        on_step("write JSON");
        let json = serde_json::to_string(&index).context("the index does not go into JSON")?;
        on_step("read JSON");
        let again: Self = serde_json::from_str(&json).context("the JSON cannot be read again")?;
        ensure!(again == index, "the index came back from JSON as another");
        index.json_bytes = json.len() as u64;
        on_step("drop what was read");
        drop((again, json));
        Ok(index)
    }

    pub(super) fn summary(&self, files: &Files) -> Summary {
        Summary {
            files: files.paths.len() as u64,
            bytes: files.bytes,
            lines: self.kinds.values().map(|kind| kind.lines).sum(),
            words: self.words.values().map(|places| places.len() as u64).sum(),
            different_words: self.words.len() as u64,
            json_bytes: self.json_bytes,
        }
    }
}

impl Share {
    fn add(&mut self, file: u32, kind: String, text: &str) {
        let lines = self.kinds.entry(kind).or_default();
        lines.files += 1;
        for (number, line) in text.lines().enumerate() {
            lines.lines += 1;
            lines.blank_lines += u64::from(line.trim().is_empty());
            // Of lines of one length the first in the alphabet, whatever the order of the files.
            if (line.len(), lines.longest_line.as_str()) > (lines.longest_line.len(), line) {
                line.clone_into(&mut lines.longest_line);
            }
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            for word in words.filter(|word| !word.is_empty()) {
                self.words.entry(word.to_lowercase()).or_default().push((file, number as u32));
            }
        }
    }

    fn merge(mut self, other: Self) -> Self {
        for (word, places) in other.words {
            self.words.entry(word).or_default().extend(places);
        }
        for (kind, theirs) in other.kinds {
            let mine = self.kinds.entry(kind).or_default();
            mine.files += theirs.files;
            mine.lines += theirs.lines;
            mine.blank_lines += theirs.blank_lines;
            let (a, b) = (&theirs.longest_line, &mine.longest_line);
            if (a.len(), b) > (b.len(), a) {
                mine.longest_line = theirs.longest_line;
            }
        }
        self
    }

    fn sorted(self) -> Index {
        let mut words: BTreeMap<_, _> = self.words.into_iter().collect();
        words.values_mut().for_each(|places: &mut Vec<Place>| places.sort_unstable());
        Index { words, kinds: self.kinds.into_iter().collect(), json_bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "One two\n\ntwo three_four\n").unwrap();
        fs::write(folder.path().join("b.md"), "TWO.").unwrap();
        fs::write(folder.path().join("c.bin"), b"two\0").unwrap();
        let files = Files::of(folder.path(), &ProgressBar::hidden()).unwrap();
        let index = Index::of(&files, &ProgressBar::hidden(), |_| ()).unwrap();
        assert_eq!(index.words["two"], [(0, 0), (0, 2), (1, 0)]);
        assert_eq!(index.words["three_four"], [(0, 2)]);
        assert_eq!(index.kinds["txt"].blank_lines, 1);
        assert_eq!(index.kinds["txt"].longest_line, "two three_four");
        let summary = index.summary(&files);
        assert_eq!((summary.files, summary.lines, summary.words), (2, 4, 5));
        assert_eq!((summary.different_words, summary.bytes), (3, 28));
    }
}
