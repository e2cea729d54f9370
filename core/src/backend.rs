//! The back end: where raw memory comes from. The only part that knows an operating system, a
//! driver or a piece of static memory.
//!
//! Addresses are an associated type, because the algorithms above never touch memory: a host
//! pointer keeps its provenance, a device address is a number.

use core::{fmt, num::NonZeroUsize, ops::Range, ptr::NonNull};

bitflags::bitflags! {
    /// What a backend can do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        /// The CPU can read and write committed memory.
        const HOST_ACCESSIBLE = 1 << 0;
        /// Reserving and committing are separate steps.
        const COMMIT = 1 << 1;
        /// A range can give its pages back and keep its addresses.
        const PURGE = 1 << 2;
        /// Freshly committed and purged memory reads as zero.
        const ZEROED = 1 << 3;
        /// Part of a region can be released.
        const PARTIAL_RELEASE = 1 << 4;
        /// Pages can move from one range to another without a copy.
        const REMAP = 1 << 5;
        /// Committed memory is page-locked.
        const PINNED = 1 << 6;
    }
}

/// An address that can be offset and compared, but not followed.
pub trait Address: Copy + Eq + fmt::Debug {
    /// `self + bytes`.
    ///
    /// # Safety
    /// - The result lies inside the region that `self` came from, or one past its end.
    unsafe fn byte_add(self, bytes: usize) -> Self;

    /// The address as a number, for ordering and arithmetic.
    fn addr(self) -> usize;
}

impl Address for NonNull<u8> {
    #[inline]
    unsafe fn byte_add(self, bytes: usize) -> Self {
        // SAFETY: forwarded to the caller.
        unsafe { self.add(bytes) }
    }

    #[inline]
    fn addr(self) -> usize {
        self.as_ptr().addr()
    }
}

/// An address in memory that the CPU cannot touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DevicePtr(pub u64);

impl Address for DevicePtr {
    #[inline]
    unsafe fn byte_add(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }

    #[inline]
    fn addr(self) -> usize {
        self.0 as usize
    }
}

/// One reservation: `bytes` bytes from `base`.
#[derive(Debug, PartialEq, Eq)]
pub struct Region<A> {
    base: A,
    bytes: NonZeroUsize,
}

impl<A: Address> Region<A> {
    /// The region of `bytes` bytes from `base`.
    ///
    /// # Safety
    /// - `base .. base + bytes` is reserved and belongs to the caller alone.
    pub const unsafe fn new(base: A, bytes: NonZeroUsize) -> Self {
        Self { base, bytes }
    }

    /// The first address.
    pub const fn base(&self) -> A {
        self.base
    }

    /// The length in bytes.
    pub const fn bytes(&self) -> NonZeroUsize {
        self.bytes
    }
}

/// What freshly committed memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// All zero.
    Zeroed,
    /// Anything.
    Unspecified,
}

/// Which request a backend refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendCall {
    /// Reserving addresses.
    Reserve,
    /// Making reserved addresses usable.
    Commit,
    /// Giving pages back.
    Purge,
    /// Giving addresses back.
    Release,
    /// Moving pages.
    Remap,
    /// Locking pages in memory.
    Lock,
}

/// A backend's refusal, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendError {
    /// What was asked.
    pub call: BackendCall,
    /// For how many bytes.
    pub bytes: usize,
    /// The system's error code, or zero where it has none.
    pub code: i32,
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.call {
            BackendCall::Reserve => "reserve",
            BackendCall::Commit => "commit",
            BackendCall::Purge => "purge",
            BackendCall::Release => "release",
            BackendCall::Remap => "remap",
            BackendCall::Lock => "lock",
        };
        write!(f, "cannot {verb} {} bytes (system error {})", self.bytes, self.code)
    }
}

impl core::error::Error for BackendError {}

/// A source of raw memory. Called on cold paths only, never under a lock, from any thread.
///
/// # Safety
/// - Regions do not overlap and stay valid until they are released.
/// - A committed range stays usable until its region is released, purged or not.
/// - With [`Capabilities::ZEROED`], what `commit` calls [`Contents::Zeroed`] and what `purge`
///   leaves reads as zero.
pub unsafe trait Backend: Sync {
    /// How memory is named here.
    type Address: Address;
    /// Why a call failed.
    type Error: fmt::Debug;
    /// What works here.
    const CAPABILITIES: Capabilities;

    /// The granularity of `commit` and `purge` in bytes, a power of two.
    fn page_bytes(&self) -> NonZeroUsize;

    /// Reserves `bytes` bytes of addresses at a multiple of `align`, a power of two.
    ///
    /// # Errors
    /// The addresses cannot be had; nothing has changed.
    fn reserve(
        &self,
        bytes: NonZeroUsize,
        align: NonZeroUsize,
    ) -> Result<Region<Self::Address>, Self::Error>;

    /// Makes `range`, in bytes from the region's base, usable.
    ///
    /// # Errors
    /// The memory cannot be had; the range stays uncommitted.
    ///
    /// # Safety
    /// - `region` came from `self`; `range` lies inside it and is page aligned.
    unsafe fn commit(
        &self,
        region: &Region<Self::Address>,
        range: Range<usize>,
    ) -> Result<Contents, Self::Error>;

    /// Hints that `range`, which is committed, will soon be used throughout, so that larger pages
    /// would serve it without costing memory; returns whether they may. Does nothing unless the backend
    /// knows better.
    ///
    /// # Safety
    /// - As for [`commit`](Self::commit).
    unsafe fn expect_dense(&self, _region: &Region<Self::Address>, _range: Range<usize>) -> bool {
        false
    }

    /// Takes such a hint back: parts of `range` were purged and should stay so, until they are
    /// touched themselves.
    ///
    /// # Safety
    /// - As for [`commit`](Self::commit).
    unsafe fn expect_sparse(&self, _region: &Region<Self::Address>, _range: Range<usize>) {}

    /// Gives the pages of `range` back; its addresses stay usable.
    ///
    /// # Errors
    /// The pages stay; nothing else has changed.
    ///
    /// # Safety
    /// - As for [`commit`](Self::commit), and nothing in `range` is live.
    unsafe fn purge(
        &self,
        region: &Region<Self::Address>,
        range: Range<usize>,
    ) -> Result<(), Self::Error>;

    /// Moves the contents of `from` to the range of the same length at `to`, leaving `from`
    /// usable and zero. Only with [`Capabilities::REMAP`].
    ///
    /// # Errors
    /// Nothing has moved; copy instead.
    ///
    /// # Safety
    /// - As for [`commit`](Self::commit), for both ranges, which do not overlap.
    /// - Nothing in the range at `to` is live.
    unsafe fn remap(
        &self,
        region: &Region<Self::Address>,
        from: Range<usize>,
        to: usize,
    ) -> Result<(), Self::Error>;

    /// Gives a region back.
    ///
    /// # Errors
    /// The region, which is still reserved, and the reason.
    ///
    /// # Safety
    /// - `region` came from `self`, and nothing in it is live.
    unsafe fn release(
        &self,
        region: Region<Self::Address>,
    ) -> Result<(), (Region<Self::Address>, Self::Error)>;
}

/// Marks a backend whose committed memory is ordinary Rust memory.
///
/// # Safety
/// - The CPU may read and write every committed range.
pub unsafe trait HostBackend: Backend<Address = NonNull<u8>, Error = BackendError> {}
