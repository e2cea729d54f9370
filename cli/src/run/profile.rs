//! The profiler under a program that is run, and what it wrote.

use std::{
    collections::HashMap,
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context, bail};
use clap::Args;
use genesis_mem_cuda::parse_size;
use serde::Serialize;

use crate::recordings::{LeakOptions, Opened, in_folder};

/// What to record while the program runs.
#[derive(Args, Debug)]
pub(super) struct Profile {
    /// Record who holds the memory, to files in DIR
    #[arg(long = "profile", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Record a sample each SIZE on average, as in 512KiB, which is what is done by default
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    sample: Option<u64>,
    /// Record every block
    #[arg(long, conflicts_with = "sample")]
    full: bool,
    /// Name what the program never freed, and end with 23 if there is any; records every block
    /// unless --sample is given
    #[arg(long)]
    leaks: bool,
    #[command(flatten)]
    leak_options: LeakOptions,
}

/// The profiler under one program.
pub(super) struct Profiling<'o> {
    options: &'o Profile,
    /// Where recordings go; `None` where none are made.
    folder: Option<PathBuf>,
    /// The recordings that were there before, and when they were written.
    earlier: HashMap<PathBuf, Option<SystemTime>>,
}

impl Profile {
    /// Tells the library under `command` what to record: to a folder of the user's, or else to one
    /// in `temporary`.
    pub(super) fn prepare(
        &self,
        temporary: &Path,
        command: &mut Command,
    ) -> anyhow::Result<Profiling<'_>> {
        let has_mode = self.full || self.sample.is_some();
        let folder = match &self.folder {
            Some(folder) => env::current_dir()?.join(folder),
            None if self.leaks => temporary.join("recordings"),
            None if has_mode => {
                bail!("--full and --sample say how to record; add --profile DIR, or --leaks")
            }
            None => {
                let (folder, earlier) = (None, HashMap::new());
                return Ok(Profiling { options: self, folder, earlier });
            }
        };
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let earlier = in_folder(&folder)?;
        let earlier = earlier.into_iter().map(|path| (path.clone(), modified(&path))).collect();
        command.env("GENESIS_MEM_PROFILE", &folder);
        match self.sample {
            Some(bytes) => command.env("GENESIS_MEM_PROFILE_INTERVAL", bytes.to_string()),
            None => command.env_remove("GENESIS_MEM_PROFILE_INTERVAL"),
        };
        let is_full = self.full || (self.leaks && self.sample.is_none());
        match is_full {
            true => command.env("GENESIS_MEM_PROFILE_FULL", "1"),
            false => command.env_remove("GENESIS_MEM_PROFILE_FULL"),
        };
        Ok(Profiling { options: self, folder: Some(folder), earlier })
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

impl Profiling<'_> {
    /// What was written since the program started, as process `number`.
    pub(super) fn written(&self, number: u32) -> anyhow::Result<Written> {
        let Some(folder) = &self.folder else { return Ok(Written::default()) };
        let is_new = |path: &PathBuf| match self.earlier.get(path) {
            Some(earlier) => *earlier != modified(path),
            None => true,
        };
        let of_process = format!(".{number}");
        let is_own = |path: &PathBuf| {
            path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with(&of_process))
        };
        let new = in_folder(folder)?.into_iter().filter(is_new);
        let (own, others): (Vec<_>, Vec<_>) = new.partition(is_own);
        // A program that ran another one in its place may have left two: the last is meant.
        let own = own.into_iter().max_by_key(|path| modified(path));
        if own.is_none() {
            eprintln!(
                "genesis-mem: the program left no recording: one that ends by a signal or by \
                 _exit, has more rights than you, or is linked statically does not"
            );
        }
        Ok(Written { own, others, is_kept: self.options.folder.is_some() })
    }

    /// What the program itself never freed.
    pub(super) fn leaks(&self, written: &Written) -> anyhow::Result<Option<Leaked>> {
        let (true, Some(own)) = (self.options.leaks, &written.own) else { return Ok(None) };
        let leaks = self.options.leak_options.leaks(&Opened::open(own)?)?;
        let (blocks, bytes, text) = (leaks.blocks(), leaks.bytes(), leaks.to_string());
        Ok(Some(Leaked { blocks, bytes, text }))
    }
}

/// The recordings of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Written {
    /// Of the program itself.
    own: Option<PathBuf>,
    /// Of processes that it started.
    others: Vec<PathBuf>,
    /// Whether the user has them.
    #[serde(skip)]
    is_kept: bool,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_kept {
            return Ok(());
        }
        if let Some(own) = &self.own {
            let path = own.display();
            writeln!(f, "Recorded; see who held the memory with\n  genesis-mem report {path}")?;
        }
        if let Some(folder) = self.others.first().and_then(|path| path.parent()) {
            let (count, folder) = (self.others.len(), folder.display());
            writeln!(f, "Recorded too were processes that it started, {count}; see them with")?;
            writeln!(f, "  genesis-mem report {folder}")?;
        }
        Ok(())
    }
}

/// What was never freed.
#[derive(Debug, Serialize)]
pub(super) struct Leaked {
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    #[serde(skip)]
    text: String,
}

impl fmt::Display for Leaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.trim_end())
    }
}
