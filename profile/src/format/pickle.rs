//! Writes plain data as a Python pickle: numbers, texts, lists, dictionaries and nothing else.
//!
//! Own code, since the crate for this shares nothing: texts, and whatever else the caller names,
//! are written once and referred to afterwards, which makes a tenth of the bytes. Protocol 4, in
//! the opcodes that PyTorch's page understands; they are described in Python's `pickletools`.

use std::io::{self, Write};

use rustc_hash::FxHashMap;

/// Entries that go to a list or dictionary at once, as Python does; the page needs a limit.
const BATCH: usize = 1000;

/// A list that is being written: how many items since it was last added to.
#[derive(Debug)]
pub(super) struct Open(usize);

/// See the module.
#[derive(Debug)]
pub(super) struct Pickler<W> {
    out: W,
    texts: FxHashMap<String, u32>,
    /// Values that can be referred to.
    memo: u32,
}

impl<W: Write> Pickler<W> {
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&[0x80, 4])?;
        Ok(Self { out, texts: FxHashMap::default(), memo: 0 })
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(b".")?;
        self.out.flush()
    }

    pub(super) fn int(&mut self, value: i64) -> io::Result<()> {
        if let Ok(byte) = u8::try_from(value) {
            return self.out.write_all(&[b'K', byte]);
        }
        if let Ok(short) = u16::try_from(value) {
            let [low, high] = short.to_le_bytes();
            return self.out.write_all(&[b'M', low, high]);
        }
        if let Ok(int) = i32::try_from(value) {
            self.out.write_all(b"J")?;
            return self.out.write_all(&int.to_le_bytes());
        }
        // As many bytes as keep the sign.
        let bytes = value.to_le_bytes();
        let sign = if value < 0 { 0xff } else { 0 };
        let mut len = bytes.len();
        while len > 1 && bytes[len - 1] == sign && (bytes[len - 2] ^ sign) & 0x80 == 0 {
            len -= 1;
        }
        self.out.write_all(&[0x8a, len as u8])?;
        self.out.write_all(&bytes[..len])
    }

    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        if let Some(&at) = self.texts.get(text) {
            return self.again(at);
        }
        match u8::try_from(text.len()) {
            Ok(len) => self.out.write_all(&[0x8c, len])?,
            Err(_) => {
                let len = u32::try_from(text.len()).map_err(io::Error::other)?;
                self.out.write_all(b"X")?;
                self.out.write_all(&len.to_le_bytes())?;
            }
        }
        self.out.write_all(text.as_bytes())?;
        let at = self.remember()?;
        self.texts.insert(text.to_owned(), at);
        Ok(())
    }

    /// Lets the value just written be referred to by the number returned.
    pub(super) fn remember(&mut self) -> io::Result<u32> {
        self.out.write_all(&[0x94])?;
        self.memo += 1;
        Ok(self.memo - 1)
    }

    /// A value once more.
    pub(super) fn again(&mut self, at: u32) -> io::Result<()> {
        match u8::try_from(at) {
            Ok(at) => self.out.write_all(&[b'h', at]),
            Err(_) => {
                self.out.write_all(b"j")?;
                self.out.write_all(&at.to_le_bytes())
            }
        }
    }

    /// Begins a list. Each item is announced by [`next`](Self::next).
    pub(super) fn begin_list(&mut self) -> io::Result<Open> {
        self.out.write_all(b"]")?;
        Ok(Open(0))
    }

    /// The next item of a list comes.
    pub(super) fn next(&mut self, list: &mut Open) -> io::Result<()> {
        match list.0 {
            0 => self.out.write_all(b"(")?,
            BATCH => {
                list.0 = 0;
                self.out.write_all(b"e(")?;
            }
            _ => {}
        }
        list.0 += 1;
        Ok(())
    }

    pub(super) fn end_list(&mut self, list: Open) -> io::Result<()> {
        if list.0 > 0 { self.out.write_all(b"e") } else { Ok(()) }
    }

    /// Begins a dictionary of a few entries, at least one: key, value, key, value.
    pub(super) fn begin_dict(&mut self) -> io::Result<()> {
        self.out.write_all(b"}(")
    }

    pub(super) fn end_dict(&mut self) -> io::Result<()> {
        self.out.write_all(b"u")
    }

    /// A pair, of what `both` writes.
    pub(super) fn pair(
        &mut self,
        both: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        both(self)?;
        self.out.write_all(&[0x86])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        Pickler::new(&mut out).unwrap().int(value).unwrap();
        out.split_off(2)
    }

    #[test]
    fn numbers_take_few_bytes_and_keep_their_sign() {
        assert_eq!(int(7), [b'K', 7]);
        assert_eq!(int(256), [b'M', 0, 1]);
        assert_eq!(int(-1), [b'J', 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(int(1 << 31), [0x8a, 5, 0, 0, 0, 0x80, 0]);
        assert_eq!(int(1 << 36), [0x8a, 5, 0, 0, 0, 0, 0x10]);
        assert_eq!(int(-(1 << 40)), [0x8a, 6, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(int(i64::MIN).len(), 10);
    }
}
