//! The suite on the simulated device, and on cudarc over the fake driver.
mod common;
mod suite;

suite::suite!(sim, crate::suite::sim::Sim);

#[cfg(feature = "cudarc")]
suite::suite!(fake, crate::suite::cudarc::OnFake);
#[cfg(feature = "cudarc")]
suite::suite!(fake_buffers, crate::suite::cudarc::OnFake, buffers);
