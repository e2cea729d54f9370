//! Memory that no allocator under test has handed out.

use std::cell::UnsafeCell;
use std::ptr;

use super::list::Place;
use super::probe::Live;

const WORDS: usize = 512;
/// The pointer leads here, so that a header before it would be found in the same memory.
const INTO: usize = 1024;

/// Memory of a page's size.
#[repr(align(64))]
pub(super) struct Page(UnsafeCell<[u64; WORDS]>);

// SAFETY: the one thread that commits an act is the only one to touch it.
unsafe impl Sync for Page {}

impl Page {
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new([0; WORDS]))
    }

    fn region(&self) -> (*mut u8, usize) {
        (self.0.get().cast(), WORDS * size_of::<u64>())
    }
}

static STATIC: Page = Page::new();

thread_local! {
    static LOCAL: Page = const { Page::new() };
}

unsafe extern "C" {
    static environ: *const *mut u8;
}

/// A wrong pointer, and the memory around it that must stay as it is, if the program may write there.
pub(super) fn pointer(place: Place, stack: &Page, victim: *mut u8) -> (*mut u8, Option<Live>) {
    let inside = |(start, bytes): (*mut u8, usize)| {
        (start.wrapping_add(INTO), Some(Live::foreign(start, bytes)))
    };
    match place {
        Place::Stack => inside(stack.region()),
        Place::Static => inside(STATIC.region()),
        Place::ThreadLocal => inside(LOCAL.with(Page::region)),
        Place::MappedPage => {
            let (start, bytes) = mapped(4096);
            (start, Some(Live::foreign(start, bytes)))
        }
        Place::Mapped => {
            let (start, bytes) = mapped(2 << 20);
            (start.wrapping_add(bytes / 2), Some(Live::foreign(start, bytes)))
        }
        Place::CLibrary => {
            const BYTES: usize = 64;
            // SAFETY: no preconditions.
            let start = unsafe { libc::malloc(BYTES) }.cast();
            (start, Some(Live::foreign(start, BYTES)))
        }
        Place::Code => {
            let code = pointer as *const () as *mut u8;
            (code.wrapping_sub(code.addr() % 16), None)
        }
        // SAFETY: a process that was started has an environment that ends in null.
        Place::Environment => (unsafe { *environ }, None),
        Place::NullPage => (ptr::without_provenance_mut(16), None),
        Place::NonCanonical => (ptr::without_provenance_mut(0x1234_5678_9abc_def0), None),
        Place::Kernel => (ptr::without_provenance_mut(0xffff_8000_0000_1000), None),
        Place::Beyond => (victim.wrapping_add(1 << 30), None),
    }
}

fn mapped(bytes: usize) -> (*mut u8, usize) {
    let (access, how) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping harms nobody.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, how, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED, "the system has no page to give");
    (start.cast(), bytes)
}
