//! Copies between buffers and host memory: straight, or through page-locked memory in pieces,
//! one being filled while the other is on its way.

use std::fmt;

use bytemuck::Pod;

use crate::{
    AllocError, DeviceAllocator, DeviceBuffer, PinnedBuffer,
    driver::{DevicePtr, DriverError, DriverResult, StreamId, Transfer},
};

/// Bytes of a piece on its way.
const PIECE_BYTES: usize = 4 << 20;
/// Copies to the host of at most this many bytes go straight: the driver stages them itself.
const STRAIGHT_BYTES: usize = 64 << 10;

/// A copy that did not take place, or not as a whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CopyError {
    /// More values than the buffer holds; nothing was copied.
    TooLong {
        /// Values to copy.
        len: usize,
        /// Values that the buffer holds.
        room: usize,
    },
    /// There are too many streams to tell apart.
    Alloc(AllocError),
    /// The driver refuses.
    Driver(DriverError),
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, room } => {
                write!(f, "cannot copy {len} values: the buffer holds {room}")
            }
            Self::Alloc(error) => error.fmt(f),
            Self::Driver(error) => error.fmt(f),
        }
    }
}

/// Without a source, as for [`AllocError`].
impl std::error::Error for CopyError {}

impl From<AllocError> for CopyError {
    fn from(error: AllocError) -> Self {
        match error {
            AllocError::Driver(error) => Self::Driver(error),
            error => Self::Alloc(error),
        }
    }
}

impl From<DriverError> for CopyError {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl<T: Pod, D: Transfer> DeviceBuffer<T, D> {
    /// Copies `source` to the first values of the buffer, in the order of its stream. Returns
    /// when `source` may be used again.
    ///
    /// With [`enable_pinned_memory`](DeviceAllocator::enable_pinned_memory) the last pieces may
    /// still be on their way then; without it the copy is over, and so is all work before it.
    ///
    /// # Errors
    /// `source` is longer than the buffer, or the driver refuses; the buffer may be written in
    /// part then.
    #[track_caller]
    pub fn copy_from_host(&mut self, source: &[T]) -> Result<(), CopyError> {
        if source.len() > self.len {
            return Err(CopyError::TooLong { len: source.len(), room: self.len });
        }
        self.write(0, source)
    }

    /// Copies `source` to the values from `first` on, within the room that there is.
    #[track_caller]
    pub(crate) fn write(&mut self, first: usize, source: &[T]) -> Result<(), CopyError> {
        let room = self.room().saturating_sub(first);
        let stream = self.begin(source.len(), room)?;
        let to = DevicePtr(self.ptr().0 + (first * size_of::<T>()) as u64);
        let bytes = bytemuck::cast_slice(source);
        match self.allocator.staging_buffers(bytes.len(), stream)? {
            Some(pieces) => Ok(send(&self.allocator, stream, to, bytes, pieces)?),
            None => Ok(send_straight(&self.allocator, stream, to, bytes)?),
        }
    }

    /// Copies the first values of the buffer to `target`, in the order of its stream. Returns
    /// when they are there.
    ///
    /// # Errors
    /// `target` is longer than the buffer, or the driver refuses; it may be written in part then.
    #[track_caller]
    pub fn copy_to_host(&self, target: &mut [T]) -> Result<(), CopyError> {
        let stream = self.begin(target.len(), self.len)?;
        let (from, bytes) = (self.ptr(), bytemuck::cast_slice_mut(target));
        let pieces = match bytes.len() {
            0..=STRAIGHT_BYTES => None,
            len => self.allocator.staging_buffers(len, stream)?,
        };
        match pieces {
            Some(pieces) => Ok(fetch(&self.allocator, stream, from, bytes, pieces)?),
            None => Ok(fetch_straight(&self.allocator, stream, from, bytes)?),
        }
    }

    /// Enqueues a copy of `source` to the first values of the buffer, and returns at once.
    ///
    /// # Errors
    /// `source` is longer than the buffer, there are too many streams to tell apart, or the
    /// driver refuses.
    pub fn copy_from_pinned(&mut self, source: &mut PinnedBuffer<T, D>) -> Result<(), CopyError> {
        let stream = self.begin(source.len(), self.len)?;
        let (to, from) = (self.ptr(), source.as_ptr().cast());
        source.mark(stream)?;
        // SAFETY: both hold as many bytes. The device's are this buffer's in the order of its
        // stream; the host's stay unchanged, since the source is marked and its slices wait.
        unsafe { self.driver().copy_to_device(stream, to, from, source.bytes()) }?;
        Ok(end_of_copy(&self.allocator, source, stream)?)
    }

    /// Enqueues a copy of the first values of the buffer to the whole of `target`, and returns at
    /// once; the slices of `target` wait for it.
    ///
    /// # Errors
    /// `target` is longer than the buffer, there are too many streams to tell apart, or the
    /// driver refuses.
    pub fn copy_to_pinned(&self, target: &mut PinnedBuffer<T, D>) -> Result<(), CopyError> {
        let stream = self.begin(target.len(), self.len)?;
        target.mark(stream)?;
        let (to, bytes) = (target.as_mut_ptr().cast(), target.bytes());
        // SAFETY: both hold as many bytes. The device's are this buffer's in the order of its
        // stream; nobody looks at the host's before, since the slices of the target wait.
        unsafe { self.driver().copy_to_host(stream, to, self.ptr(), bytes) }?;
        Ok(end_of_copy(&self.allocator, target, stream)?)
    }

    /// A buffer that holds `values`.
    ///
    /// # Errors
    /// As for [`DeviceBuffer::new`], or the driver refuses the copy.
    #[track_caller]
    pub fn from_slice(
        allocator: &DeviceAllocator<D>,
        values: &[T],
        stream: &D::Stream,
    ) -> Result<Self, AllocError> {
        let mut buffer = Self::new(allocator, values.len(), stream)?;
        match buffer.copy_from_host(values) {
            Ok(()) => Ok(buffer),
            Err(CopyError::Driver(error)) => Err(error.into()),
            Err(CopyError::Alloc(error)) => Err(error),
            Err(CopyError::TooLong { .. }) => unreachable!("the buffer is as long as the values"),
        }
    }

    /// All values, on the host.
    ///
    /// # Errors
    /// The driver refuses.
    #[track_caller]
    pub fn to_vec(&self) -> Result<Vec<T>, CopyError> {
        let mut values = vec![T::zeroed(); self.len];
        self.copy_to_host(&mut values)?;
        Ok(values)
    }

    /// Checks the length, and sees to it that the stream comes after uses on others.
    fn begin(&self, len: usize, room: usize) -> Result<StreamId, CopyError> {
        if len > room {
            return Err(CopyError::TooLong { len, room });
        }
        let stream = self.stream_id();
        self.driver().end_of_use(stream, &self.uses);
        Ok(stream)
    }

    fn driver(&self) -> &D {
        self.allocator.driver()
    }
}

/// Has the slices of `buffer` wait for the copy. Where that cannot be recorded the copy is waited
/// for here.
fn end_of_copy<T: Pod, D: Transfer>(
    allocator: &DeviceAllocator<D>,
    buffer: &mut PinnedBuffer<T, D>,
    stream: StreamId,
) -> DriverResult<()> {
    buffer.record(stream).or_else(|_| allocator.driver().synchronize(stream))
}

type Piece<D> = PinnedBuffer<u8, D>;

/// Copies without staging, and waits: the host's memory may be page-locked without our knowing,
/// and the copy be under way when the driver returns.
fn send_straight<D: Transfer>(
    allocator: &DeviceAllocator<D>,
    stream: StreamId,
    to: DevicePtr,
    bytes: &[u8],
) -> DriverResult<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's buffer holds as many bytes from `to` on; the host's stay borrowed
    // until the stream is through.
    unsafe { allocator.driver().copy_to_device(stream, to, bytes.as_ptr(), bytes.len() as u64) }?;
    allocator.driver().synchronize(stream)
}

/// The other way round.
fn fetch_straight<D: Transfer>(
    allocator: &DeviceAllocator<D>,
    stream: StreamId,
    from: DevicePtr,
    bytes: &mut [u8],
) -> DriverResult<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's buffer holds as many bytes from `from` on; the host's stay borrowed
    // until the stream is through.
    unsafe {
        allocator.driver().copy_to_host(stream, bytes.as_mut_ptr(), from, bytes.len() as u64)
    }?;
    allocator.driver().synchronize(stream)
}

/// Fills each piece as soon as its last copy is through, and sends it on its way.
fn send<D: Transfer>(
    allocator: &DeviceAllocator<D>,
    stream: StreamId,
    mut to: DevicePtr,
    bytes: &[u8],
    mut pieces: Vec<Piece<D>>,
) -> DriverResult<()> {
    let turns = bytes.len().div_ceil(PIECE_BYTES);
    for (turn, part) in bytes.chunks(PIECE_BYTES).enumerate() {
        let count = pieces.len();
        let piece = &mut pieces[turn % count];
        piece.as_mut_slice()[..part.len()].copy_from_slice(part);
        let (from, len) = (piece.as_ptr(), part.len() as u64);
        // SAFETY: the caller's buffer has room for what is left of `bytes` from `to` on; the piece
        // stays unchanged, since it is marked and its slices wait.
        unsafe { allocator.driver().copy_to_device(stream, to, from, len) }?;
        // Nobody fills the last ones again; the pool waits for them by the mark.
        if turn + count < turns {
            end_of_copy(allocator, piece, stream)?;
        }
        to = DevicePtr(to.0 + len);
    }
    Ok(())
}

/// Fetches each piece while the one before is emptied.
fn fetch<D: Transfer>(
    allocator: &DeviceAllocator<D>,
    stream: StreamId,
    mut from: DevicePtr,
    bytes: &mut [u8],
    mut pieces: Vec<Piece<D>>,
) -> DriverResult<()> {
    let count = pieces.len();
    let mut fetch = |piece: &mut Piece<D>, len: usize| -> DriverResult<()> {
        let to = piece.as_mut_ptr();
        // SAFETY: the caller's buffer holds what is left to fetch from `from` on; nobody looks at
        // the piece before, since its slices wait.
        unsafe { allocator.driver().copy_to_host(stream, to, from, len as u64) }?;
        from = DevicePtr(from.0 + len as u64);
        end_of_copy(allocator, piece, stream)
    };
    let lens: Vec<usize> = bytes.chunks(PIECE_BYTES).map(<[u8]>::len).collect();
    for (piece, &len) in pieces.iter_mut().zip(&lens) {
        fetch(piece, len)?;
    }
    for (turn, part) in bytes.chunks_mut(PIECE_BYTES).enumerate() {
        let piece = &mut pieces[turn % count];
        piece.wait()?;
        part.copy_from_slice(&piece.as_slice()[..part.len()]);
        if let Some(&len) = lens.get(turn + count) {
            fetch(piece, len)?;
        }
    }
    Ok(())
}

impl<D: Transfer> DeviceAllocator<D> {
    /// Page-locked pieces for a copy of `bytes` on `stream`: one, or two to take turns. None where
    /// they are not wanted or not to be had: the copy goes straight then.
    fn staging_buffers(
        &self,
        bytes: usize,
        stream: StreamId,
    ) -> DriverResult<Option<Vec<Piece<D>>>> {
        if bytes == 0 || !self.stages() {
            return Ok(None);
        }
        let pool = self.pinned_pool()?;
        let count = bytes.div_ceil(PIECE_BYTES).min(2);
        let piece = |_| {
            let mut piece = Piece::new(pool, bytes.min(PIECE_BYTES))?;
            piece.mark(stream)?;
            Ok(piece)
        };
        match (0..count).map(piece).collect() {
            Ok(pieces) => Ok(Some(pieces)),
            Err(AllocError::Driver(error)) if error.is_fatal() => Err(error),
            Err(_) => Ok(None),
        }
    }
}
