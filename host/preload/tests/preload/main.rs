//! `libgenesis_mem.so` under C programs and under real ones.

mod common;
mod library;
mod programs;
mod socket;
