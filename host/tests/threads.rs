//! Threads that come and go, fork, and signals.

use std::{
    cell::RefCell,
    env, hint, ptr,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use genesis_mem_host::Genesis;

#[path = "common/alone.rs"]
mod alone;
#[path = "common/success.rs"]
mod success;

#[global_allocator]
static ALLOC: Genesis = Genesis::new();

/// Runs `work` in a process of its own, where nothing else allocates.
fn alone(test: &str, work: impl FnOnce()) {
    if let Some(output) = alone::output(test, &[], work) {
        success::said(&output);
    }
}

/// How many short threads to run; `GENESIS_TEST_THREADS` asks for more.
fn thread_count() -> usize {
    env::var("GENESIS_TEST_THREADS").map_or(2000, |count| count.parse().expect("a number"))
}

#[test]
fn short_threads_leave_blocks_to_others() {
    alone("short_threads_leave_blocks_to_others", || {
        let count = thread_count();
        let before = genesis_mem_host::stats();
        let mut kept = std::collections::VecDeque::new();
        for n in 0..count {
            let older: Option<Vec<Vec<u8>>> =
                (kept.len() >= 20).then(|| kept.pop_front()).flatten();
            let make = move || {
                drop(older);
                (0..20).map(|i| vec![n as u8; 10 + i * i * 20]).collect::<Vec<_>>()
            };
            let made = thread::spawn(make).join().expect("no panic");
            kept.push_back(made);
        }
        for (blocks, n) in kept.iter().zip(count.saturating_sub(20)..) {
            assert!(blocks.iter().flatten().all(|&byte| byte == n as u8), "thread {n}");
        }
        drop(kept);
        let stats = genesis_mem_host::stats();
        stats.check().expect("the sums hold");
        // Most threads take over the heap of the one before, and free its blocks as their own.
        assert!(stats.remote_frees > before.remote_frees);
        assert!(stats.heaps < 20, "{} heaps for one thread at a time", stats.heaps);
        let left = stats.allocated_bytes.current.saturating_sub(before.allocated_bytes.current);
        assert!(left < 256 * 1024, "{left} bytes are left");
    });
}

/// Allocates and frees when its thread ends.
struct Last(Vec<Vec<u8>>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.extend((0..50).map(|n| vec![n as u8; n * 40]));
        self.0.retain(|block| block.len() % 80 == 0);
        ROUNDS.fetch_add(1, Relaxed);
    }
}

static ROUNDS: AtomicUsize = AtomicUsize::new(0);

/// Runs up to four times for a thread, among them after the allocator's own destructor.
extern "C" fn once_more(rounds: *mut libc::c_void) {
    // SAFETY: the value is a box of this type, given up to the destructor.
    let mut blocks = unsafe { Box::from_raw(rounds.cast::<Vec<Vec<u8>>>()) };
    blocks.push(vec![1; 3000]);
    blocks.push(vec![2; 40_000]);
    ROUNDS.fetch_add(1, Relaxed);
    if blocks.len() < 8 {
        set_last_words(blocks);
    }
}

static KEY: AtomicUsize = AtomicUsize::new(usize::MAX);

#[expect(clippy::box_collection, reason = "a box is what fits a thread's slot")]
fn set_last_words(blocks: Box<Vec<Vec<u8>>>) {
    let key = KEY.load(Relaxed) as libc::pthread_key_t;
    // SAFETY: the key exists; the destructor takes the box.
    unsafe { libc::pthread_setspecific(key, Box::into_raw(blocks).cast()) };
}

#[test]
fn destructors_allocate_after_the_heap_is_gone() {
    thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });
    alone("destructors_allocate_after_the_heap_is_gone", || {
        let mut key = 0;
        // SAFETY: the destructor fits the signature.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(once_more)) }, 0);
        KEY.store(key as usize, Relaxed);
        for _ in 0..50 {
            let work = || {
                LAST.set(Some(Last(vec![vec![3; 100]])));
                set_last_words(Box::default());
            };
            thread::spawn(work).join().expect("no panic");
        }
        assert_eq!(ROUNDS.load(Relaxed), 50 * 5);
        genesis_mem_host::stats().check().expect("the sums hold");
    });
}

#[test]
fn a_forked_child_goes_on_allocating() {
    alone("a_forked_child_goes_on_allocating", || {
        let stop = AtomicBool::new(false);
        let (send, receive) = mpsc::sync_channel(1000);
        thread::scope(|scope| {
            for n in 0..3u8 {
                let (send, stop) = (send.clone(), &stop);
                scope.spawn(move || {
                    let mut size = 1usize;
                    while !stop.load(Relaxed) {
                        size = size * 31 % 70_001;
                        let block = vec![n; size];
                        drop(vec![n; size / 2]);
                        let _ = send.try_send(block);
                    }
                });
            }
            for round in 0..50 {
                let theirs: Vec<_> = (0..20).map(|_| receive.recv().expect("they live")).collect();
                assert_eq!(fork_and_free(&theirs), 0, "round {round}");
                drop(theirs);
                (0..100).for_each(|n| drop(hint::black_box(vec![1u8; n * 300])));
            }
            stop.store(true, Relaxed);
        });
        drop(receive);
        genesis_mem_host::stats().check().expect("the sums hold");
    });
}

/// Forks a child that allocates, and frees its copies of `theirs`; returns how it ended.
fn fork_and_free(theirs: &[Vec<u8>]) -> i32 {
    // SAFETY: the child only allocates and frees, which is what is tested, and ends at once.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::alarm(20);
            let made: Vec<_> = (0..300usize).map(|n| vec![n as u8; n * 97]).collect();
            theirs.iter().for_each(|block| drop(ptr::from_ref(block).read()));
            let more: Vec<_> = (0..300usize).map(|n| vec![1u8; n * 61]).collect();
            let whole = made.iter().zip(0..).all(|(block, n)| block.iter().all(|&b| b == n as u8));
            drop((made, more));
            libc::_exit(i32::from(!whole));
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status
    }
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn handle(_: libc::c_int) {
    let n = HANDLED.load(Relaxed);
    drop(hint::black_box(vec![1u8; n * 37 % 100_000 + 1]));
    drop(hint::black_box(vec![1u8; 48]));
    HANDLED.store(n + 1, Relaxed);
}

#[test]
fn a_signal_handler_allocates() {
    alone("a_signal_handler_allocates", || {
        let handler = handle as extern "C" fn(libc::c_int);
        // SAFETY: the handler fits the signature. The thread that it interrupts is not allocating.
        let target = unsafe {
            libc::signal(libc::SIGUSR1, handler as libc::sighandler_t);
            libc::pthread_self()
        };
        thread::scope(|scope| {
            let sender = scope.spawn(move || {
                for n in 0..2000 {
                    // SAFETY: the thread waits below until all signals have come.
                    unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
                    while HANDLED.load(Relaxed) <= n {
                        thread::yield_now();
                    }
                }
            });
            while HANDLED.load(Relaxed) < 2000 {
                hint::spin_loop();
            }
            sender.join().expect("no panic");
        });
        genesis_mem_host::stats().check().expect("the sums hold");
    });
}

#[test]
fn what_one_thread_makes_another_frees() {
    alone("what_one_thread_makes_another_frees", || {
        let before = genesis_mem_host::stats();
        let (send, receive) = mpsc::sync_channel::<Vec<u32>>(64);
        let consumer = thread::spawn(move || {
            receive.iter().map(|block| block.iter().map(|&n| u64::from(n)).sum::<u64>()).sum()
        });
        let makers: Vec<_> = (0..3u32)
            .map(|maker| {
                let send = send.clone();
                thread::spawn(move || {
                    (0..10_000u32)
                        .for_each(|n| send.send(vec![maker; n as usize % 500 + 1]).unwrap());
                })
            })
            .collect();
        drop(send);
        makers.into_iter().for_each(|maker| maker.join().expect("no panic"));
        let sum: u64 = consumer.join().expect("no panic");
        assert_eq!(sum, (1 + 2) * (0..10_000u64).map(|n| n % 500 + 1).sum::<u64>());
        let stats = genesis_mem_host::stats();
        stats.check().expect("the sums hold");
        assert!(stats.remote_frees - before.remote_frees >= 30_000);
    });
}
