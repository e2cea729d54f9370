//! Which block size serves which request, and back.
//!
//! A quantum `Q` fixes the family: up to `8 Q` one class a quantum, above that eight classes a
//! doubling. A request therefore wastes less than 1/8 of its block, which the constant assertions
//! below prove for every class of the two families in use. Because each block size is a multiple
//! of its own step, rounding a request up to a power-of-two alignment first gives a class whose
//! blocks all keep that alignment: no search is needed.
#![forbid(unsafe_code)]

/// Classes in a doubling.
const STEPS: usize = 8;
const STEPS_LOG2: usize = STEPS.trailing_zeros() as usize;

/// Upper bound on the number of classes of any family; sizes the tables of a snapshot.
pub const MAX_CLASSES: usize = 128;

/// The index of a size class within its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SizeClass(u8);

impl SizeClass {
    /// The class with this index, or `None` past [`MAX_CLASSES`].
    pub const fn from_index(index: usize) -> Option<Self> {
        if index < MAX_CLASSES { Some(Self(index as u8)) } else { None }
    }

    /// The position of the class in its family, from zero.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A family of size classes: blocks of `QUANTUM` to `MAX_BYTES` bytes.
///
/// ```
/// use genesis_mem_core::size_class::HostClasses;
/// let class = HostClasses::of(100).unwrap();
/// assert_eq!(HostClasses::block_bytes(class), 112);
/// assert_eq!(HostClasses::of(HostClasses::MAX_BYTES + 1), None);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Classes<const QUANTUM: usize, const MAX_BYTES: usize>;

/// Host blocks: 16 B to 256 KiB.
pub type HostClasses = Classes<16, { 256 * 1024 }>;
/// Device blocks: 512 B to 1 MiB.
pub type DeviceClasses = Classes<512, { 1024 * 1024 }>;

impl<const QUANTUM: usize, const MAX_BYTES: usize> Classes<QUANTUM, MAX_BYTES> {
    /// The smallest block, bytes.
    pub const QUANTUM_BYTES: usize = QUANTUM;
    /// The largest block, bytes.
    pub const MAX_BYTES: usize = MAX_BYTES;
    /// How many classes the family has.
    pub const COUNT: usize = index_of(MAX_BYTES, QUANTUM) + 1;

    /// The smallest class whose blocks hold `bytes`, or `None` above [`Self::MAX_BYTES`].
    ///
    /// A request of zero bytes gets the smallest class. Constant time, without a table.
    #[inline]
    pub const fn of(bytes: usize) -> Option<SizeClass> {
        if bytes > MAX_BYTES {
            return None;
        }
        Some(SizeClass(index_of(bytes, QUANTUM) as u8))
    }

    /// The class that serves `bytes` at an alignment of `align`, a power of two.
    ///
    /// Every block of that class keeps the alignment, if its slab does.
    #[inline]
    pub const fn of_aligned(bytes: usize, align: usize) -> Option<SizeClass> {
        if align <= QUANTUM {
            return Self::of(bytes);
        }
        match bytes.checked_add(align - 1) {
            Some(sum) if sum >= align => Self::of(sum & !(align - 1)),
            Some(_) => Self::of(align),
            None => None,
        }
    }

    /// The size of a block of `class`, bytes.
    #[inline]
    pub const fn block_bytes(class: SizeClass) -> usize {
        let index = class.0 as usize;
        if index < STEPS {
            return (index + 1) * QUANTUM;
        }
        let shift = index / STEPS - 1;
        ((STEPS + index % STEPS + 1) << shift) * QUANTUM
    }

    /// Fails to compile where the family breaks one of its promises.
    const PROOF: () = {
        assert!(QUANTUM.is_power_of_two());
        assert!(Self::COUNT <= MAX_CLASSES);
        let mut index = 0;
        let mut previous = 0;
        while index < Self::COUNT {
            let block = Self::block_bytes(SizeClass(index as u8));
            assert!(block > previous, "block sizes grow with the class");
            assert!(
                index_of(previous + 1, QUANTUM) == index && index_of(block, QUANTUM) == index,
                "of and block_bytes are inverse"
            );
            // The worst request of a class is one byte above the class below. A single quantum
            // cannot be divided further and is exempt.
            assert!(
                index < STEPS || (block - previous - 1) * 8 <= block,
                "a request wastes at most 1/8 of its block"
            );
            previous = block;
            index += 1;
        }
        assert!(previous == MAX_BYTES, "the largest block is the family's bound");
    };
}

const _: () = HostClasses::PROOF;
const _: () = DeviceClasses::PROOF;

#[inline]
const fn index_of(bytes: usize, quantum: usize) -> usize {
    let quanta = if bytes == 0 { 1 } else { bytes.div_ceil(quantum) };
    if quanta <= STEPS {
        return quanta - 1;
    }
    let shift = (usize::BITS - 1 - (quanta - 1).leading_zeros()) as usize - STEPS_LOG2;
    (shift << STEPS_LOG2) + ((quanta - 1) >> shift)
}

#[cfg(all(test, not(genesis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_block_that_holds_it() {
        let mut class = 0;
        for bytes in 1..=HostClasses::MAX_BYTES {
            if bytes > HostClasses::block_bytes(SizeClass(class)) {
                class += 1;
            }
            assert_eq!(HostClasses::of(bytes), Some(SizeClass(class)), "{bytes} bytes");
        }
        assert_eq!(class as usize + 1, HostClasses::COUNT);
        assert_eq!(HostClasses::of(0), Some(SizeClass(0)));
        assert_eq!(HostClasses::of(HostClasses::MAX_BYTES + 1), None);
        assert_eq!(HostClasses::of(usize::MAX), None);
    }

    #[test]
    fn an_aligned_request_gets_blocks_that_keep_the_alignment() {
        for align in (0..17).map(|bits| 1usize << bits) {
            for bytes in (0..70_000).step_by(7).chain([align - 1, align, align + 1]) {
                let Some(class) = HostClasses::of_aligned(bytes, align) else { continue };
                let block = HostClasses::block_bytes(class);
                assert!(block >= bytes);
                assert_eq!(block % align.max(16).min(block), 0);
                assert!(align <= 16 || block.is_multiple_of(align), "{bytes} bytes at {align}");
            }
        }
        assert_eq!(HostClasses::of_aligned(usize::MAX, 4096), None);
    }
}
