//! Page-locked collections beside ordinary ones.

use allocator_api2::vec::Vec as VecIn;
use genesis_mem_host::{AtLimit, Genesis, Pinned};

#[path = "common/alone.rs"]
mod alone;
#[path = "common/status.rs"]
mod status;
#[path = "common/success.rs"]
mod success;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

const MIB: usize = 1 << 20;

/// Runs `work` in a process of its own, since what it looks at is the process's.
fn alone(test: &str, work: impl FnOnce()) {
    if let Some(output) = alone::output(test, &[], work) {
        success::said(&output);
    }
}

/// A page-locked vector of `values`.
fn filled<T>(values: impl Iterator<Item = T>, pinned: &Pinned) -> VecIn<T, &Pinned> {
    let mut filled = VecIn::new_in(pinned);
    filled.extend(values);
    filled
}

/// Lets this process lock `bytes` bytes, and gives up the right to lock more.
fn allow_locking(bytes: usize) {
    let limit = libc::rlimit { rlim_cur: bytes as u64, rlim_max: bytes as u64 };
    // SAFETY: the structure is readable.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        // SAFETY: no preconditions.
        assert_eq!(unsafe { libc::setuid(65534) }, 0);
    }
}

#[test]
fn a_staging_buffer_is_locked_and_grows() {
    alone("a_staging_buffer_is_locked_and_grows", || {
        let before = status::bytes("VmLck");
        let pinned = Pinned::new();
        let mut staging: VecIn<f32, &Pinned> = VecIn::with_capacity_in(10, &pinned);
        for n in 0..500_000 {
            staging.push(n as f32);
        }
        assert!(staging.iter().zip(0..).all(|(&value, n)| value == n as f32));
        let last = &raw const staging[499_999];
        assert!(pinned.is_pinned(staging.as_ptr().cast()) && pinned.is_pinned(last.cast()));
        let (ordinary, local) = (vec![0u8; 5000], 0u8);
        assert!(!pinned.is_pinned(ordinary.as_ptr()) && !pinned.is_pinned(&raw const local));
        assert!(status::bytes("VmLck") >= before + 2 * MIB - 64 * 1024);
        pinned.stats().check().expect("the sums hold");
        drop(staging);
        drop(pinned);
        assert_eq!(status::bytes("VmLck"), before, "dropping the allocator unlocks");
    });
}

#[test]
fn two_are_apart() {
    let (one, other) = (Pinned::new(), Pinned::new());
    let first = filled(0..1000u64, &one);
    let second = filled(1000..2000u64, &other);
    let (a, b) = (first.as_ptr().cast(), second.as_ptr().cast());
    assert!(one.is_pinned(a) && !one.is_pinned(b));
    assert!(other.is_pinned(b) && !other.is_pinned(a));
    drop(second);
    drop(other);
    assert!(first.iter().copied().eq(0..1000));
}

#[test]
fn the_limit_is_an_error_with_numbers() {
    alone("the_limit_is_an_error_with_numbers", || {
        allow_locking(MIB);
        let pinned = Pinned::new();
        let small = filled(0..1000u32, &pinned);
        let mut big: VecIn<u8, &Pinned> = VecIn::new_in(&pinned);
        assert!(big.try_reserve_exact(4 * MIB).is_err());
        let error = pinned.last_error().expect("it was refused");
        assert_eq!(error.limit_bytes, MIB);
        assert!(error.requested_bytes >= 4 * MIB - 256 * 1024, "{error}");
        assert!(error.locked_bytes >= 4000 && error.locked_bytes <= MIB, "{error}");
        assert_eq!(error.code, libc::ENOMEM);
        assert!(error.to_string().contains("ulimit -l"), "{error}");
        assert_eq!(pinned.fallbacks(), 0);
        // A sixteenth: a block of this size comes from a slab for eight of them.
        big.try_reserve_exact(MIB / 16).expect("there is room for less");
        assert!(small.iter().copied().eq(0..1000));
    });
}

#[test]
fn ordinary_memory_serves_where_chosen_and_is_counted() {
    alone("ordinary_memory_serves_where_chosen_and_is_counted", || {
        allow_locking(MIB);
        let pinned = Pinned::new().at_limit(AtLimit::FallBack);
        let mut grown = filled(0..1000u32, &pinned);
        assert!(pinned.is_pinned(grown.as_ptr().cast()) && pinned.fallbacks() == 0);
        grown.reserve(MIB);
        assert!(!pinned.is_pinned(grown.as_ptr().cast()));
        assert!(pinned.fallbacks() > 0 && pinned.last_error().is_some());
        assert!(grown.iter().copied().eq(0..1000));
        grown.shrink_to_fit();
        assert!(grown.iter().copied().eq(0..1000));
    });
}
