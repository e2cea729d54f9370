//! What can be wrong with a trace or its replay.
#![forbid(unsafe_code)]

use std::{fmt, io};

use crate::{AllocError, sim::Violation};

/// Why a trace cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    Io {
        /// The file.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// Something in it is wrong.
    Broken {
        /// The trace's file or name.
        name: String,
        /// Where.
        position: Position,
        /// What is wrong there.
        reason: String,
    },
}

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Position {
    /// A line of a text, from one.
    Line(usize),
    /// A byte of a pickle, from zero.
    Byte(u64),
    /// An event of a device in a memory snapshot; both from zero.
    Event {
        /// The device's number.
        device: usize,
        /// The event's index in the list of the device.
        event: usize,
    },
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Byte(byte) => write!(f, "byte {byte}"),
            Self::Event { device, event } => write!(f, "device {device}, event {event}"),
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read {path}: {source}"),
            Self::Broken { name, position, reason } => write!(f, "{name}, {position}: {reason}"),
        }
    }
}

impl std::error::Error for TraceError {}

/// Why a replay stopped without figures.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The allocator failed other than for lack of memory.
    Alloc(AllocError),
    /// The allocator did what a device does not forgive. A bug of this crate: please report it.
    Violations(Vec<Violation>),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alloc(error) => error.fmt(f),
            Self::Violations(list) => {
                write!(f, "{} violations, the first one: {}", list.len(), list[0])
            }
        }
    }
}

impl std::error::Error for ReplayError {}
