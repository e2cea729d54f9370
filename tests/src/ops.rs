//! The language: what a program can ask of an allocator, eight bytes an operation.
//!
//! Any bytes are a program, so that a fuzzer's mutations and proptest's shrinking both work on it:
//! an operation taken out leaves the others as they were.
#![forbid(unsafe_code)]

/// One operation. Numbers that name something are taken modulo how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Allocates a block from a heap.
    Alloc {
        /// Which heap.
        heap: u8,
        /// How much, bytes.
        bytes: usize,
        /// The alignment, bytes: a power of two.
        align: usize,
        /// Whether the block must read as zero.
        zeroed: bool,
    },
    /// Frees a live block through a heap; where another heap allocated it, this is a remote free.
    Free {
        /// Which heap.
        heap: u8,
        /// Which block.
        block: u16,
        /// Whether the free names the layout.
        sized: bool,
    },
    /// Changes the size of a live block.
    Realloc {
        /// Which heap does it.
        heap: u8,
        /// Which block.
        block: u16,
        /// How large it becomes, bytes.
        bytes: usize,
    },
    /// Does something wrong with a pointer.
    Misuse {
        /// Which heap does it.
        heap: u8,
        /// Which block.
        block: u16,
        /// What is wrong.
        how: Misuse,
        /// By how much.
        amount: u16,
    },
    /// Sweeps a heap.
    Collect {
        /// Which heap.
        heap: u8,
    },
    /// Ends an owner: its heap waits for the next one, which adopts it when it first allocates.
    Orphan {
        /// Which heap.
        heap: u8,
    },
    /// Sweeps the heaps without an owner.
    CollectOrphans,
    /// Drops a heap whole, live blocks and all.
    ReleaseAll {
        /// Which heap.
        heap: u8,
    },
    /// Lets the clock take a step.
    Tick,
    /// Gives back what has been free for that many steps.
    Purge {
        /// How many.
        age_ticks: u8,
    },
    /// Has the backend refuse the call after that many.
    Fail {
        /// How many calls still succeed.
        after_calls: u8,
    },
    /// Limits reserved memory to so many granules; zero is no limit.
    Limit {
        /// How many.
        granules: u16,
    },
    /// Lets the peaks start over.
    ResetPeaks,
}

/// Ways to be wrong about a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A second free.
    DoubleFree,
    /// A free of a pointer into the block.
    Interior,
    /// A free with the layout of a larger block.
    WrongLayout,
    /// A reallocation with the layout of a larger block.
    WrongRealloc,
    /// A free of memory from elsewhere.
    Foreign,
}

impl Op {
    /// How many bytes encode one operation.
    pub const BYTES: usize = 8;

    /// The operation that eight bytes stand for. All zero is the plainest: 16 bytes from heap 0.
    pub fn decode(code: [u8; Self::BYTES]) -> Self {
        let [kind, heap, a, b, c, d, e, _] = code;
        let block = u16::from_le_bytes([a, b]);
        match kind % 64 {
            0..24 => Self::Alloc {
                heap,
                bytes: size([a, b, c]),
                align: alignment(d),
                zeroed: e & 1 != 0,
            },
            24..44 => Self::Free { heap, block, sized: c & 7 != 7 },
            44..52 => Self::Realloc { heap, block, bytes: size([c, d, e]).max(1) },
            52..54 => Self::Misuse {
                heap,
                block,
                how: [
                    Misuse::DoubleFree,
                    Misuse::Interior,
                    Misuse::WrongLayout,
                    Misuse::WrongRealloc,
                    Misuse::Foreign,
                ][usize::from(c % 5)],
                amount: u16::from_le_bytes([d, e]),
            },
            54..56 => Self::Collect { heap },
            56 => Self::Orphan { heap },
            57 => Self::CollectOrphans,
            58 => Self::ReleaseAll { heap },
            59 => Self::Tick,
            60 => Self::Purge { age_ticks: a % 4 },
            61 => Self::Fail { after_calls: a % 16 },
            62 => Self::Limit { granules: u16::from_le_bytes([a, b % 4]) },
            _ => Self::ResetPeaks,
        }
    }

    /// The operations that `bytes` stand for; what is left over at the end is nothing.
    pub fn program(bytes: &[u8]) -> impl Iterator<Item = Self> + Clone {
        let (codes, _) = bytes.as_chunks::<{ Self::BYTES }>();
        codes.iter().map(|code| Self::decode(*code))
    }
}

/// Sizes from all scales: small ones mostly, then powers of two and their neighbours, and a few
/// that no region holds.
fn size([low, high, scale]: [u8; 3]) -> usize {
    let mantissa = usize::from(u16::from_le_bytes([low, high]));
    match scale % 32 {
        0..12 => 1 + mantissa % 512,
        12..20 => 1 + mantissa % 8192,
        20..26 => 1 + mantissa,
        26..29 => ((1 << (usize::from(low) % 21)) + usize::from(high % 3)).saturating_sub(1).max(1),
        29..31 => 1 + mantissa * 23,
        _ => (isize::MAX as usize).saturating_sub(mantissa * 4096),
    }
}

/// Mostly ordinary, up to 2 MiB.
fn alignment(code: u8) -> usize {
    if code < 160 { 8 << (code / 80) } else { 1 << (code % 22) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_operation_and_every_kind_occurs() {
        let kinds: std::collections::HashSet<_> = (0..=255)
            .map(|kind| core::mem::discriminant(&Op::decode([kind, 0, 0, 0, 0, 0, 0, 0])))
            .collect();
        assert_eq!(kinds.len(), 13);
        assert_eq!(Op::decode([0; 8]), Op::Alloc { heap: 0, bytes: 1, align: 8, zeroed: false });
        assert_eq!(Op::program(&[0; 23]).count(), 2);
    }

    #[test]
    fn alignments_are_powers_of_two() {
        assert!((0..=255).all(|code| alignment(code).is_power_of_two()));
        assert_eq!((0..=255).map(alignment).max(), Some(1 << 21));
    }
}
