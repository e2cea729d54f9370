//! Events: the point in a stream's timeline at which one was recorded last.
#![forbid(unsafe_code)]

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

use crate::{
    call::lock,
    capture::{self, Capture, Mark},
    code::{Answer, CAPTURED_EVENT, INVALID_HANDLE, NOT_READY, STREAM_CAPTURE_ISOLATION},
    device::{Device, device},
    op::Op,
    stream::{Point, Stream},
};

#[derive(Clone, Debug)]
enum Record {
    Never,
    At(Point, Arc<OnceLock<Instant>>),
    Captured(Arc<Capture>, Mark),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Event {
    timing: bool,
    record: Mutex<Record>,
}

impl Event {
    pub(crate) fn new(timing: bool) -> Self {
        Self { timing, record: Mutex::new(Record::Never) }
    }

    /// Stands for the present end of `stream` from now on.
    pub(crate) fn record(&self, device: &Device, stream: &Arc<Stream>) -> Answer {
        let record = match stream.capture() {
            Some(capture) => {
                let mark = capture.mark(stream)?;
                Record::Captured(capture, mark)
            }
            None => {
                let time = Arc::new(OnceLock::new());
                Record::At(device.enqueue(stream, Op::Stamp(Arc::clone(&time))), time)
            }
        };
        *lock(&self.record) = record;
        Ok(())
    }

    /// Makes `stream` come after the event. A stream that waits for a captured event joins its
    /// capture.
    pub(crate) fn hold_back(&self, device: &Device, stream: &Arc<Stream>) -> Answer {
        match (lock(&self.record).clone(), stream.capture()) {
            (Record::Never, _) => Ok(()),
            (Record::At(point, _), None) => {
                device.enqueue(stream, Op::Wait(point));
                Ok(())
            }
            (Record::At(..), Some(capture)) => {
                capture.invalidate();
                Err(STREAM_CAPTURE_ISOLATION)
            }
            (Record::Captured(capture, mark), _) => capture.join(stream, &mark),
        }
    }

    /// What there is to ask or to wait for, where neither disturbs a capture.
    fn outside(&self) -> Answer<Option<Point>> {
        let point = match &*lock(&self.record) {
            Record::Never => None,
            Record::At(point, _) => Some(point.clone()),
            Record::Captured(..) => return Err(CAPTURED_EVENT),
        };
        capture::refuse_if_disturbed().map(|()| point)
    }

    /// Whether it has happened, as the driver says it.
    pub(crate) fn query(&self) -> Answer {
        match self.outside()? {
            Some(point) if !point.is_passed() => Err(NOT_READY),
            _ => lock(&device().calls).is_broken(),
        }
    }

    /// Waits for it on this thread.
    pub(crate) fn synchronize(&self) -> Answer {
        self.outside()?.as_ref().map(Point::wait);
        lock(&device().calls).is_broken()
    }

    fn time(&self) -> Answer<Instant> {
        match &*lock(&self.record) {
            Record::At(_, time) if self.timing => time.get().copied().ok_or(NOT_READY),
            _ => Err(INVALID_HANDLE),
        }
    }

    /// Milliseconds from this event to a later one.
    pub(crate) fn elapsed_ms(&self, end: &Self) -> Answer<f32> {
        let (start, end) = (self.time()?, end.time()?);
        let forwards = end.saturating_duration_since(start).as_secs_f32();
        Ok((forwards - start.saturating_duration_since(end).as_secs_f32()) * 1e3)
    }
}
