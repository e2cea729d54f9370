//! What a stream can be told to do, and doing it.

use std::{
    ffi::c_void,
    sync::{Arc, OnceLock, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    code::{Answer, INVALID_VALUE},
    device::Device,
    kernel::Launch,
    stream::Point,
};

/// The far end of a copy: memory of the device or page-locked memory, checked when the copy runs,
/// or memory of the program.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Checked(u64),
    /// What the program's memory held when the copy was enqueued.
    Bytes(Arc<[u8]>),
}

/// A pointer that the program passes along, for host functions.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct UserData(*mut c_void);

// SAFETY: the pointer is only handed back to the program, which knows that another thread gets it.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// A function of the program.
pub(crate) type HostFunction = extern "C" fn(UserData);

/// One word to write or to wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    pub(crate) at: u64,
    pub(crate) value: u64,
    /// Whether it has 64 bits, else 32.
    pub(crate) wide: bool,
}

/// When a word is what a stream waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    AtLeast,
    Equal,
    AnyBit,
    /// Not all bits set, counted together with the value.
    Nor,
}

impl Until {
    pub(crate) const fn from_flags(flags: u32) -> Self {
        // The lowest two bits say how to compare; the rest asks for flushes, which mean nothing here.
        [Self::AtLeast, Self::Equal, Self::AnyBit, Self::Nor][flags as usize & 3]
    }

    fn holds(self, found: u64, word: Word) -> bool {
        match self {
            // By the sign of the difference: counters wrap around.
            Self::AtLeast if word.wide => found.wrapping_sub(word.value) as i64 >= 0,
            Self::AtLeast => (found as u32).wrapping_sub(word.value as u32) as i32 >= 0,
            Self::Equal => found == word.value,
            Self::AnyBit => found & word.value != 0,
            Self::Nor if word.wide => !(found | word.value) != 0,
            Self::Nor => !(found | word.value) as u32 != 0,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Copies to memory of the device, or to page-locked memory.
    Copy { to: u64, from: Source, bytes: u64 },
    /// Copies to other memory of the program, which waits for it.
    CopyOut { to: u64, from: u64, bytes: u64 },
    /// Repeats a pattern of `width` bytes.
    Set { at: u64, value: u32, width: u64, count: u64 },
    /// Waits for another stream.
    Wait(Point),
    /// Notes the time.
    Stamp(Arc<OnceLock<Instant>>),
    /// Writes a word.
    WriteWord(Word),
    /// Waits for a word.
    WaitWord(Word, Until),
    /// Calls the program.
    Call(HostFunction, UserData),
    /// Runs a kernel.
    Launch(Launch),
    /// Frees a plain allocation.
    Free(u64),
}

impl Op {
    /// Does it, or says what broke the context.
    pub(crate) fn run(&self, device: &Device) -> Answer {
        match self {
            Self::Copy { to, from: Source::Checked(from), bytes } => {
                device.memory().copy(*to, *from, *bytes)
            }
            Self::Copy { to, from: Source::Bytes(bytes), .. } => device.memory().write(*to, bytes),
            Self::CopyOut { to, from, bytes } => {
                // SAFETY: the program passed room for as many bytes, and waits.
                unsafe { device.memory().read_to(*to, *from, *bytes) }
            }
            Self::Set { at, value, width, count } => {
                device.memory().set(*at, *value, *width, *count)
            }
            Self::Wait(point) => {
                point.wait();
                Ok(())
            }
            Self::Stamp(time) => time.set(Instant::now()).map_err(|_| INVALID_VALUE),
            Self::WriteWord(word) => write(device, *word),
            Self::WaitWord(word, until) => wait(device, *word, *until),
            Self::Call(function, data) => {
                function(*data);
                Ok(())
            }
            Self::Launch(launch) => launch.run(&device.memory()),
            Self::Free(at) => device.memory_mut().free(*at),
        }
    }
}

fn write(device: &Device, word: Word) -> Answer {
    let memory = device.memory();
    // Release: whoever reads the word by the same protocol sees what the stream did before.
    match word.wide {
        true => memory.word64(word.at)?.store(word.value, Ordering::Release),
        false => memory.word32(word.at)?.store(word.value as u32, Ordering::Release),
    }
    Ok(())
}

fn wait(device: &Device, word: Word, until: Until) -> Answer {
    let epoch = device.epoch();
    loop {
        let memory = device.memory();
        let found = match word.wide {
            true => memory.word64(word.at)?.load(Ordering::Acquire),
            false => memory.word32(word.at)?.load(Ordering::Acquire).into(),
        };
        drop(memory);
        if until.holds(found, word) || device.epoch() != epoch {
            return Ok(());
        }
        thread::sleep(Duration::from_micros(20));
    }
}
