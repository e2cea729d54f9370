//! Points in an asynchronous timeline after which memory may be reused.
#![forbid(unsafe_code)]

/// A point in a stream's timeline.
pub trait Fence {
    /// Whether everything before the point has happened. Never blocks.
    fn is_complete(&self) -> bool;
}

/// The fence of synchronous memory: always complete.
impl Fence for () {
    fn is_complete(&self) -> bool {
        true
    }
}
