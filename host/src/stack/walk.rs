//! From a frame to its caller's.
#![forbid(unsafe_code)]

use super::{
    cache::RULES,
    last::Frame,
    machine::Registers,
    module::{self, Module},
    rule::{Base, Rule},
    window::Window,
};

/// Frame pointers lead to the lower end of a frame: they don't tell the caller's stack pointer, so
/// there is no way back from them to rules.
const FRAME_POINTERS_ARE_LOW: bool = cfg!(target_arch = "aarch64");

/// A frame on the way out.
pub(super) struct Walk {
    /// Inside of the instruction that the frame is at: one less than a return address.
    at: usize,
    sp: usize,
    fp: usize,
    rule: Rule,
    window: Window,
    modules: Modules,
    /// Where the frame pointer was read last; zero where that was not in the last step.
    fp_place: usize,
    /// Whether the last step followed from a rule and the two words that [`Frame`] tells of.
    is_exact: bool,
}

impl Walk {
    #[inline(always)]
    pub(super) fn from(registers: Registers) -> Self {
        let Registers { pc, sp, fp } = registers;
        let mut modules = Modules::default();
        let rule = modules.rule(pc);
        let window = Window::from(sp);
        Self { at: pc, sp, fp, rule, window, modules, fp_place: 0, is_exact: false }
    }

    /// Whether it goes along the thread's own stack.
    #[inline(always)]
    pub(super) fn is_on_own_stack(&self) -> bool {
        self.window.is_own()
    }

    #[inline(always)]
    pub(super) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Whether a rule says that there is no caller.
    pub(super) fn is_over(&self) -> bool {
        self.rule.is_end()
    }

    /// Whether the walk has come through the module.
    pub(super) fn knows(&self, salt: u64) -> bool {
        self.modules.0.iter().any(|module| module.salt == salt)
    }

    /// The address and the module's salt, if that may go while the thread runs, or zeroes.
    #[inline(always)]
    pub(super) fn module_that_may_go(&self) -> (usize, u64) {
        let module = &self.modules.0[0];
        if module.is_lasting { (0, 0) } else { (self.at, module.salt) }
    }

    /// Whether the words that once led to a frame still do.
    #[inline(always)]
    pub(super) fn leads_to(&mut self, frame: &Frame) -> bool {
        let pc = self.window.read(frame.place).map(without_signature);
        pc == Some(frame.at.wrapping_add(1))
            && (frame.fp_place == 0 || self.window.read(frame.fp_place) == Some(frame.fp))
    }

    /// Goes on from a frame that some walk came to.
    pub(super) fn resume(&mut self, frame: &Frame) {
        (self.at, self.sp, self.fp) = (frame.at, frame.sp, frame.fp);
        self.rule = self.modules.rule(self.at);
    }

    /// Goes on to the caller, and returns its frame; `None` where there is no caller, or none that
    /// can be told.
    #[inline(always)]
    pub(super) fn step(&mut self) -> Option<Frame> {
        let rule = self.rule;
        self.fp_place = 0;
        self.is_exact = rule.is_known() && !rule.is_indirect() && !rule.is_interrupted();
        let (place, pc) = if rule.is_known() {
            self.follow_rule()?
        } else if rule.is_end() {
            return None;
        } else {
            self.follow_frame_pointer()?
        };
        self.at = pc.checked_sub(usize::from(!rule.is_interrupted()))?;
        self.rule = self.modules.rule(self.at);
        if FRAME_POINTERS_ARE_LOW && !rule.is_known() && self.rule.is_known() {
            self.rule = Rule::FRAME_POINTER.with_after_call(self.rule.is_after_call());
        }
        // A frame pointer may have been anything. A signal comes anywhere.
        let is_plausible = self.rule.is_after_call()
            || rule.is_interrupted()
            || rule.is_known() && (self.modules.is_inside() || self.rule.is_interrupted());
        let (at, sp, fp, fp_place) = (self.at, self.sp, self.fp, self.fp_place);
        is_plausible.then_some(Frame { at, sp, fp, place, fp_place })
    }

    #[inline(always)]
    fn follow_rule(&mut self) -> Option<(usize, usize)> {
        let rule = self.rule;
        let (base, offset) = rule.cfa();
        let mut cfa = self.value(base, 0).wrapping_add_signed(offset);
        if rule.is_indirect() {
            cfa = self.window.read(cfa)?;
        }
        let (base, offset) = rule.pc();
        let place = self.value(base, cfa).wrapping_add_signed(offset);
        let pc = without_signature(self.window.read(place)?);
        let (base, offset) = rule.fp();
        if base != Base::None {
            let place = self.value(base, cfa).wrapping_add_signed(offset);
            self.fp = self.window.read(place)?;
            self.fp_place = place;
        }
        if rule.is_interrupted() {
            // The handler may have had a stack of its own.
            self.window = Window::from(cfa);
        } else if cfa <= self.sp {
            return None;
        }
        self.sp = cfa;
        Some((place, pc))
    }

    #[cold]
    fn follow_frame_pointer(&mut self) -> Option<(usize, usize)> {
        const WORD: usize = size_of::<usize>();
        if self.fp < self.sp {
            return None;
        }
        let place = self.fp.checked_add(WORD)?;
        let pc = without_signature(self.window.read(place)?);
        self.sp = place + WORD;
        self.fp = self.window.read(self.fp)?;
        Some((place, pc))
    }

    #[inline(always)]
    fn value(&self, base: Base, cfa: usize) -> usize {
        match base {
            Base::Cfa => cfa,
            Base::Sp => self.sp,
            Base::Fp => self.fp,
            Base::None => 0,
        }
    }
}

/// The address without the authentication code in its upper bits.
fn without_signature(pc: usize) -> usize {
    if cfg!(target_arch = "aarch64") { pc & ((1 << 48) - 1) } else { pc }
}

/// The modules that a walk came through, the current one first.
struct Modules([Module; 4]);

impl Default for Modules {
    #[inline(always)]
    fn default() -> Self {
        Self([Module::NONE; 4])
    }
}

impl Modules {
    /// Whether the last address was in a module.
    fn is_inside(&self) -> bool {
        self.0[0].salt != 0
    }

    /// The rule of an instruction.
    #[inline(always)]
    fn rule(&mut self, at: usize) -> Rule {
        if !self.0[0].contains(at) {
            self.change(at);
        }
        RULES.get(at, self.0[0].salt).unwrap_or_else(|| self.work_out(at))
    }

    fn change(&mut self, at: usize) {
        match self.0.iter().position(|module| module.contains(at)) {
            Some(index) => self.0.swap(0, index),
            None => {
                let module = Module::of(at);
                let unused = self.0.iter().position(|module| module.salt == 0);
                let victim = unused.unwrap_or(self.0.len() - 1);
                self.0.swap(0, victim);
                self.0[0] = module.unwrap_or(Module::NONE);
            }
        }
    }

    #[cold]
    fn work_out(&self, at: usize) -> Rule {
        let module = &self.0[0];
        let rule = module::signal_return(at.wrapping_add(1)).unwrap_or_else(|| module.rule(at));
        let rule = rule.with_after_call(module::follows_call(at.wrapping_add(1)));
        RULES.put(at, module.salt, rule);
        rule
    }
}
