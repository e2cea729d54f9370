//! From a frame to its caller's.
#![forbid(unsafe_code)]

use super::{
    cache::RULES,
    machine::Registers,
    module::{self, Module},
    rule::{Base, Rule},
    window::Window,
};

/// A frame on the way out.
pub(super) struct Walk {
    /// Inside of the instruction that the frame is at: one less than a return address.
    at: usize,
    sp: usize,
    fp: usize,
    rule: Rule,
    window: Window,
    modules: Modules,
}

impl Walk {
    #[inline(always)]
    pub(super) fn from(registers: Registers) -> Self {
        let Registers { pc, sp, fp } = registers;
        let mut modules = Modules::default();
        let rule = modules.rule(pc);
        Self { at: pc, sp, fp, rule, window: Window::from(sp), modules }
    }

    pub(super) fn reported(&self) -> usize {
        self.at + 1
    }

    /// Goes on to the caller, and returns the address of the stack that held its program counter;
    /// `None` where there is no caller, or none that can be told.
    #[inline(always)]
    pub(super) fn step(&mut self) -> Option<usize> {
        let (place, pc, back);
        if self.rule.is_known() {
            back = usize::from(!self.rule.is_interrupted());
            (place, pc) = self.follow_rule()?;
        } else if self.rule.is_end() {
            return None;
        } else {
            back = 1;
            (place, pc) = self.follow_frame_pointer()?;
        }
        let by_frame_pointer = !self.rule.is_known();
        self.at = pc.checked_sub(back)?;
        self.rule = self.modules.rule(self.at);
        let is_plausible =
            self.rule.is_after_call() || !by_frame_pointer && self.modules.is_inside();
        is_plausible.then_some(place)
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
        let pc = self.window.read(place)?;
        let (base, offset) = rule.fp();
        if base != Base::None {
            let place = self.value(base, cfa).wrapping_add_signed(offset);
            self.fp = self.window.read(place)?;
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
        let rule = if module.salt == 0 { Rule::FRAME_POINTER } else { module.rule(at) };
        let rule = rule.with_after_call(module::follows_call(at.wrapping_add(1)));
        RULES.put(at, module.salt, rule);
        rule
    }
}
