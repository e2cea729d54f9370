//! The allocators as libraries for `LD_PRELOAD`.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rivals and their libraries: built by `preload-rivals.sh`, or Debian's.
const RIVALS: [(&str, &str); 6] = [
    ("mimalloc", "libmimalloc.so"),
    ("mimalloc-v2", "libmimalloc-v2.so"),
    ("snmalloc", "libsnmalloc.so"),
    ("rpmalloc", "librpmalloc.so"),
    ("jemalloc", "libjemalloc.so.2"),
    ("tcmalloc", "libtcmalloc_minimal.so.4"),
];

/// An allocator that a C program can be given.
#[derive(Debug, Clone)]
pub(crate) struct Library {
    pub(crate) name: &'static str,
    /// Nothing for the C library's own.
    path: Option<PathBuf>,
}

impl Library {
    /// Every allocator that is there, or of `only` those; one that is missing is named on stderr.
    pub(crate) fn find(genesis: &Path, built: &Path, only: &[String]) -> Vec<Self> {
        let debian = PathBuf::from(format!("/usr/lib/{ARCH}-linux-gnu"));
        let rivals =
            RIVALS.iter().map(|&(name, file)| (name, [built.join(file), debian.join(file)]));
        let ours = ("genesis", [genesis.to_path_buf(), built.join("libgenesis_mem.so")]);
        let asked = |name: &str| only.is_empty() || only.iter().any(|asked| asked == name);
        let mut found = Vec::new();
        for (name, places) in std::iter::once(ours).chain(rivals).filter(|(name, _)| asked(name)) {
            // A relative path would be sought elsewhere once the program changes its folder.
            match places.iter().find_map(|place| place.canonicalize().ok()) {
                Some(path) => found.push(Self { name, path: Some(path) }),
                None => eprintln!("{name} is left out, there is no {}", places[0].display()),
            }
        }
        if asked("glibc") {
            found.push(Self { name: "glibc", path: None });
        }
        found
    }

    /// Has `command` use this allocator.
    pub(crate) fn give_to(&self, command: &mut Command) {
        match &self.path {
            Some(path) => command.env("LD_PRELOAD", path),
            None => command.env_remove("LD_PRELOAD"),
        };
    }
}
