//! The programs that are run with each allocator.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use genesis_mem_bench::stress;

/// The group of programs that people use.
const REAL: &str = "Real programs";
/// The group of workloads made to strain an allocator.
const STRESS: &str = "Stress programs";

/// A program that can be run with any allocator.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    binary: PathBuf,
    arguments: Vec<String>,
    input: Option<PathBuf>,
    companion: Option<(PathBuf, String)>,
}

impl Program {
    fn new(group: &'static str, name: &'static str, binary: PathBuf) -> Self {
        Self { group, name, binary, arguments: Vec::new(), input: None, companion: None }
    }

    /// A program that people use, if it is installed.
    fn real(name: &'static str, binary: &str) -> Result<Self> {
        Ok(Self::new(REAL, name, installed(binary)?))
    }

    /// A compiler proper, without its driver, on a source that was preprocessed for it.
    fn compiler(
        (name, driver, part): (&'static str, &str, &str),
        source: &Path,
        work: &Path,
    ) -> Result<Self> {
        let driver = installed(driver)?;
        let output = Command::new(&driver).arg(format!("-print-prog-name={part}")).output()?;
        let binary = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        if !binary.is_file() {
            bail!("{part} is not installed");
        }
        let preprocessed = work.join(part);
        let mut preprocessor = Command::new(&driver);
        let status = preprocessor.arg("-E").arg(source).arg("-o").arg(&preprocessed).status()?;
        if !status.success() {
            bail!("{} cannot preprocess {}", driver.display(), source.display());
        }
        let found = Self::new(REAL, name, binary);
        Ok(found.words("-quiet -fpreprocessed -o /dev/null").argument(&preprocessed))
    }

    fn words(mut self, words: &str) -> Self {
        self.arguments.extend(words.split(' ').map(str::to_owned));
        self
    }

    fn argument(mut self, path: &Path) -> Self {
        self.arguments.push(path.display().to_string());
        self
    }

    fn input(mut self, path: &Path) -> Self {
        self.input = Some(path.to_path_buf());
        self
    }

    /// What to run with the allocator, behind the words of `wrapper`; what it prints goes to `output`.
    ///
    /// # Errors
    /// When the output cannot be created or the input is missing.
    pub(crate) fn command(&self, wrapper: &[&str], output: &Path) -> io::Result<Command> {
        let mut words = wrapper.iter().map(OsStr::new).chain([self.binary.as_os_str()]);
        let mut command = Command::new(words.next().expect("the binary at least"));
        command.args(words).args(&self.arguments);
        command.stdout(File::create(output)?).stderr(Stdio::null());
        command.stdin(match &self.input {
            Some(path) => File::open(path)?.into(),
            None => Stdio::null(),
        });
        Ok(command)
    }

    /// What to run beside it, without the allocator, to make it work and then end.
    pub(crate) fn companion(&self) -> Option<Command> {
        let (script, argument) = self.companion.as_ref()?;
        let mut command = Command::new(script);
        command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
        Some(command)
    }
}

/// Programs that people use; one that is not installed is named on stderr.
///
/// `scripts` has what they work on, `work` is a folder for what is made from it.
pub(crate) fn real(scripts: &Path, work: &Path) -> Vec<Program> {
    let script = |file: &str| scripts.join(file);
    let on = |name, binary, file| Ok(Program::real(name, binary)?.argument(&script(file)));
    let sqlite = || Ok(Program::real("sqlite", "sqlite3")?.input(&script("queries.sql")));
    let ghostscript = || {
        let found = Program::real("ghostscript", "gs")?;
        let found = found.words("-q -dSAFER -dNOPAUSE -dBATCH -sDEVICE=ppmraw -r72 -o /dev/null");
        Ok(found.argument(&script("page.ps")))
    };
    let gcc = || {
        let found = Program::compiler(("gcc", "gcc", "cc1"), &script("expressions.c"), work)?;
        Ok(found.words("-O2"))
    };
    let gxx = || {
        let found = Program::compiler(("g++", "g++", "cc1plus"), &script("containers.cpp"), work)?;
        Ok(found.words("-O1"))
    };
    let redis = || {
        let mut found = Program::real("redis", "redis-server")?;
        installed("redis-benchmark")?;
        let socket = work.join("redis.sock");
        found.companion = Some((script("redis-load.sh"), socket.display().to_string()));
        let found = found.words("--port 0 --logfile /dev/null --unixsocket").argument(&socket);
        Ok(found.words("--dir").argument(work))
    };
    let attempts: [(&str, Result<Program>); 11] = [
        ("python json", on("python json", "python3", "json_records.py")),
        ("python objects", on("python objects", "python3", "objects.py")),
        ("perl", on("perl", "perl", "words.pl")),
        ("lua", on("lua", "lua5.4", "trees.lua")),
        ("ruby", on("ruby", "ruby", "records.rb")),
        ("sqlite", sqlite()),
        ("z3", on("z3", "z3", "puzzle.smt2")),
        ("ghostscript", ghostscript()),
        ("gcc", gcc()),
        ("g++", gxx()),
        ("redis", redis()),
    ];
    let kept = |(name, attempt): (&str, Result<Program>)| {
        attempt.inspect_err(|problem| eprintln!("{name} is left out: {problem:#}")).ok()
    };
    attempts.into_iter().filter_map(kept).collect()
}

/// The stress workloads, all in the binary `bench-stress` in `bin_dir`.
///
/// # Errors
/// When the binary is missing.
pub(crate) fn stress(bin_dir: &Path) -> Result<Vec<Program>> {
    let binary = bin_dir.join("bench-stress");
    if !binary.is_file() {
        bail!("{} is missing: cargo build --release --bin bench-stress", binary.display());
    }
    let program = |name| Program::new(STRESS, name, binary.clone()).words(name);
    Ok(stress::WORKLOADS.iter().map(|&(name, _)| program(name)).collect())
}

/// Where a program is: Debian's own first, since a wrapper before it in `PATH` would be measured.
fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(PathBuf::from("/usr/bin")).chain(std::env::split_paths(&path));
    places
        .map(|place| place.join(name))
        .find(|place| place.is_file())
        .with_context(|| format!("{name} is not installed"))
}
