//! What tests of the program share.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The library: `GENESIS_MEM_LIBRARY` where it is set, else built now in profile `preload`.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        if let Some(path) = env::var_os("GENESIS_MEM_LIBRARY") {
            return path.into();
        }
        let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--profile", "preload", "-p", "genesis-mem-preload"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success(), "the library did not build");
        Path::new(env!("CARGO_BIN_EXE_genesis-mem"))
            .with_file_name("../preload/libgenesis_mem.so")
            .canonicalize()
            .unwrap()
    })
}

/// The program with those words, which finds the library.
pub(crate) fn genesis_mem(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_genesis-mem"));
    command.args(words).env("GENESIS_MEM_LIBRARY", library());
    command
}
