//! What a reader should be able to rely on everywhere in the sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

const MAX_LINES: usize = 450; // 400 is the aim
const CRATES: [&str; 7] = [
    "core/src",
    "host/src",
    "host/preload/src",
    "cuda/src",
    "profile/src",
    "cli/src",
    "tests/fakecuda/src",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    CRATES.iter().for_each(|folder| sources(&root().join(folder), &mut found));
    assert!(found.len() > 50, "the sources were found");
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("sources are text");
            (path, text)
        })
        .collect()
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for (path, text) in all_sources() {
        let code = text.split("#[cfg(all(test,").next().unwrap_or(&text);
        let lines = code.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
        assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
    }
}

#[test]
fn nothing_is_left_undone() {
    let undone = ["todo!(", "unimplemented!(", "FIXME", "XXX", "#[ignore"];
    for (path, text) in all_sources() {
        for word in undone {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
    }
}

#[test]
fn host_and_device_do_not_know_each_other() {
    let manifest = |package: &str| {
        fs::read_to_string(root().join(package).join("Cargo.toml")).expect("every package has one")
    };
    // An example may show them together.
    let shipped = |manifest: String| match manifest.split_once("[dev-dependencies]") {
        Some((shipped, _)) => shipped.to_owned(),
        None => manifest,
    };
    assert!(!shipped(manifest("host")).contains("genesis-mem-cuda"));
    assert!(!shipped(manifest("cuda")).contains("genesis-mem-host"));
    for package in ["genesis-mem-host", "genesis-mem-cuda"] {
        assert!(!manifest("core").contains(package), "core depends on {package}");
    }
}

#[test]
fn the_map_names_every_module_of_the_core() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map exists");
    let lib = fs::read_to_string(root().join("core/src/lib.rs")).expect("the core exists");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    for module in modules.map(|rest| rest.trim_end_matches(';')) {
        assert!(map.contains(&format!("`{module}`")), "ARCHITECTURE.md does not name {module}");
    }
}
