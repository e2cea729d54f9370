//! What was mapped where: `/proc/self/maps` of the recorded program.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

/// Code of a file, as it was mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) address: u64,
    pub(super) end: u64,
    /// In the file.
    pub(super) offset: u64,
    pub(super) path: PathBuf,
    /// Whether the file was gone already, or another one in its place.
    pub(super) is_deleted: bool,
}

/// All code that was mapped, in order of address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Maps(Vec<Mapping>);

impl Maps {
    /// Lines that are none are left out: the text may end early.
    pub(super) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut all: Vec<Mapping> = text.lines().filter_map(mapping).collect();
        all.sort_by_key(|mapping| mapping.address);
        Self(all)
    }

    pub(super) fn all(&self) -> &[Mapping] {
        &self.0
    }

    /// The mapping that an address lies in, by its number.
    pub(super) fn find(&self, address: u64) -> Option<usize> {
        let next = self.0.partition_point(|mapping| mapping.address <= address);
        let found = next.checked_sub(1)?;
        (address < self.0[found].end).then_some(found)
    }
}

/// `55d0c0a00000-55d0c0b00000 r-xp 00001000 fe:00 1234    /usr/bin/program`
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (address, end) = words.next()?.split_once('-')?;
    let is_code = words.next()?.as_bytes().get(2) == Some(&b'x');
    let offset = words.next()?;
    // What follows are the device and the inode, and blanks before the path.
    let path = words.nth(2)?.trim_start();
    let there = path.strip_suffix(" (deleted)");
    let (path, is_deleted) = (there.unwrap_or(path), there.is_some());
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let is_file = is_code && Path::new(path).is_absolute();
    is_file.then_some(Mapping {
        address: number(address)?,
        end: number(end)?,
        offset: number(offset)?,
        path: path.into(),
        is_deleted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_files_is_found() {
        let maps = Maps::parse(
            b"5000-6000 r--p 00000000 fe:00 12   /usr/bin/a program\n\
              6000-8000 r-xp 00001000 fe:00 12   /usr/bin/a program\n\
              9000-a000 rw-p 00000000 00:00 0    [heap]\n\
              b000-c000 r-xp 00000000 00:00 0    [vdso]\n\
              a000-b000 r-xp 00000000 00:00 0 \n\
              f000-10000 r-xp 00002000 fe:00 13   /usr/lib/libgone.so (deleted)\nf0",
        );
        assert_eq!(maps.all().len(), 2);
        let found = |address| maps.find(address).map(|found| maps.all()[found].path.clone());
        assert_eq!(found(0x6000), Some("/usr/bin/a program".into()));
        assert_eq!(found(0x7fff), Some("/usr/bin/a program".into()));
        assert_eq!((found(0x5000), found(0x8000), found(0xb000)), (None, None, None));
        assert_eq!(found(0xf001), Some("/usr/lib/libgone.so".into()));
        assert!(maps.all()[1].is_deleted && !maps.all()[0].is_deleted);
    }
}
