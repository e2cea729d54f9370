//! From addresses to names, lines and call sites.
#![forbid(unsafe_code)]

use std::{collections::HashMap, env, path::PathBuf};

use genesis_mem_profile::{Call, Frame, Module, StackId, Stacks};

use super::{
    image::{Image, NoImage},
    maps::{Mapping, Maps},
    names::{allocates_for_others, is_allocator, surrounds_programs},
};

/// What was found at addresses, to go on with.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) places: HashMap<u64, Place>,
    /// Of files that were opened.
    pub(super) build_ids: HashMap<PathBuf, String>,
    pub(super) changed: Vec<PathBuf>,
}

/// Looks up addresses of one recorded process. Files are opened when an address lies in them.
pub(super) struct Symbols<'r> {
    maps: &'r Maps,
    /// The time of day when the process was recorded, nanoseconds.
    recorded_ns: u64,
    images: HashMap<PathBuf, Option<Image>>,
    pub(super) known: Places,
    /// The folder that paths of sources are shown below.
    folder: String,
}

#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The number of the mapping.
    pub(super) module: Option<u32>,
    pub(super) frames: Vec<Frame>,
}

impl<'r> Symbols<'r> {
    pub(super) fn new(maps: &'r Maps, recorded_ns: u64, known: Places) -> Self {
        let folder = env::current_dir().map_or_else(
            |_| String::new(),
            |folder| {
                let folder = folder.to_string_lossy().into_owned();
                if folder.ends_with('/') { folder } else { folder + "/" }
            },
        );
        Self { maps, recorded_ns, images: HashMap::new(), known, folder }
    }

    /// Files that were changed since the process mapped them.
    pub(super) fn changed(&self) -> &[PathBuf] {
        &self.known.changed
    }

    /// Adds the stack of these return addresses.
    pub(super) fn intern(&mut self, stacks: &mut Stacks, addresses: &[u64]) -> StackId {
        let (mut frames, mut calls) = (Vec::new(), Vec::new());
        for &address in addresses {
            // A call may be the last instruction of its function: look where the call is.
            let address = address.saturating_sub(1);
            let place = self.place(address);
            let module = place.module.map(|module| &self.maps.all()[module as usize].path);
            let module = module.map_or_else(Default::default, |path| path.to_string_lossy());
            // Stacks begin with whoever asked the allocator.
            let is_first = frames.is_empty();
            // What the allocator calls is the allocator as well.
            let is_own = |at: &Frame| is_first && is_allocator(at, &module);
            let own = place.frames.iter().rposition(is_own).map_or(0, |last| last + 1);
            let asking = &place.frames[own..];
            let end = asking.iter().position(|at| surrounds_programs(&at.function));
            let asking = &asking[..end.unwrap_or(asking.len())];
            if !asking.is_empty() {
                frames.extend(
                    asking.iter().map(|at| (at.clone(), allocates_for_others(at, &module))),
                );
                calls.push(Call { address, module: place.module, frames: asking.len() as u32 });
            }
            if end.is_some() {
                break;
            }
        }
        stacks.intern_calls(frames, &calls)
    }

    fn place(&mut self, address: u64) -> Place {
        if let Some(place) = self.known.places.get(&address) {
            return place.clone();
        }
        let place = self.look_up(address);
        self.known.places.insert(address, place.clone());
        place
    }

    fn look_up(&mut self, address: u64) -> Place {
        let Some(number) = self.maps.find(address) else {
            let frame = Frame { file: format!("{address:#x}"), ..Frame::default() };
            return Place { module: None, frames: vec![frame] };
        };
        let mapping = &self.maps.all()[number];
        let offset = address - mapping.address + mapping.offset;
        let module = mapping.path.to_string_lossy().into_owned();
        let folder = self.folder.clone();
        let image = self.image(mapping);
        let own = image.and_then(|image| image.address_of(offset).map(|own| (image, own)));
        let mut frames = own.map_or_else(Vec::new, |(image, own)| {
            image.frames(own, &module, |file| file.strip_prefix(&folder).unwrap_or(file).to_owned())
        });
        if frames.is_empty() {
            let name = module.rsplit('/').next().unwrap_or(&module);
            let own = own.map_or(offset, |(_, own)| own);
            frames.push(Frame { file: format!("{name}+{own:#x}"), ..Frame::default() });
        }
        Place { module: Some(number as u32), frames }
    }

    fn image(&mut self, mapping: &Mapping) -> Option<&Image> {
        let path = &mapping.path;
        if !self.images.contains_key(path) {
            let image = match mapping.is_deleted {
                true => Err(NoImage::Changed),
                false => Image::open(path, self.recorded_ns),
            };
            let image = match image {
                Ok(image) => {
                    self.known.build_ids.insert(path.clone(), image.build_id.clone());
                    Some(image)
                }
                Err(NoImage::Unreadable) => None,
                Err(NoImage::Changed) => {
                    self.known.changed.push(path.clone());
                    None
                }
            };
            self.images.insert(path.clone(), image);
        }
        self.images.get(path)?.as_ref()
    }

    /// All mappings, with what the files say of themselves.
    pub(super) fn modules(&self) -> Vec<Module> {
        let module = |mapping: &Mapping| Module {
            path: mapping.path.to_string_lossy().into_owned(),
            build_id: self.known.build_ids.get(&mapping.path).cloned().unwrap_or_default(),
            address: mapping.address,
            end: mapping.end,
            offset: mapping.offset,
        };
        self.maps.all().iter().map(module).collect()
    }
}
