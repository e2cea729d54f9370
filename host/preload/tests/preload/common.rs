//! Where the library and the compiled test programs come from.

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

/// The library: `GENESIS_MEM_LIBRARY` where it is set, else built now in profile `preload`.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        if let Some(path) = env::var_os("GENESIS_MEM_LIBRARY") {
            return PathBuf::from(path).canonicalize().expect("GENESIS_MEM_LIBRARY");
        }
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--profile", "preload", "-p", "genesis-mem-preload"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the library did not build");
        target().join("preload/libgenesis_mem.so")
    })
}

/// The target directory that this test was built in.
pub(crate) fn target() -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    // TARGET/PROFILE/deps/TEST
    test.ancestors().nth(3).expect("tests lie in a target directory").to_owned()
}

/// A command that runs on the library.
pub(crate) fn preloaded(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", library());
    command
}

/// A directory of the test's own.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Compiles a C program of the tests with `cc` into `folder`, or says that there is no `cc`.
pub(crate) fn compile(name: &str, folder: &Path) -> Option<PathBuf> {
    if !is_installed("cc") {
        println!("skipped: cc is not installed");
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name);
    let program = folder.join(name).with_extension("");
    let compiled = Command::new("cc")
        // The calls are to be made as they are written.
        .args(["-std=gnu17", "-O1", "-fno-builtin", "-Wall", "-Werror", "-Wno-free-nonheap-object"])
        .args(["-Wno-use-after-free", "-Wno-deprecated-declarations", "-pthread", "-I"])
        .arg(env!("CARGO_MANIFEST_DIR"))
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .arg("-ldl")
        .status()
        .expect("cc runs");
    assert!(compiled.success(), "{} does not compile", source.display());
    Some(program)
}

/// Whether a program of that name is on the path.
pub(crate) fn is_installed(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Runs the command with `input` on its standard input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A program may end without reading all of it.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("the child ends")
}

/// What a program printed, for messages.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
