//! The allocators' binaries, found beside this one.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::de::DeserializeOwned;

use crate::child;

/// Every allocator that has a binary, in the order in which tables list them.
const KNOWN: [&str; 7] =
    ["genesis", "mimalloc", "mimalloc-v2", "snmalloc", "rpmalloc", "jemalloc", "system"];

/// Which binaries take part.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Only these allocators, separated by commas; by default all that were built.
    #[arg(long, value_delimiter = ',')]
    allocators: Vec<String>,
    /// Where the binaries are; by default beside this one.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// An allocator and the binary that has it.
#[derive(Debug, Clone)]
pub(crate) struct Rival {
    pub(crate) name: String,
    pub(crate) binary: PathBuf,
}

impl Rival {
    /// Runs the binary with these arguments, and reads the line of JSON that it prints.
    ///
    /// # Errors
    /// When it cannot be run, fails, or prints something else.
    pub(crate) fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        self.ask_prepared(arguments, |_| ())
    }

    /// The same, as `prepare` has the process.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn ask_prepared<T: DeserializeOwned>(
        &self,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<T> {
        let what = || format!("{} on {}", arguments.join(" "), self.name);
        let mut command = Command::new(&self.binary);
        command.args(arguments);
        prepare(&mut command);
        child::limit_time(&mut command);
        let output = command.output().with_context(what)?;
        if !output.status.success() {
            let problem = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed, {}: {}", what(), output.status, problem.trim());
        }
        serde_json::from_slice(&output.stdout).with_context(what)
    }
}

impl Choice {
    /// The names that were asked for; none for all.
    pub(crate) fn only(&self) -> &[String] {
        &self.allocators
    }

    /// The binaries that take part, those that are missing named on stderr.
    ///
    /// # Errors
    /// When an allocator is unknown, or one that was asked for was not built, or none was.
    pub(crate) fn find(&self) -> Result<Vec<Rival>> {
        let dir = match &self.bin_dir {
            Some(dir) => dir.clone(),
            None => beside_this_binary()?,
        };
        if let Some(unknown) = self.allocators.iter().find(|name| !KNOWN.contains(&name.as_str())) {
            bail!("no allocator is called {unknown}; there are {}", KNOWN.join(", "));
        }
        let mut found = Vec::new();
        for name in KNOWN {
            let asked = self.allocators.iter().any(|asked| asked == name);
            if !asked && !self.allocators.is_empty() {
                continue;
            }
            let binary = dir.join(format!("bench-{name}"));
            if binary.is_file() {
                found.push(Rival { name: name.into(), binary });
            } else if asked {
                bail!("{} is missing: {}", binary.display(), how_to_build(name));
            } else {
                eprintln!("{name} is left out, it was not built ({})", how_to_build(name));
            }
        }
        if found.is_empty() {
            bail!("no allocator's binary is in {}", dir.display());
        }
        Ok(found)
    }
}

/// The folder of this binary, where cargo puts the others as well.
pub(crate) fn beside_this_binary() -> Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this binary is")?;
    Ok(this.parent().map(Path::to_path_buf).unwrap_or_default())
}

fn how_to_build(name: &str) -> String {
    format!("cargo build --release --features {name} --bin bench-{name}")
}
