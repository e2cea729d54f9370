//! Call sites and stacks, each kept once.
#![forbid(unsafe_code)]

use std::{fmt, panic::Location};

use rustc_hash::FxHashMap;

/// A place in the code.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame {
    /// The function's name; empty where only the line is known.
    pub function: String,
    /// The source file; the program or library where the line is not known.
    pub file: String,
    /// The line, from one; zero where it is not known.
    pub line: u32,
}

impl Frame {
    /// The function, or the file and line where it is not known.
    pub fn name(&self) -> String {
        if self.function.is_empty() { self.to_string() } else { self.function.clone() }
    }

    /// All that is known, for people: `src/main.rs:3, in main`.
    pub fn description(&self) -> String {
        match (self.line, &*self.function) {
            (0, _) | (_, "") => self.to_string(),
            (_, function) => format!("{self}, in {function}"),
        }
    }
}

impl From<&Location<'_>> for Frame {
    fn from(location: &Location<'_>) -> Self {
        Self { function: String::new(), file: location.file().into(), line: location.line() }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, file, line } = self;
        match (line, &**function) {
            (0, "") => f.write_str(file),
            (0, _) => {
                let module = file.rsplit('/').next().unwrap_or(file);
                write!(f, "{function} ({module})")
            }
            _ => write!(f, "{file}:{line}"),
        }
    }
}

/// A program or library whose code was mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// The file.
    pub path: String,
    /// Tells builds apart, in hexadecimal digits; empty where there is none.
    pub build_id: String,
    /// The first address that its code was mapped to.
    pub address: u64,
    /// The address after the last.
    pub end: u64,
    /// Where in the file that code begins, bytes.
    pub offset: u64,
}

/// One call of a stack as the machine saw it: an address in the caller. Calls that were inlined
/// there are frames of the same call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// In the instruction that called.
    pub address: u64,
    /// The number of its module in [`Stacks::modules`]; `None` where no file was mapped.
    pub module: Option<u32>,
    /// How many frames it has, the innermost first.
    pub frames: u32,
}

/// The number of a stack in its [`Stacks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(pub u32);

impl StackId {
    /// The stack of what was allocated before anybody looked: no frame at all.
    pub const UNKNOWN: Self = Self(0);
}

#[derive(Clone, Debug, Default)]
struct Stack {
    frames: Box<[u32]>,
    /// Empty where only the frames are known.
    calls: Box<[Call]>,
    /// Which of the frames is the call site.
    site_frame: u32,
    /// The first stack of this call site.
    site: StackId,
}

/// Frames and stacks, numbered in order of appearance.
///
/// The **call site** of a stack is the line of the program that somebody wants to see: the
/// innermost frame, or one further out where the innermost are those of a library.
#[derive(Clone, Debug)]
pub struct Stacks {
    /// Where the addresses of calls lie; empty where there are no calls.
    pub modules: Vec<Module>,
    frames: Vec<Frame>,
    /// Whether each frame is of a library that does something for its caller.
    in_library: Vec<bool>,
    frame_ids: FxHashMap<Frame, u32>,
    stacks: Vec<Stack>,
    stack_ids: FxHashMap<Box<[u32]>, StackId>,
    /// The first stack of each call site.
    site_ids: FxHashMap<u32, StackId>,
}

impl Default for Stacks {
    /// Only [`StackId::UNKNOWN`].
    fn default() -> Self {
        Self {
            modules: Vec::new(),
            frames: Vec::new(),
            in_library: Vec::new(),
            frame_ids: FxHashMap::default(),
            stacks: vec![Stack::default()],
            stack_ids: FxHashMap::from_iter([(Box::default(), StackId::UNKNOWN)]),
            site_ids: FxHashMap::default(),
        }
    }
}

impl Stacks {
    /// The number of a stack, the innermost frame first, which is the call site.
    pub fn intern(&mut self, frames: impl IntoIterator<Item = Frame>) -> StackId {
        self.intern_calls(frames.into_iter().map(|frame| (frame, false)), &[])
    }

    /// The number of a stack of whose calls the addresses are known, the innermost frame first,
    /// each with whether it is of a library that does something for its caller. Of stacks that
    /// differ only in addresses those of the first are kept.
    pub fn intern_calls(
        &mut self,
        frames: impl IntoIterator<Item = (Frame, bool)>,
        calls: &[Call],
    ) -> StackId {
        let frames = frames.into_iter();
        let frames: Box<[u32]> =
            frames.map(|(frame, in_library)| self.intern_frame(frame, in_library)).collect();
        if let Some(&id) = self.stack_ids.get(&frames) {
            return id;
        }
        let id = StackId(self.stacks.len() as u32);
        let site_frame = self.site_frame(&frames);
        let site = *self.site_ids.entry(frames[site_frame]).or_insert(id);
        self.stack_ids.insert(frames.clone(), id);
        let (calls, site_frame) = (calls.into(), site_frame as u32);
        self.stacks.push(Stack { frames, calls, site_frame, site });
        id
    }

    fn intern_frame(&mut self, frame: Frame, in_library: bool) -> u32 {
        let next = self.frames.len() as u32;
        *self.frame_ids.entry(frame).or_insert_with_key(|frame| {
            self.frames.push(frame.clone());
            self.in_library.push(in_library);
            next
        })
    }

    /// Which of some frames is the call site: the innermost that is of no library. A name further
    /// out says more than an address.
    fn site_frame(&self, frames: &[u32]) -> usize {
        let is_own = |&frame: &u32| !self.in_library[frame as usize];
        let is_named = |&frame: &u32| {
            let Frame { function, line, .. } = &self.frames[frame as usize];
            *line > 0 || !matches!(&**function, "" | "_start")
        };
        let named = frames.iter().position(|frame| is_own(frame) && is_named(frame));
        named.or_else(|| frames.iter().position(is_own)).unwrap_or(0)
    }

    /// Takes a stack over from `other`.
    pub fn adopt(&mut self, other: &Self, id: StackId) -> StackId {
        let frames = other.stack(id).map_or(&[][..], |stack| &stack.frames).iter();
        let frames = frames.map(|&frame| frame as usize);
        let frames = frames.map(|frame| (other.frames[frame].clone(), other.in_library[frame]));
        self.intern_calls(frames, &[])
    }

    fn stack(&self, id: StackId) -> Option<&Stack> {
        self.stacks.get(id.0 as usize)
    }

    /// All frames.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// All stacks, by the numbers of their frames, the innermost first.
    pub fn stacks(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.stacks.iter().map(|stack| &*stack.frames)
    }

    /// Which of its frames is the call site of each stack, in the same order.
    pub fn site_frames(&self) -> impl ExactSizeIterator<Item = usize> {
        self.stacks.iter().map(|stack| stack.site_frame as usize)
    }

    /// The frames of one stack, the innermost first; none of a stack that is unknown here.
    pub fn of(&self, id: StackId) -> impl DoubleEndedIterator<Item = &Frame> + ExactSizeIterator {
        let stack = self.stack(id).map_or(&[][..], |stack| &stack.frames);
        stack.iter().map(|&frame| &self.frames[frame as usize])
    }

    /// The calls of one stack, the innermost first; none where only the frames are known.
    pub fn calls_of(&self, id: StackId) -> &[Call] {
        self.stack(id).map_or(&[][..], |stack| &stack.calls)
    }

    /// The first stack that has the same call site: what stands for it where stacks are grouped.
    pub fn site_of(&self, id: StackId) -> StackId {
        self.stack(id).map_or(StackId::UNKNOWN, |stack| stack.site)
    }

    /// The frames from the call site outwards, without those of libraries further out.
    pub fn from_site(&self, id: StackId) -> impl Iterator<Item = &Frame> {
        let stack = self.stack(id).map_or((&[][..], 0), |stack| (&stack.frames, stack.site_frame));
        let frames = stack.0.iter().skip(stack.1 as usize).enumerate();
        let named =
            frames.filter(|(number, frame)| *number == 0 || !self.in_library[**frame as usize]);
        named.map(|(_, &frame)| &self.frames[frame as usize])
    }

    /// The frames that are of libraries.
    pub(crate) fn in_libraries(&self, id: StackId) -> impl Iterator<Item = &Frame> {
        let frames = self.stack(id).map_or(&[][..], |stack| &stack.frames).iter();
        let frames = frames.map(|&frame| frame as usize);
        frames.filter(|&frame| self.in_library[frame]).map(|frame| &self.frames[frame])
    }

    /// File and line of the call site, for people; `(unknown)` where nobody looked.
    pub fn location(&self, id: StackId) -> String {
        let site = self.from_site(id).next();
        site.map_or_else(|| "(unknown)".to_owned(), Frame::to_string)
    }

    /// The same with the function's name where it is known.
    pub fn description(&self, id: StackId) -> String {
        let site = self.from_site(id).next();
        site.map_or_else(|| "(unknown)".to_owned(), Frame::description)
    }
}
