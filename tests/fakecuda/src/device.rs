//! The one device: its memory, and everything that programs hold by handle.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    call::{Calls, lock},
    capture::{Capture, Graph},
    code::{Answer, INVALID_HANDLE},
    context,
    event::Event,
    kernel::{Kernel, Module},
    memory::Memory,
    op::Op,
    settings::Settings,
    stream::{Point, Stream},
};

/// Things by handle. No handle is given twice, so that a stale one is noticed.
#[derive(Debug)]
pub(crate) struct Table<T>(Mutex<HashMap<u64, Arc<T>>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Handles look like addresses, and none is one of those that the driver gives a meaning.
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(0x1000);

pub(crate) fn new_handle() -> u64 {
    NEXT_HANDLE.fetch_add(0x10, Ordering::Relaxed)
}

impl<T> Table<T> {
    /// The handle of a new entry.
    pub(crate) fn insert(&self, value: T) -> u64 {
        let handle = new_handle();
        self.insert_as(handle, Arc::new(value));
        handle
    }

    /// Adds an entry under a [new handle](new_handle).
    pub(crate) fn insert_as(&self, handle: u64, value: Arc<T>) {
        lock(&self.0).insert(handle, value);
    }

    pub(crate) fn get(&self, handle: u64) -> Answer<Arc<T>> {
        lock(&self.0).get(&handle).cloned().ok_or(INVALID_HANDLE)
    }

    pub(crate) fn remove(&self, handle: u64) -> Answer<Arc<T>> {
        lock(&self.0).remove(&handle).ok_or(INVALID_HANDLE)
    }

    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        lock(&self.0).values().cloned().collect()
    }

    fn clear(&self) {
        lock(&self.0).clear();
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) settings: Settings,
    pub(crate) calls: Mutex<Calls>,
    memory: RwLock<Memory>,
    /// The stream that has no handle.
    default: Arc<Stream>,
    pub(crate) streams: Table<Stream>,
    /// Streams without a handle any more, until their work is done.
    closed: Mutex<Vec<Arc<Stream>>>,
    pub(crate) events: Table<Event>,
    pub(crate) graphs: Table<Graph>,
    pub(crate) modules: Table<Module>,
    pub(crate) kernels: Table<&'static Kernel>,
    pub(crate) captures: Mutex<Vec<Arc<Capture>>>,
    /// Counts resets; operations that wait for a value give up at the next one.
    epoch: AtomicU64,
}

/// The device.
pub(crate) fn device() -> &'static Device {
    static DEVICE: LazyLock<Device> = LazyLock::new(|| Device {
        settings: Settings::from_environment(),
        calls: Mutex::default(),
        memory: RwLock::new(Memory::new()),
        default: Stream::start(0, true),
        streams: Table::default(),
        closed: Mutex::default(),
        events: Table::default(),
        graphs: Table::default(),
        modules: Table::default(),
        kernels: Table::default(),
        captures: Mutex::default(),
        epoch: AtomicU64::new(0),
    });
    &DEVICE
}

impl Device {
    /// The memory, for operations: mappings stay while they run.
    pub(crate) fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory, for changes.
    pub(crate) fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream with this handle; zero and one are the default stream.
    pub(crate) fn stream(&self, handle: u64) -> Answer<Arc<Stream>> {
        match handle {
            0 | 1 => Ok(Arc::clone(&self.default)),
            handle => self.streams.get(handle),
        }
    }

    /// Takes the stream's handle away; what is enqueued is still done.
    pub(crate) fn close(&self, handle: u64) -> Answer {
        let stream = self.streams.remove(handle)?;
        stream.close();
        let mut closed = lock(&self.closed);
        closed.retain(|stream| !stream.end().is_passed());
        closed.push(stream);
        Ok(())
    }

    /// Enqueues work, or adds it to the capture that the stream is in.
    ///
    /// The default stream comes after all blocking streams, and they come after it.
    pub(crate) fn submit(&self, stream: &Arc<Stream>, op: Op) -> Answer {
        if let Some(capture) = stream.capture() {
            return capture.add(stream, op);
        }
        self.enqueue(stream, op);
        Ok(())
    }

    /// Enqueues work on a stream that is in no capture, and says where it is.
    pub(crate) fn enqueue(&self, stream: &Arc<Stream>, op: Op) -> Point {
        if Arc::ptr_eq(stream, &self.default) {
            for other in self.streams.all().iter().filter(|other| other.is_blocking()) {
                stream.push(Op::Wait(other.end()));
            }
        } else if stream.is_blocking() {
            stream.push(Op::Wait(self.default.end()));
        }
        stream.push(op)
    }

    /// The present ends of all streams.
    pub(crate) fn ends(&self) -> Vec<Point> {
        let (open, closed) = (self.streams.all(), lock(&self.closed).clone());
        open.iter().chain(&closed).chain([&self.default]).map(Stream::end).collect()
    }

    /// Waits until all work is done, and says whether it went well.
    pub(crate) fn synchronize(&self) -> Answer {
        self.ends().iter().for_each(Point::wait);
        lock(&self.calls).is_broken()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Makes the device as new, whoever still holds what of it.
    pub(crate) fn reset(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        lock(&self.captures).drain(..).for_each(|capture| capture.leave());
        self.ends().iter().for_each(Point::wait);
        self.streams.all().iter().for_each(|stream| stream.close());
        self.streams.clear();
        lock(&self.closed).clear();
        self.events.clear();
        self.graphs.clear();
        self.modules.clear();
        self.kernels.clear();
        self.memory_mut().clear();
        *lock(&self.calls) = Calls::default();
        self.settings.restore();
        context::clear();
    }
}
