//! Captures in signal handlers, on the thread's stack and on another one.

use std::{
    ffi::{c_int, c_void},
    hint::black_box,
    ptr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{compiled::Library, reference::compare};

static SAME: AtomicUsize = AtomicUsize::new(0);
static SHORT: AtomicUsize = AtomicUsize::new(0);
static OTHER: AtomicUsize = AtomicUsize::new(0);
static FRAMES: AtomicUsize = AtomicUsize::new(0);
/// The counts above are of one test at a time.
static TURN: Mutex<()> = Mutex::new(());

extern "C" fn handler(_: c_int) {
    match compare(256) {
        Ok(count) => {
            FRAMES.fetch_max(count, Relaxed);
            SAME.fetch_add(1, Relaxed)
        }
        // The caller cannot be told where a function is about to align its stack, or just has.
        Err((ours, system)) if ours.starts(&system) => SHORT.fetch_add(1, Relaxed),
        Err((ours, system)) => {
            if OTHER.load(Relaxed) == 0 {
                eprintln!("ours {:#x?}\nsystem {:#x?}", ours.get(), system.get());
            }
            OTHER.fetch_add(1, Relaxed)
        }
    };
}

fn set_handler(signal: c_int, flags: c_int) {
    // SAFETY: the handler allocates nothing, as long as all is well.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags | libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
    }
    for count in [&SAME, &SHORT, &OTHER, &FRAMES] {
        count.store(0, Relaxed);
    }
}

#[inline(never)]
fn raise(depth: usize) {
    if depth > 0 {
        raise(black_box(depth - 1));
    } else {
        // SAFETY: its handler is set.
        unsafe { libc::raise(libc::SIGUSR1) };
    }
    black_box(depth);
}

#[test]
fn on_the_threads_stack() {
    let _turn = TURN.lock();
    set_handler(libc::SIGUSR1, 0);
    raise(5);
    assert_eq!((SAME.load(Relaxed), OTHER.load(Relaxed)), (1, 0));
    assert!(FRAMES.load(Relaxed) > 15);
}

#[test]
fn on_a_stack_of_its_own() {
    let _turn = TURN.lock();
    const BYTES: usize = 1 << 16;
    set_handler(libc::SIGUSR1, libc::SA_ONSTACK);
    for _ in 0..3 {
        // That of the standard library is small. This one is on the heap.
        let mut memory = vec![0_u8; BYTES];
        let stack = libc::stack_t {
            ss_sp: memory.as_mut_ptr().cast::<c_void>(),
            ss_flags: 0,
            ss_size: BYTES,
        };
        let mut before = stack;
        // SAFETY: the memory lives until the stack of before is back.
        unsafe {
            assert_eq!(libc::sigaltstack(&stack, &mut before), 0);
            raise(5);
            assert_eq!(libc::sigaltstack(&before, ptr::null_mut()), 0);
        }
    }
    assert_eq!((SAME.load(Relaxed), OTHER.load(Relaxed)), (3, 0));
    assert!(FRAMES.load(Relaxed) > 15);
}

extern "C" fn nothing(_: *mut c_void) {}

/// At any instruction: of prologues, of the procedure linkage table, of the C library.
#[test]
fn at_any_instruction() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let library = Library::compile(folder.path(), &["-O2", "-Wl,-z,lazy"]);
    set_handler(libc::SIGUSR2, 0);
    // SAFETY: no preconditions.
    let worker = unsafe { libc::pthread_self() };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                // SAFETY: the worker waits for this thread.
                unsafe { libc::pthread_kill(worker, libc::SIGUSR2) };
                thread::sleep(Duration::from_micros(20));
            }
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            library.every_kind()(nothing, ptr::null_mut());
            black_box(format!("{:?}", black_box([1.5, 2.5])));
        }
        is_over.store(true, Relaxed);
    });
    let [same, short, other] = [&SAME, &SHORT, &OTHER].map(|count| count.load(Relaxed));
    println!("{same} times the same, {short} times cut short, {other} times not");
    assert!(same > 1000 && short < same / 10);
    assert_eq!(other, 0);
}
