//! Numbers one after the other, in few bytes each.
#![forbid(unsafe_code)]

/// Whole numbers, seven bits a byte, the lowest first; all but a number's last byte have their
/// highest bit set.
#[derive(Debug, Default)]
pub(super) struct Column {
    pub(super) bytes: Vec<u8>,
    pub(super) count: usize,
}

impl Column {
    pub(super) fn push(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
        self.count += 1;
    }

    /// Small numbers of either sign stay small: 0, -1, 1, -2, … become 0, 1, 2, 3, …
    pub(super) fn push_signed(&mut self, value: i64) {
        self.push((value << 1 ^ value >> 63) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::Column;

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        let mut column = Column::default();
        [0, 127, 128, u64::MAX].into_iter().for_each(|value| column.push(value));
        let most = [[0xff; 9].as_slice(), &[1]].concat();
        assert_eq!(column.bytes, [&[0, 127, 0x80, 1], &most[..]].concat());
        let mut signed = Column::default();
        [0, -1, 1, -64, 64].into_iter().for_each(|value| signed.push_signed(value));
        assert_eq!((signed.bytes, signed.count), (vec![0, 1, 2, 127, 0x80, 1], 5));
    }
}
