//! Names that were looked up, kept in the recording: for when the program was rebuilt, and for
//! machines that do not have it.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use genesis_mem_profile::Frame;
use serde_json::{Value, json};

use super::{
    error::ReadError,
    sections::Section,
    symbols::{Place, Places},
};

/// What is known, as a section has it: an array a place, by address, and build ids by path.
pub(super) fn encode(known: &Places) -> Vec<u8> {
    let mut places: Vec<_> = known.places.iter().collect();
    places.sort_by_key(|(address, _)| **address);
    let frame = |frame: &Frame| json!([frame.function, frame.file, frame.line]);
    let places = places.into_iter().map(|(address, place)| {
        let frames: Vec<Value> = place.frames.iter().map(frame).collect();
        json!([address, place.module, frames])
    });
    let places: Vec<Value> = places.collect();
    json!({ "places": places, "build_ids": known.build_ids }).to_string().into_bytes()
}

/// The same, read; of a recording that maps `modules` modules.
pub(super) fn decode(section: Section<'_>, modules: usize) -> Result<Places, ReadError> {
    let broken = || section.broken(0, "names that are none");
    let value: Value = serde_json::from_slice(section.payload).map_err(|_| broken())?;
    let place = |value: &Value| {
        let frames = value[2].as_array()?.iter().map(frame).collect::<Option<Vec<Frame>>>()?;
        let module = value[1].as_u64().filter(|&module| module < modules as u64);
        let place = Place { module: module.map(|module| module as u32), frames };
        Some((value[0].as_u64()?, place))
    };
    let places = value["places"].as_array().ok_or_else(broken)?;
    let places: Option<HashMap<u64, Place>> = places.iter().map(place).collect();
    let build_ids = value["build_ids"].as_object().into_iter().flatten();
    let build_ids = build_ids.map(|(path, id)| (path.into(), id.as_str().unwrap_or("").into()));
    let (places, build_ids) = (places.ok_or_else(broken)?, build_ids.collect());
    Ok(Places { places, build_ids, ..Places::default() })
}

fn frame(value: &Value) -> Option<Frame> {
    Some(Frame {
        function: value[0].as_str()?.to_owned(),
        file: value[1].as_str()?.to_owned(),
        line: u32::try_from(value[2].as_u64()?).ok()?,
    })
}
