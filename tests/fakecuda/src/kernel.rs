//! Kernels: a few, known by name and written here. PTX is searched for their names, not run.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{
    code::{Answer, INVALID_IMAGE, NOT_FOUND, NOT_SUPPORTED},
    memory::Memory,
    raw::In,
};

/// A kernel that this device can run.
#[derive(Debug)]
pub(crate) struct Kernel {
    name: &'static str,
    /// The size of each argument, 4 or 8 bytes.
    arguments: &'static [usize],
    run: fn(&Memory, threads: u64, arguments: &[u64]) -> Answer,
}

const KERNELS: [Kernel; 2] = [
    Kernel { name: "twice", arguments: &[8, 4], run: twice },
    Kernel { name: "increment", arguments: &[8, 4], run: increment },
];

/// `float data[n]; data[i] *= 2`.
fn twice(memory: &Memory, threads: u64, arguments: &[u64]) -> Answer {
    for word in memory.elements::<AtomicU32>(arguments[0], arguments[1].min(threads))? {
        let value = f32::from_bits(word.load(Ordering::Relaxed));
        word.store((value + value).to_bits(), Ordering::Relaxed);
    }
    Ok(())
}

/// `unsigned data[n]; data[i] += 1`.
fn increment(memory: &Memory, threads: u64, arguments: &[u64]) -> Answer {
    for word in memory.elements::<AtomicU32>(arguments[0], arguments[1].min(threads))? {
        word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
    Ok(())
}

/// The entry points of a module.
#[derive(Debug)]
pub(crate) struct Module(Vec<String>);

impl Module {
    /// Looks for the entry points of PTX.
    pub(crate) fn load(image: &str) -> Answer<Self> {
        let names: Vec<_> = image.split(".entry").skip(1).map(entry_name).collect();
        if names.is_empty() { Err(INVALID_IMAGE) } else { Ok(Self(names)) }
    }

    /// The kernel with this name, if the module has it and this device knows it.
    pub(crate) fn kernel(&self, name: &str) -> Answer<&'static Kernel> {
        if !self.0.iter().any(|entry| entry == name) {
            return Err(NOT_FOUND);
        }
        static KNOWN: [Kernel; KERNELS.len()] = KERNELS;
        KNOWN.iter().find(|kernel| kernel.name == name).ok_or(NOT_SUPPORTED)
    }
}

fn entry_name(text: &str) -> String {
    let is_part = |c: &char| c.is_ascii_alphanumeric() || ['_', '$'].contains(c);
    text.trim_start().chars().take_while(is_part).collect()
}

/// A kernel with what it is launched with.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    kernel: &'static Kernel,
    threads: u64,
    arguments: Vec<u64>,
}

impl Launch {
    /// Reads the arguments from where the program keeps them.
    pub(crate) fn new(
        kernel: &'static Kernel,
        threads: u64,
        arguments: In<In<u32>>,
    ) -> Answer<Self> {
        let read = |(index, &bytes): (usize, &usize)| {
            let argument = arguments.get(index)?;
            match bytes {
                8 => argument.cast::<u64>().get(0),
                _ => argument.get(0).map(u64::from),
            }
        };
        let arguments = kernel.arguments.iter().enumerate().map(read).collect::<Answer<_>>()?;
        Ok(Self { kernel, threads, arguments })
    }

    pub(crate) fn run(&self, memory: &Memory) -> Answer {
        (self.kernel.run)(memory, self.threads, &self.arguments)
    }
}
