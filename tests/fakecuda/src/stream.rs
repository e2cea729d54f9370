//! Streams: a queue and a thread each, so that work of different streams runs in any order.
#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::{call::lock, capture::Capture, device::device, op::Op, settings::Setting};

#[derive(Debug, Default)]
struct Queue {
    ops: VecDeque<Op>,
    enqueued: u64,
    done: u64,
    closed: bool,
    capture: Option<Arc<Capture>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Stream {
    blocking: bool,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// A point in a stream's timeline.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    stream: Arc<Stream>,
    position: u64,
}

impl Point {
    pub(crate) fn is_passed(&self) -> bool {
        lock(&self.stream.queue).done >= self.position
    }

    /// Waits for it on this thread.
    pub(crate) fn wait(&self) {
        let queue = lock(&self.stream.queue);
        let behind = |queue: &mut Queue| queue.done < self.position;
        let waited = self.stream.changed.wait_while(queue, behind);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Stream {
    /// A stream, and the thread that works for it until it is closed. A blocking one is in order
    /// with the default stream.
    pub(crate) fn start(seed: u64, blocking: bool) -> Arc<Self> {
        let queue = Mutex::default();
        let stream = Arc::new(Self { blocking, queue, changed: Condvar::new() });
        let work = Arc::clone(&stream);
        thread::Builder::new()
            .name("fakecuda stream".to_owned())
            .spawn(move || work.run(seed))
            .expect("the system has another thread");
        stream
    }

    pub(crate) fn is_blocking(&self) -> bool {
        self.blocking
    }

    /// Adds work to the queue.
    pub(crate) fn push(self: &Arc<Self>, op: Op) -> Point {
        let mut queue = lock(&self.queue);
        queue.ops.push_back(op);
        queue.enqueued += 1;
        self.changed.notify_all();
        Point { stream: Arc::clone(self), position: queue.enqueued }
    }

    /// The present end of the queue.
    pub(crate) fn end(self: &Arc<Self>) -> Point {
        Point { stream: Arc::clone(self), position: lock(&self.queue).enqueued }
    }

    /// Lets the thread end once the queue is empty.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.changed.notify_all();
    }

    /// The capture that work goes to instead of the queue.
    pub(crate) fn capture(&self) -> Option<Arc<Capture>> {
        lock(&self.queue).capture.clone()
    }

    pub(crate) fn set_capture(&self, capture: Option<Arc<Capture>>) {
        lock(&self.queue).capture = capture;
    }

    /// The next operation, or `None` at the end of the stream's life.
    fn next(&self) -> Option<Op> {
        let idle = |queue: &mut Queue| queue.ops.is_empty() && !queue.closed;
        let waited = self.changed.wait_while(lock(&self.queue), idle);
        waited.unwrap_or_else(PoisonError::into_inner).ops.pop_front()
    }

    fn run(&self, seed: u64) {
        let device = device();
        let mut random = seed | 1;
        while let Some(op) = self.next() {
            let delay_us = device.settings.get(Setting::DelayUs);
            if delay_us > 0 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                thread::sleep(Duration::from_micros((random >> 33) % (delay_us + 1)));
            }
            // A broken context completes everything and does nothing.
            let broken = lock(&device.calls).is_broken();
            if broken.is_ok()
                && let Err(code) = op.run(device)
            {
                lock(&device.calls).break_with(code);
            }
            lock(&self.queue).done += 1;
            self.changed.notify_all();
        }
    }
}
