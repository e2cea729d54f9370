//! Call sites and stacks, each kept once.
#![forbid(unsafe_code)]

use std::{fmt, panic::Location};

use rustc_hash::FxHashMap;

/// A place in the code.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame {
    /// The function's name; empty where only the line is known.
    pub function: String,
    /// The source file.
    pub file: String,
    /// The line, from one.
    pub line: u32,
}

impl Frame {
    /// The function, or the file and line where it is not known.
    pub fn name(&self) -> String {
        if self.function.is_empty() { self.to_string() } else { self.function.clone() }
    }
}

impl From<&Location<'_>> for Frame {
    fn from(location: &Location<'_>) -> Self {
        Self { function: String::new(), file: location.file().into(), line: location.line() }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The number of a stack in its [`Stacks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(pub u32);

impl StackId {
    /// The stack of what was allocated before anybody looked: no frame at all.
    pub const UNKNOWN: Self = Self(0);
}

/// Frames and stacks, numbered in order of appearance.
#[derive(Clone, Debug)]
pub struct Stacks {
    frames: Vec<Frame>,
    frame_ids: FxHashMap<Frame, u32>,
    stacks: Vec<Box<[u32]>>,
    stack_ids: FxHashMap<Box<[u32]>, StackId>,
}

impl Default for Stacks {
    /// Only [`StackId::UNKNOWN`].
    fn default() -> Self {
        let unknown: Box<[u32]> = Box::default();
        Self {
            frames: Vec::new(),
            frame_ids: FxHashMap::default(),
            stacks: vec![unknown.clone()],
            stack_ids: FxHashMap::from_iter([(unknown, StackId::UNKNOWN)]),
        }
    }
}

impl Stacks {
    /// The number of a stack, the innermost frame first.
    pub fn intern(&mut self, frames: impl IntoIterator<Item = Frame>) -> StackId {
        let stack: Box<[u32]> = frames.into_iter().map(|frame| self.intern_frame(frame)).collect();
        if let Some(&id) = self.stack_ids.get(&stack) {
            return id;
        }
        let id = StackId(self.stacks.len() as u32);
        self.stacks.push(stack.clone());
        self.stack_ids.insert(stack, id);
        id
    }

    fn intern_frame(&mut self, frame: Frame) -> u32 {
        let next = self.frames.len() as u32;
        *self.frame_ids.entry(frame).or_insert_with_key(|frame| {
            self.frames.push(frame.clone());
            next
        })
    }

    /// All frames.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// All stacks, by the numbers of their frames, the innermost first.
    pub fn stacks(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.stacks.iter().map(|stack| &**stack)
    }

    /// The frames of one stack, the innermost first; none of a stack that is unknown here.
    pub fn of(&self, id: StackId) -> impl DoubleEndedIterator<Item = &Frame> {
        let stack = self.stacks.get(id.0 as usize).map_or(&[][..], |stack| stack);
        stack.iter().map(|&frame| &self.frames[frame as usize])
    }

    /// File and line of the innermost frame, for people; `(unknown)` where nobody looked.
    pub fn location(&self, id: StackId) -> String {
        let innermost = self.of(id).next();
        innermost.map_or_else(|| "(unknown)".to_owned(), Frame::to_string)
    }
}
