//! What kind of device is presented; from the environment, or set by a test.
#![forbid(unsafe_code)]

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
};

/// A setting, in the order of [`NAMES`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setting {
    TotalMb,
    GranuleKb,
    DelayUs,
    NoVmm,
    NoPools,
}

/// The name of each setting, here and in the environment, and its default.
const NAMES: [(&str, u64); 5] = [
    ("FAKECUDA_TOTAL_MB", 1024),
    ("FAKECUDA_GRANULE_KB", 2048),
    ("FAKECUDA_DELAY_US", 0),
    ("FAKECUDA_NO_VMM", 0),
    ("FAKECUDA_NO_POOLS", 0),
];

/// The present values.
#[derive(Debug)]
pub(crate) struct Settings([AtomicU64; NAMES.len()]);

impl Settings {
    /// What the environment says; what it does not say, or says wrongly, is as by default.
    pub(crate) fn from_environment() -> Self {
        let settings = Self([const { AtomicU64::new(0) }; NAMES.len()]);
        settings.restore();
        settings
    }

    /// Forgets what was set.
    pub(crate) fn restore(&self) {
        for (value, (name, default)) in self.0.iter().zip(NAMES) {
            let given = env::var(name).ok().and_then(|text| text.parse().ok());
            value.store(given.unwrap_or(default), Ordering::Relaxed);
        }
    }

    /// Sets one; answers whether it exists and can have the value.
    pub(crate) fn set(&self, name: &str, value: u64) -> bool {
        let Some(index) = NAMES.iter().position(|(known, _)| *known == name) else { return false };
        if index == Setting::GranuleKb as usize && !(value.is_power_of_two() && value >= 4) {
            return false;
        }
        self.0[index].store(value, Ordering::Relaxed);
        true
    }

    pub(crate) fn get(&self, setting: Setting) -> u64 {
        self.0[setting as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.get(Setting::TotalMb) << 20
    }

    pub(crate) fn granule_bytes(&self) -> u64 {
        self.get(Setting::GranuleKb) << 10
    }
}
