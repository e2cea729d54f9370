//! Why a span was not freed or shrunk.
#![forbid(unsafe_code)]

use core::fmt;

use super::Span;

/// Why a granule was refused: it is not the head of a live span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// It lies outside the buddy.
    BeyondCapacity {
        /// What was given.
        granule: u32,
        /// How many granules there can be.
        capacity_granules: u32,
    },
    /// It was never opened.
    NotOpen {
        /// What was given.
        granule: u32,
    },
    /// It is free.
    Free {
        /// What was given.
        granule: u32,
        /// The free block that it lies in.
        block: Span,
    },
    /// It lies inside a live span.
    Interior {
        /// What was given.
        granule: u32,
        /// The span, whose head would be right.
        span: Span,
    },
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeyondCapacity { granule, capacity_granules } => write!(
                f,
                "granule {granule} lies beyond the {capacity_granules} of this buddy: free it \
                 where it was allocated"
            ),
            Self::NotOpen { granule } => {
                write!(f, "granule {granule} was never open here: free it where it was allocated")
            }
            Self::Free { granule, block } => write!(
                f,
                "granule {granule} is free, in block {:?}: look for a second free of it",
                block.range()
            ),
            Self::Interior { granule, span } => write!(
                f,
                "granule {granule} lies inside the live span {:?}: free its first granule instead",
                span.range()
            ),
        }
    }
}

impl core::error::Error for FreeError {}

/// Why a span was not shrunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShrinkError {
    /// There is no such span.
    NotLive(FreeError),
    /// The length asked for is zero or above that of the span.
    Length {
        /// The span.
        span: Span,
        /// What was asked for, granules.
        granules: u32,
    },
}

impl From<FreeError> for ShrinkError {
    fn from(error: FreeError) -> Self {
        Self::NotLive(error)
    }
}

impl fmt::Display for ShrinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLive(error) => error.fmt(f),
            Self::Length { span, granules } => write!(
                f,
                "the live span {:?} cannot shrink to {granules} granules: ask for 1 to {}",
                span.range(),
                span.granules
            ),
        }
    }
}

impl core::error::Error for ShrinkError {}
