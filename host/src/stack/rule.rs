//! How to get from a frame to its caller's, in one word.
#![forbid(unsafe_code)]

use gimli::{
    CfaRule, EhFrame, EndianSlice, Expression, NativeEndian, Operation, Register, RegisterRule,
    UnwindContextStorage, UnwindExpression, UnwindTableRow,
};

pub(super) type Bytes<'a> = EndianSlice<'a, NativeEndian>;
pub(super) type Section<'a> = EhFrame<Bytes<'a>>;
pub(super) type Row = UnwindTableRow<usize, Storage>;

/// Room for a row of rules, and for rows that are set aside, in place of the heap.
#[derive(Debug)]
pub(super) struct Storage;

impl UnwindContextStorage<usize> for Storage {
    type Rules = [(Register, RegisterRule<usize>); 24];
    type Stack = [UnwindTableRow<usize, Self>; 3];
}

/// The numbers of registers in DWARF.
#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const SP: u16 = 7;
    pub(super) const FP: u16 = 6;
    pub(super) const PC: u16 = 16;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const SP: u16 = 31;
    pub(super) const FP: u16 = 29;
    pub(super) const PC: u16 = 32;
}

/// What an offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The canonical frame address: the caller's stack pointer.
    Cfa,
    /// The frame's stack pointer.
    Sp,
    /// The frame's frame pointer register.
    Fp,
    /// Nothing: the register is as it was.
    None,
}

/// The rule of one instruction.
///
/// From the lowest bit: 32 bits of offset of the canonical frame address, eight each of those of the
/// saved program counter and of the saved frame pointer, in words; then their bases and the flags
/// below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule(pub(super) u64);

const CFA_SHIFT: u32 = 48;
const PC_SHIFT: u32 = 50;
const FP_SHIFT: u32 = 52;

impl Rule {
    /// The canonical frame address is what memory holds at the place that the rule says.
    const INDIRECT: u64 = 1 << 54;
    /// The caller was interrupted: its program counter is no return address.
    const INTERRUPTED: u64 = 1 << 55;
    /// The instruction follows a call.
    const AFTER_CALL: u64 = 1 << 56;
    /// There is a rule, in the bits above.
    const KNOWN: u64 = 1 << 57;
    /// There is none: the frame pointer may help.
    pub(super) const FRAME_POINTER: Self = Self(1 << 58);
    /// There is no caller, or none that can be told.
    pub(super) const END: Self = Self(1 << 59);

    #[inline(always)]
    pub(super) fn is_known(self) -> bool {
        self.0 & Self::KNOWN != 0
    }

    #[inline(always)]
    pub(super) fn is_end(self) -> bool {
        self.0 & Self::END.0 != 0
    }

    #[inline(always)]
    pub(super) fn is_indirect(self) -> bool {
        self.0 & Self::INDIRECT != 0
    }

    #[inline(always)]
    pub(super) fn is_interrupted(self) -> bool {
        self.0 & Self::INTERRUPTED != 0
    }

    #[inline(always)]
    pub(super) fn is_after_call(self) -> bool {
        self.0 & Self::AFTER_CALL != 0
    }

    /// The same, of an instruction that follows a call or not.
    pub(super) fn with_after_call(self, after_call: bool) -> Self {
        Self(self.0 | if after_call { Self::AFTER_CALL } else { 0 })
    }

    /// Offset in bytes and base of the canonical frame address.
    #[inline(always)]
    pub(super) fn cfa(self) -> (Base, isize) {
        (base(self.0 >> CFA_SHIFT), self.0 as i32 as isize)
    }

    /// Where the caller's program counter is saved.
    #[inline(always)]
    pub(super) fn pc(self) -> (Base, isize) {
        (base(self.0 >> PC_SHIFT), isize::from((self.0 >> 32) as i8) * WORD)
    }

    /// Where the caller's frame pointer is saved.
    #[inline(always)]
    pub(super) fn fp(self) -> (Base, isize) {
        (base(self.0 >> FP_SHIFT), isize::from((self.0 >> 40) as i8) * WORD)
    }

    /// The rule that a row of a table of `section` says for the instruction at `address`; the end
    /// where it says that there is no caller, or something that does not fit.
    pub(super) fn from_row(
        row: &Row,
        section: &Section<'_>,
        address: usize,
        interrupted: bool,
    ) -> Self {
        Self::compile(row, section, address, interrupted).unwrap_or(Self::END)
    }

    fn compile(
        row: &Row,
        section: &Section<'_>,
        address: usize,
        interrupted: bool,
    ) -> Option<Self> {
        let cfa = match *row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => Term::of(register, offset)?,
            CfaRule::Expression(expression) => evaluate(expression, section, address)?,
        };
        let place = |register| match row.register(Register(register)) {
            Some(RegisterRule::Offset(offset)) => {
                Some(Term { base: Base::Cfa, offset, indirect: false })
            }
            Some(RegisterRule::Expression(expression)) => evaluate(expression, section, address),
            None | Some(RegisterRule::SameValue) => Some(Term::NOWHERE),
            Some(_) => None,
        };
        let pc = place(number::PC)?;
        // A frame pointer that the caller does not get back is none for it.
        let fp = place(number::FP).unwrap_or(Term::NOWHERE);
        if cfa.base == Base::None || pc.base == Base::None || pc.indirect || fp.indirect {
            return None;
        }
        let offset = u64::from(i32::try_from(cfa.offset).ok()? as u32);
        let mut flags = Self::KNOWN;
        flags |= if cfa.indirect { Self::INDIRECT } else { 0 };
        flags |= if interrupted { Self::INTERRUPTED } else { 0 };
        let bases = (cfa.base as u64) << CFA_SHIFT
            | (pc.base as u64) << PC_SHIFT
            | (fp.base as u64) << FP_SHIFT;
        Some(Self(offset | pc.words()? << 32 | fp.words()? << 40 | bases | flags))
    }
}

const WORD: isize = size_of::<usize>() as isize;

#[inline(always)]
fn base(bits: u64) -> Base {
    match bits & 3 {
        0 => Base::Cfa,
        1 => Base::Sp,
        2 => Base::Fp,
        _ => Base::None,
    }
}

/// A register plus a constant, or the word there. A constant alone has no register.
#[derive(Clone, Copy, Debug)]
struct Term {
    base: Base,
    offset: i64,
    indirect: bool,
}

impl Term {
    const NOWHERE: Self = Self::constant(0);

    const fn constant(value: i64) -> Self {
        Self { base: Base::None, offset: value, indirect: false }
    }

    fn of(register: Register, offset: i64) -> Option<Self> {
        let base = match register.0 {
            number::SP => Base::Sp,
            number::FP => Base::Fp,
            _ => return None,
        };
        Some(Self { base, offset, indirect: false })
    }

    /// The offset as a number of words in eight bits.
    fn words(self) -> Option<u64> {
        let is_whole = self.offset % WORD as i64 == 0;
        let words = i8::try_from(self.offset / WORD as i64).ok().filter(|_| is_whole)?;
        Some(u64::from(words as u8))
    }

    fn value(self) -> Option<i64> {
        (self.base == Base::None).then_some(self.offset)
    }

    fn plus(self, other: Self) -> Option<Self> {
        let (term, more) = match (self.value(), other.value()) {
            (_, Some(more)) => (self, more),
            (Some(more), None) => (other, more),
            (None, None) => return None,
        };
        let offset = term.offset.checked_add(more)?;
        (!term.indirect).then_some(Self { offset, ..term })
    }
}

/// What an expression comes to. The address is known, so that of those in use (of the procedure
/// linkage table, of signal frames, of frames that were aligned) only registers remain.
fn evaluate(
    expression: UnwindExpression<usize>,
    section: &Section<'_>,
    address: usize,
) -> Option<Term> {
    let Expression(bytes) = expression.get(section).ok()?;
    let encoding = gimli::Encoding {
        address_size: size_of::<usize>() as u8,
        format: gimli::Format::Dwarf32,
        version: 4,
    };
    let mut operations = Expression(bytes).operations(encoding);
    let mut stack = Terms::default();
    while let Some(operation) = operations.next().ok()? {
        let term = match operation {
            Operation::RegisterOffset { register: Register(number::PC), offset, .. } => {
                Term::constant((address as i64).checked_add(offset)?)
            }
            Operation::RegisterOffset { register, offset, .. } => Term::of(register, offset)?,
            Operation::UnsignedConstant { value } => Term::constant(value.try_into().ok()?),
            Operation::SignedConstant { value } => Term::constant(value),
            Operation::PlusConstant { value } => {
                stack.pop()?.plus(Term::constant(value.try_into().ok()?))?
            }
            Operation::Deref { size, space: false, .. }
                if usize::from(size) == size_of::<usize>() =>
            {
                let term = stack.pop()?;
                if term.indirect || term.base == Base::None {
                    return None;
                }
                Term { indirect: true, ..term }
            }
            Operation::Plus => {
                let (left, right) = (stack.pop()?, stack.pop()?);
                left.plus(right)?
            }
            Operation::And | Operation::Ge | Operation::Shl => {
                let (right, left) = (stack.pop()?.value()?, stack.pop()?.value()?);
                Term::constant(match operation {
                    Operation::And => left & right,
                    Operation::Ge => i64::from(left >= right),
                    _ => left.checked_shl(right.try_into().ok()?)?,
                })
            }
            _ => return None,
        };
        stack.push(term)?;
    }
    stack.pop()
}

/// A stack of a few terms.
#[derive(Default)]
struct Terms {
    terms: [Option<Term>; 4],
    count: usize,
}

impl Terms {
    fn push(&mut self, term: Term) -> Option<()> {
        *self.terms.get_mut(self.count)? = Some(term);
        self.count += 1;
        Some(())
    }

    fn pop(&mut self) -> Option<Term> {
        self.count = self.count.checked_sub(1)?;
        self.terms[self.count]
    }
}
