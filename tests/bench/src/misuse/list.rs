//! Which wrong acts there are.

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Block sizes: small ones, those of slabs of several pages, and large ones.
const SIZES: [usize; 8] = [8, 64, 1000, 4 * KIB, 32 * KIB, 256 * KIB, MIB, 8 * MIB];
/// Those that an idle allocator gives back to the system.
const PURGED_SIZES: [usize; 3] = [256 * KIB, MIB, 8 * MIB];

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `free`, or `dealloc`.
    Free,
    /// `realloc` to twice the size.
    Realloc,
    /// `malloc_usable_size`, which only C has.
    Usable,
}

/// The pointer that it is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A block that was freed before.
    Freed(Way),
    /// An address inside of a live block.
    Interior(Offset),
    /// Memory that the allocator does not know.
    Foreign(Place),
}

/// How a block was freed, and by whom it is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One right after the other.
    AtOnce,
    /// A neighbour is freed in between.
    AfterAnother,
    /// A thousand allocations and frees of other sizes lie in between.
    AfterMany,
    /// Eight more of its size were freed, and four allocated.
    AmongFree,
    /// A second later, when an idle allocator has given pages back.
    AfterPurge,
    /// Another thread is the second.
    ThenByOther,
    /// Another thread was the first, and has ended.
    FirstByOther,
    /// Two other threads, one after the other.
    ByTwoOthers,
    /// Its owner and another thread at the same moment.
    Together,
}

/// Where inside of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// So many bytes behind its start.
    Bytes(usize),
    /// In the middle.
    Half,
    /// At its last byte.
    Last,
}

/// Where memory comes from that the allocator does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A local variable.
    Stack,
    /// A static one.
    Static,
    /// A thread-local one.
    ThreadLocal,
    /// A page from `mmap`.
    MappedPage,
    /// The middle of 2 MiB from `mmap`.
    Mapped,
    /// The C library's `malloc`.
    CLibrary,
    /// The program's code.
    Code,
    /// The environment's first string.
    Environment,
    /// The page at zero.
    NullPage,
    /// An address that no processor takes.
    NonCanonical,
    /// The kernel's half.
    Kernel,
    /// A block's address and 1 GiB.
    Beyond,
}

/// The layout that a live block is freed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Half the size.
    Half,
    /// Twice the size.
    Double,
    /// Eight times the size.
    Eightfold,
    /// A small size for a large block, and the other way round.
    OtherEnd,
    /// The alignment of a page, which the block was not asked with.
    Aligned,
    /// No alignment, where the block was asked with a page's.
    Unaligned,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A pointer that is not a live block.
    Pointer(Verb, Target),
    /// A live block, but not its layout.
    Layout(Given),
    /// A write to a block after its free, and then allocations until it must have been found.
    Write,
}

/// A wrong act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    /// What is wrong.
    pub wrong: Wrong,
    /// The size of the block, or the size that is pretended.
    pub bytes: usize,
}

impl Act {
    /// All acts.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for bytes in SIZES {
            all.extend(of_size(bytes).into_iter().map(|wrong| Self { wrong, bytes }));
        }
        for bytes in [64, MIB] {
            let pointer = |(verb, place)| Wrong::Pointer(verb, Target::Foreign(place));
            all.extend(foreign().map(|it| Self { wrong: pointer(it), bytes }));
        }
        let purged = Wrong::Pointer(Verb::Free, Target::Freed(Way::AfterPurge));
        all.extend(PURGED_SIZES.map(|bytes| Self { wrong: purged, bytes }));
        all
    }

    /// The kind of act, under which tables sum up.
    #[must_use]
    pub fn group(&self) -> &'static str {
        match self.wrong {
            Wrong::Pointer(Verb::Free, Target::Freed(_)) => "double free",
            Wrong::Pointer(Verb::Free, Target::Interior(_)) => "interior free",
            Wrong::Pointer(Verb::Free, Target::Foreign(_)) => "foreign free",
            Wrong::Pointer(Verb::Realloc, _) => "realloc",
            Wrong::Pointer(Verb::Usable, _) => "malloc_usable_size",
            Wrong::Layout(_) => "wrong layout",
            Wrong::Write => "write after free",
        }
    }

    /// Which act of its kind.
    #[must_use]
    pub fn how(&self) -> String {
        match self.wrong {
            Wrong::Pointer(_, Target::Freed(way)) => format!("freed, {way:?}"),
            Wrong::Pointer(_, Target::Interior(offset)) => format!("inside, {offset:?}"),
            Wrong::Pointer(_, Target::Foreign(place)) => format!("foreign, {place:?}"),
            Wrong::Layout(given) => format!("{given:?}"),
            Wrong::Write => "first words".into(),
        }
    }

    /// A name that no other act has.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}: {}: {}", self.group(), self.how(), self.bytes)
    }

    /// Whether C can do it: its frees name no layout. Under a preloaded allocator there is no other
    /// `malloc` whose blocks would be foreign.
    #[must_use]
    pub fn in_c(&self) -> bool {
        let borrowed = |target| target == Target::Foreign(Place::CLibrary);
        !matches!(self.wrong, Wrong::Layout(_))
            && !matches!(self.wrong, Wrong::Pointer(_, target) if borrowed(target))
    }

    /// Whether a Rust program can do it on this allocator, whose `malloc` may be the C library's.
    #[must_use]
    pub fn in_rust(&self, allocator: &str) -> bool {
        match self.wrong {
            Wrong::Pointer(Verb::Usable, _) => false,
            Wrong::Pointer(_, Target::Foreign(Place::CLibrary)) => allocator != "system",
            _ => true,
        }
    }

    /// The size that the allocator is told, or may take for the block's.
    #[must_use]
    pub fn given_bytes(&self) -> usize {
        match self.wrong {
            Wrong::Layout(Given::Half) => self.bytes / 2,
            Wrong::Layout(Given::Double) => self.bytes * 2,
            Wrong::Layout(Given::Eightfold) => self.bytes * 8,
            Wrong::Layout(Given::OtherEnd) if self.bytes >= 32 * KIB => 64,
            Wrong::Layout(Given::OtherEnd) => 2 * MIB,
            Wrong::Pointer(Verb::Realloc, _) => self.bytes * 2,
            _ => self.bytes,
        }
    }
}

/// The acts that are tried with every size.
fn of_size(bytes: usize) -> Vec<Wrong> {
    use Way::{
        AfterAnother, AfterMany, AmongFree, AtOnce, ByTwoOthers, FirstByOther, ThenByOther,
        Together,
    };
    let ways = [
        AtOnce,
        AfterAnother,
        AfterMany,
        AmongFree,
        ThenByOther,
        FirstByOther,
        ByTwoOthers,
        Together,
    ];
    let freed = |verb, way| Wrong::Pointer(verb, Target::Freed(way));
    let inside = |verb, offset| Wrong::Pointer(verb, Target::Interior(offset));
    let mut acts: Vec<Wrong> = ways.map(|way| freed(Verb::Free, way)).into();
    acts.extend(
        [1, 8, 16, 4 * KIB, 64 * KIB]
            .into_iter()
            .filter(|&at| at < bytes)
            .map(|at| inside(Verb::Free, Offset::Bytes(at))),
    );
    acts.extend([Offset::Half, Offset::Last].map(|offset| inside(Verb::Free, offset)));
    for verb in [Verb::Realloc, Verb::Usable] {
        acts.extend([AtOnce, AfterMany].map(|way| freed(verb, way)));
        acts.extend([Offset::Bytes(1), Offset::Half].map(|offset| inside(verb, offset)));
    }
    let given = [
        Given::Half,
        Given::Double,
        Given::Eightfold,
        Given::OtherEnd,
        Given::Aligned,
        Given::Unaligned,
    ];
    // Half of the smallest is a size that its blocks have room for: nothing would be wrong.
    acts.extend(given.into_iter().filter(|&it| bytes > 8 || it != Given::Half).map(Wrong::Layout));
    acts.push(Wrong::Write);
    acts
}

fn foreign() -> impl Iterator<Item = (Verb, Place)> {
    use Place::{
        Beyond, CLibrary, Code, Environment, Kernel, Mapped, MappedPage, NonCanonical, NullPage,
        Stack, Static, ThreadLocal,
    };
    let places = [
        Stack,
        Static,
        ThreadLocal,
        MappedPage,
        Mapped,
        CLibrary,
        Code,
        Environment,
        NullPage,
        NonCanonical,
        Kernel,
        Beyond,
    ];
    let few = [Stack, Static, Mapped, NonCanonical];
    let of = |verb, places: &[Place]| places.iter().map(|&it| (verb, it)).collect::<Vec<_>>();
    [of(Verb::Free, &places), of(Verb::Realloc, &few), of(Verb::Usable, &few)].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Act;

    #[test]
    fn there_are_two_hundred_acts_for_each_language_and_none_twice() {
        let all = Act::all();
        let names: HashSet<_> = all.iter().map(Act::name).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().filter(|act| act.in_c()).count() >= 200);
        assert!(all.iter().filter(|act| act.in_rust("genesis")).count() >= 200);
    }
}
