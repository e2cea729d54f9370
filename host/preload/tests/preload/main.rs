//! `libgenesis_mem.so` under C programs and under real ones.

mod common;
mod library;
mod profile;
mod programs;
#[expect(dead_code, reason = "other tests look at the rest")]
#[path = "../../../tests/common/recording.rs"]
mod recording;
