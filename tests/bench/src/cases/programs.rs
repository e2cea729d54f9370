//! Libraries at work as programs use them, on the process's global allocator.

use std::alloc::GlobalAlloc;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use regex::Regex;
use serde_json::Value;

use crate::meter::{Measured, Meter};
use crate::random::Random;

/// Reads 100,000 JSON objects into a tree, changes each, and writes the tree. Operation: all that.
pub(super) fn json(_: &impl GlobalAlloc, rounds: u64) -> Measured {
    const OBJECTS: u32 = 100_000;
    let text = people(OBJECTS);
    let mut meter = Meter::start();
    while meter.operations() < rounds {
        meter.batch(1, || {
            let mut tree: Vec<Value> = serde_json::from_str(&text).expect("the text is JSON");
            for person in &mut tree {
                let id = person["id"].as_u64().expect("ids are numbers");
                person["label"] = format!("{}-{id}", person["address"]["city"]).into();
            }
            let written = serde_json::to_string(&tree).expect("a tree can be written");
            assert!(written.len() > text.len(), "the labels are new");
        });
    }
    meter.finish()
}

/// A JSON array of people, each with an address and some tags.
fn people(count: u32) -> String {
    let mut random = Random::new(1);
    let mut text = String::from("[");
    for id in 0..count {
        let separator = if id == 0 { "" } else { "," };
        let (score, street, zip) = (random.below(10_000), random.below(500), random.below(99_999));
        let (tag, city) = (random.below(50), random.below(200));
        write!(
            text,
            r#"{separator}{{"id":{id},"name":"person number {id}","email":"person{id}@example.org",
            "score":{score}.5,"active":true,"tags":["tag{tag}","all","year{score}"],
            "address":{{"street":"street {street}","city":"city {city}","zip":"{zip:05}"}}}}"#
        )
        .expect("a string can always be written to");
    }
    text.push(']');
    text
}

/// Fills a map with 100,000 strings in random order, looks each up, removes half, drops the rest.
/// Operation: an item.
pub(super) fn btree(_: &impl GlobalAlloc, items: u64) -> Measured {
    const ITEMS: u64 = 100_000;
    let mut meter = Meter::start();
    while meter.operations() < items {
        meter.batch(ITEMS, || {
            let mut random = Random::new(1);
            let mut map = BTreeMap::new();
            for i in 0..ITEMS {
                map.insert(format!("key {:08x}-{i}", random.bits()), format!("value {i}"));
            }
            let mut random = Random::new(1);
            for i in 0..ITEMS {
                let key = format!("key {:08x}-{i}", random.bits());
                assert!(map.contains_key(&key), "{key} was inserted");
                if i % 2 == 0 {
                    map.remove(&key);
                }
            }
            black_box(&map);
        });
    }
    meter.finish()
}

/// Two threads cut 300,000 lines into words, change and join them, and sort the results.
/// Operation: a line.
pub(super) fn rayon_strings(_: &impl GlobalAlloc, lines: u64) -> Measured {
    const LINES: u64 = 300_000;
    let pool = ThreadPoolBuilder::new().num_threads(2).build().expect("two threads can start");
    let mut meter = Meter::start();
    while meter.operations() < lines {
        meter.batch(LINES, || pool.install(|| words(LINES)));
    }
    meter.finish()
}

fn words(lines: u64) {
    let mut joined: Vec<String> = (0..lines)
        .into_par_iter()
        .map(|i| format!("line {i} of a text: {} and {:x} is what it tells of", i % 97, i * 40_503))
        .map(|line| {
            let words: Vec<String> = line.split(' ').rev().map(str::to_uppercase).collect();
            words.join("-")
        })
        .collect();
    joined.par_sort_unstable();
    black_box(&joined);
}

/// Compiles five patterns of different kinds. Operation: all five.
pub(super) fn regexes(_: &impl GlobalAlloc, rounds: u64) -> Measured {
    const PATTERNS: [&str; 5] = [
        r"^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
        r"(?i)[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,10}",
        r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b",
        r"(?:error|warning|note): (?P<message>.+?)(?: \[(?P<code>[A-Z]\d+)\])?$",
        r"^\p{Lu}\p{Ll}+(?:[ -]\p{Lu}\p{Ll}+){0,3}$",
    ];
    let mut meter = Meter::start();
    while meter.operations() < rounds {
        meter.batch(1, || {
            for pattern in PATTERNS {
                black_box(Regex::new(pattern).expect("the pattern is valid"));
            }
        });
    }
    meter.finish()
}
