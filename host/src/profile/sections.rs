//! The frame of a recording: sections one after the other, each with its kind and length.
#![forbid(unsafe_code)]

use super::error::ReadError;

/// How a recording of this version begins.
const MAGIC: [u8; 8] = *b"GENMEM\0\x01";
/// Kind, version, length.
const HEAD_BYTES: usize = 16;

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Maps,
    Stacks,
    Usages,
    Live,
    Events,
    Marks,
    Stats,
    Spans,
    Levels,
    End,
}

impl Kind {
    /// By its number in the file; `None` of one that came later than this reader.
    fn of(number: u32) -> Option<Self> {
        const KINDS: [Kind; 10] = [
            Kind::Header,
            Kind::Maps,
            Kind::Stacks,
            Kind::Usages,
            Kind::Live,
            Kind::Events,
            Kind::Marks,
            Kind::Stats,
            Kind::Spans,
            Kind::Levels,
        ];
        match number {
            255 => Some(Self::End),
            _ => KINDS.get(number.checked_sub(1)? as usize).copied(),
        }
    }

    /// For messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Header => "HEADER",
            Self::Maps => "MAPS",
            Self::Stacks => "STACKS",
            Self::Usages => "USAGES",
            Self::Live => "LIVE",
            Self::Events => "EVENTS",
            Self::Marks => "MARKS",
            Self::Stats => "STATS",
            Self::Spans => "SPANS",
            Self::Levels => "LEVELS",
            Self::End => "END",
        }
    }
}

/// A section, or what there is of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'f> {
    pub(super) kind: Kind,
    pub(super) payload: &'f [u8],
    /// Whether the file goes on for as long as the section says.
    pub(super) is_whole: bool,
}

impl<'f> Section<'f> {
    pub(super) fn broken(&self, offset: usize, reason: &'static str) -> ReadError {
        ReadError::Broken { section: self.kind.name(), offset: offset as u64, reason }
    }

    /// Its records of one length each. Where the file ends early, those that are whole.
    pub(super) fn records<const BYTES: usize>(&self) -> Result<&'f [[u8; BYTES]], ReadError> {
        let (records, rest) = self.payload.as_chunks();
        match rest.is_empty() || !self.is_whole {
            true => Ok(records),
            false => Err(self.broken(records.len() * BYTES, "half a record")),
        }
    }

    /// Its records of different lengths, from the beginning. Where the file ends early, those
    /// that are whole.
    pub(super) fn each(
        &self,
        mut record: impl FnMut(&mut Cursor<'f>) -> Option<()>,
    ) -> Result<(), ReadError> {
        let mut cursor = Cursor { bytes: self.payload, at: 0 };
        while cursor.at < self.payload.len() {
            let offset = cursor.at;
            if record(&mut cursor).is_none() {
                return match self.is_whole {
                    true => Err(self.broken(offset, "a record longer than its section")),
                    false => Ok(()),
                };
            }
        }
        Ok(())
    }
}

/// The sections of a file, and whether it is whole.
pub(super) fn sections(file: &[u8]) -> Result<(Vec<Section<'_>>, bool), ReadError> {
    let Some((magic, mut rest)) = file.split_first_chunk::<8>() else {
        return Err(match MAGIC.starts_with(file) {
            true => ReadError::Truncated { bytes: file.len() as u64 },
            false => ReadError::NotARecording,
        });
    };
    if magic[..7] != MAGIC[..7] {
        return Err(ReadError::NotARecording);
    }
    if magic != &MAGIC {
        return Err(ReadError::Version { found: magic[7].into() });
    }
    let mut sections = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let (number, version) = (u32_at(head, 0), u32_at(head, 4));
        let bytes = usize::try_from(u64_at(head, 8)).unwrap_or(usize::MAX);
        let is_whole = bytes <= after.len();
        let payload = &after[..bytes.min(after.len())];
        match Kind::of(number) {
            Some(_) if version != 1 => return Err(ReadError::Version { found: version }),
            Some(Kind::End) if is_whole => return Ok((sections, true)),
            Some(kind) => sections.push(Section { kind, payload, is_whole }),
            None => {}
        }
        let padded = bytes.checked_next_multiple_of(8).unwrap_or(usize::MAX);
        rest = after.get(padded..).unwrap_or(&[]);
    }
    Ok((sections, false))
}

/// Reads numbers, one after the other.
pub(super) struct Cursor<'f> {
    bytes: &'f [u8],
    at: usize,
}

impl<'f> Cursor<'f> {
    pub(super) fn take(&mut self, bytes: usize) -> Option<&'f [u8]> {
        let end = self.at.checked_add(bytes)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32_at(self.take(4)?, 0))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64_at(self.take(8)?, 0))
    }

    /// Goes on where the next eight bytes begin, or at the end.
    pub(super) fn align(&mut self) {
        self.at = self.at.next_multiple_of(8).min(self.bytes.len());
    }
}

/// The bytes of a number in a record; records are long enough for all their fields.
fn bytes_at<const N: usize>(record: &[u8], offset: usize) -> [u8; N] {
    record[offset..].first_chunk().copied().unwrap_or([0; N])
}

pub(super) fn u16_at(record: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes_at(record, offset))
}

pub(super) fn u32_at(record: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(record, offset))
}

pub(super) fn u64_at(record: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes_at(record, offset))
}

pub(super) fn f32_at(record: &[u8], offset: usize) -> f32 {
    f32::from_le_bytes(bytes_at(record, offset))
}

pub(super) fn f64_at(record: &[u8], offset: usize) -> f64 {
    f64::from_le_bytes(bytes_at(record, offset))
}
