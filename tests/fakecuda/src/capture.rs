//! Capture: work of one or more streams goes into a list instead of being done; a graph is such a
//! list, done as often as it is launched.
#![forbid(unsafe_code)]

use std::{
    cell::Cell,
    sync::{Arc, Mutex},
    thread::{self, ThreadId},
};

use crate::{
    call::lock,
    code::{
        Answer, INVALID_VALUE, STREAM_CAPTURE_INVALIDATED, STREAM_CAPTURE_MERGE,
        STREAM_CAPTURE_UNJOINED, STREAM_CAPTURE_UNMATCHED, STREAM_CAPTURE_UNSUPPORTED,
        STREAM_CAPTURE_WRONG_THREAD,
    },
    device::{Device, device, new_handle},
    op::Op,
    stream::Stream,
};

/// How much of what could disturb a capture is forbidden meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On all threads.
    Global,
    /// On the thread that captures.
    ThreadLocal,
    /// Nothing.
    Relaxed,
}

impl Mode {
    pub(crate) fn from_number(number: i32) -> Answer<Self> {
        match number {
            0 => Ok(Self::Global),
            1 => Ok(Self::ThreadLocal),
            2 => Ok(Self::Relaxed),
            _ => Err(INVALID_VALUE),
        }
    }
}

thread_local! {
    /// What the thread itself lets be forbidden.
    static THREAD_MODE: Cell<Mode> = const { Cell::new(Mode::Global) };
}

/// Sets the thread's own mode; answers with the one before.
pub(crate) fn exchange_thread_mode(mode: Mode) -> Mode {
    THREAD_MODE.replace(mode)
}

/// Refuses a call that could disturb a capture, which is spoilt by the attempt.
pub(crate) fn refuse_if_disturbed() -> Answer {
    let (mode, thread) = (THREAD_MODE.get(), thread::current().id());
    let disturbs = |capture: &&Arc<Capture>| match mode {
        Mode::Relaxed => false,
        Mode::ThreadLocal => capture.mode != Mode::Relaxed && capture.thread == thread,
        Mode::Global => {
            capture.mode == Mode::Global
                || capture.mode == Mode::ThreadLocal && capture.thread == thread
        }
    };
    let mut answer = Ok(());
    for capture in lock(&device().captures).iter().filter(disturbs) {
        capture.invalidate();
        answer = Err(STREAM_CAPTURE_UNSUPPORTED);
    }
    answer
}

/// A stream in a capture.
#[derive(Debug)]
struct Member {
    stream: Arc<Stream>,
    /// How much it has added.
    added: u64,
    /// How much of that another stream has waited for.
    joined: u64,
}

#[derive(Debug, Default)]
struct Recording {
    ops: Vec<Op>,
    /// The first one began the capture.
    members: Vec<Member>,
    invalid: bool,
}

/// A point in the capture of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    member: usize,
    added: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) id: u64,
    mode: Mode,
    thread: ThreadId,
    recording: Mutex<Recording>,
}

impl Capture {
    /// Lets `stream` capture.
    pub(crate) fn begin(device: &Device, stream: &Arc<Stream>, mode: Mode) -> Answer {
        if stream.capture().is_some() {
            return Err(INVALID_VALUE);
        }
        let thread = thread::current().id();
        let recording = Mutex::default();
        let capture = Arc::new(Self { id: new_handle(), mode, thread, recording });
        capture.add_member(&mut lock(&capture.recording), stream);
        lock(&device.captures).push(capture);
        Ok(())
    }

    fn add_member(self: &Arc<Self>, recording: &mut Recording, stream: &Arc<Stream>) -> usize {
        // To have joined is something to be waited for, also by a stream that adds nothing.
        recording.members.push(Member { stream: Arc::clone(stream), added: 1, joined: 0 });
        stream.set_capture(Some(Arc::clone(self)));
        recording.members.len() - 1
    }

    /// Ends the capture that `stream` began.
    pub(crate) fn end(device: &Device, stream: &Arc<Stream>) -> Answer<Graph> {
        let capture = stream.capture().ok_or(STREAM_CAPTURE_UNMATCHED)?;
        if capture.mode != Mode::Relaxed && capture.thread != thread::current().id() {
            return Err(STREAM_CAPTURE_WRONG_THREAD);
        }
        let recording = std::mem::take(&mut *lock(&capture.recording));
        let began = recording.members.first().is_some_and(|m| Arc::ptr_eq(&m.stream, stream));
        let joined = recording.members.iter().skip(1).all(|member| member.added == member.joined);
        recording.members.iter().for_each(|member| member.stream.set_capture(None));
        lock(&device.captures).retain(|other| !Arc::ptr_eq(other, &capture));
        match (recording.invalid, began, joined) {
            (true, ..) => Err(STREAM_CAPTURE_INVALIDATED),
            (_, false, _) => Err(STREAM_CAPTURE_UNMATCHED),
            (.., false) => Err(STREAM_CAPTURE_UNJOINED),
            _ => Ok(Graph(recording.ops)),
        }
    }

    /// Ends it without a graph.
    pub(crate) fn leave(&self) {
        for member in lock(&self.recording).members.drain(..) {
            member.stream.set_capture(None);
        }
    }

    pub(crate) fn invalidate(&self) {
        lock(&self.recording).invalid = true;
    }

    pub(crate) fn is_invalid(&self) -> bool {
        lock(&self.recording).invalid
    }

    /// Adds work of a stream in the capture.
    pub(crate) fn add(&self, stream: &Arc<Stream>, op: Op) -> Answer {
        let mut recording = lock(&self.recording);
        if recording.invalid {
            return Err(STREAM_CAPTURE_INVALIDATED);
        }
        recording.ops.push(op);
        let mut members = recording.members.iter_mut();
        if let Some(member) = members.find(|member| Arc::ptr_eq(&member.stream, stream)) {
            member.added += 1;
        }
        Ok(())
    }

    /// The present end of a stream in the capture.
    pub(crate) fn mark(&self, stream: &Arc<Stream>) -> Answer<Mark> {
        let recording = lock(&self.recording);
        if recording.invalid {
            return Err(STREAM_CAPTURE_INVALIDATED);
        }
        let find = |member: &Member| Arc::ptr_eq(&member.stream, stream);
        let member = recording.members.iter().position(find).ok_or(STREAM_CAPTURE_UNMATCHED)?;
        Ok(Mark { member, added: recording.members[member].added })
    }

    /// Makes `stream` come after `mark`: the list keeps the order of the calls, which is one.
    pub(crate) fn join(self: &Arc<Self>, stream: &Arc<Stream>, mark: &Mark) -> Answer {
        match stream.capture() {
            Some(other) if !Arc::ptr_eq(&other, self) => {
                self.invalidate();
                other.invalidate();
                return Err(STREAM_CAPTURE_MERGE);
            }
            _ => {}
        }
        let mut recording = lock(&self.recording);
        if recording.invalid {
            return Err(STREAM_CAPTURE_INVALIDATED);
        }
        let known = recording.members.iter().any(|m| Arc::ptr_eq(&m.stream, stream));
        if !known {
            self.add_member(&mut recording, stream);
        }
        if let Some(member) = recording.members.get_mut(mark.member) {
            member.joined = member.joined.max(mark.added);
        }
        Ok(())
    }
}

/// What was captured.
#[derive(Clone, Debug)]
pub(crate) struct Graph(Vec<Op>);

impl Graph {
    /// Does it all, in the order of `stream`.
    pub(crate) fn launch(&self, device: &Device, stream: &Arc<Stream>) -> Answer {
        self.0.iter().try_for_each(|op| device.submit(stream, op.clone()))
    }
}
