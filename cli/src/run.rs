//! `genesis-mem run`: any program on the preloaded library.

mod profile;

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
};

use anyhow::{Context, bail};
use clap::Args;
use genesis_mem_host::core::stats::Bytes;
use serde::Serialize;

use self::profile::Profile;
use crate::{
    exit::{Exit, LEAKED},
    snapshot::{Report, grouped},
};

const LIBRARY: &str = "libgenesis_mem.so";

/// Runs a program on Genesis Memory and prints what the allocator did, on stderr.
///
/// The program's input, output, signals and exit code are its own. Programs that it starts run on
/// Genesis Memory as well.
#[derive(Args, Debug)]
pub struct Run {
    /// Print the statistics as JSON
    #[arg(long)]
    json: bool,
    /// Write the statistics to FILE instead of stderr
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    profile: Profile,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

/// What is known when the program has ended.
#[derive(Debug, Serialize)]
struct Outcome {
    program: Vec<String>,
    exit_code: u8,
    /// Null where the program left none.
    snapshot: Option<Report>,
    /// Of the programs that it started and that ended by themselves.
    others: Vec<Report>,
    /// What the profiler wrote.
    recordings: profile::Written,
    /// Null where nobody asked for it.
    leaks: Option<profile::Leaked>,
}

impl Run {
    /// Runs the program.
    ///
    /// # Errors
    /// The library is not to be found, or the statistics cannot be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let library = find_library()?;
        let folder = tempfile::tempdir().context("no temporary folder for the statistics")?;
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]);
        command.env("LD_PRELOAD", preload_list(&library));
        command.env("GENESIS_MEM_STATS_FILE", folder.path().join("%p.json"));
        let profiling = self.profile.prepare(folder.path(), &mut command)?;
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(cannot_start(&self.program[0], &error)),
        };
        let number = child.id();
        let exit_code = exit_code(wait(child)?);
        let (snapshot, others) = collect(folder.path(), number)?;
        let program = self.program.iter().map(|word| word.to_string_lossy().into()).collect();
        let recordings = profiling.written(number)?;
        let leaks = profiling.leaks(&recordings)?;
        let leaked = leaks.as_ref().is_some_and(|leaks| leaks.blocks > 0);
        self.print(&Outcome { program, exit_code, snapshot, others, recordings, leaks })?;
        Ok(if leaked { LEAKED } else { Exit(exit_code) })
    }

    fn print(&self, outcome: &Outcome) -> anyhow::Result<()> {
        let text = match self.json {
            true => serde_json::to_string(outcome)? + "\n",
            false => outcome.to_string(),
        };
        match &self.output {
            None => eprint!("{text}"),
            Some(file) => {
                fs::write(file, text)
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "\ngenesis-mem: {} ended with {}", self.program.join(" "), self.exit_code)?;
        match &self.snapshot {
            Some(report) => {
                writeln!(f, "{}\n{}", report.sums(), report.counts())?;
                writeln!(f, "{}\n{}", report.fragmentation(), report.rows())?;
            }
            None => writeln!(
                f,
                "It left no statistics: a program that ends by a signal or by _exit, has more \
                 rights than you, or is linked statically does not."
            )?,
        }
        if !self.others.is_empty() {
            let allocations: u64 = self.others.iter().map(|report| report.allocations).sum();
            let peak = self.others.iter().map(|report| report.allocated_bytes.peak).max();
            let (count, peak) = (self.others.len(), Bytes(peak.unwrap_or(0)));
            let allocations = grouped(allocations);
            writeln!(
                f,
                "Processes that it started: {count}, with {allocations} allocations; \
                 the largest held {peak}."
            )?;
        }
        write!(f, "{}", self.recordings)?;
        match &self.leaks {
            Some(leaks) => writeln!(f, "{leaks}"),
            None => Ok(()),
        }
    }
}

/// The library: where the user says, or where it was built or installed.
fn find_library() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("GENESIS_MEM_LIBRARY") {
        let path = PathBuf::from(path);
        return path
            .canonicalize()
            .with_context(|| format!("GENESIS_MEM_LIBRARY={} is not there", path.display()));
    }
    let program = env::current_exe().context("where am I?")?;
    let folder = program.parent().unwrap_or(Path::new("."));
    // Beside the program; where cargo puts it; where an installation puts it.
    let places = [folder.to_owned(), folder.join("../preload"), folder.join("../lib")];
    match places.iter().find_map(|place| place.join(LIBRARY).canonicalize().ok()) {
        Some(path) => Ok(path),
        None => bail!(
            "{LIBRARY} is not in {}, ../preload or ../lib. Build it in the project's folder with\n  \
             cargo build --profile preload -p genesis-mem-preload\n\
             or say where it is: GENESIS_MEM_LIBRARY=PATH/{LIBRARY}",
            folder.display()
        ),
    }
}

/// The library before those that the user preloads already.
fn preload_list(library: &Path) -> OsString {
    let mut list = library.as_os_str().to_owned();
    if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        list.push(":");
        list.push(others);
    }
    list
}

/// As a shell has it.
fn cannot_start(program: &OsString, error: &io::Error) -> Exit {
    eprintln!("genesis-mem: {}: {error}", program.to_string_lossy());
    Exit(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

/// Waits for the program, which alone decides what a signal from the terminal means; other signals
/// to us are handed on to it.
fn wait(mut child: Child) -> anyhow::Result<ExitStatus> {
    signals::forward_to(child.id());
    Ok(child.wait()?)
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The program's statistics, and those of the processes that it started.
fn collect(folder: &Path, number: u32) -> anyhow::Result<(Option<Report>, Vec<Report>)> {
    let own = format!("{number}.json");
    let (mut snapshot, mut others) = (None, Vec::new());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        // A process that is being ended may have left half a file.
        let Ok(report) = Report::parse(&fs::read_to_string(entry.path())?) else { continue };
        if entry.file_name() == *own {
            snapshot = Some(report);
        } else {
            others.push(report);
        }
    }
    Ok((snapshot, others))
}

/// Signals on their way through.
mod signals {
    use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

    static CHILD: AtomicI32 = AtomicI32::new(0);

    extern "C" fn forward(signal: libc::c_int) {
        let child = CHILD.load(Relaxed);
        if child > 0 {
            // SAFETY: `kill` may be called in a handler; the child is not waited for yet, or gone.
            unsafe { libc::kill(child, signal) };
        }
    }

    extern "C" fn ignore(_: libc::c_int) {}

    /// The terminal sends its signals to the child as well; those that are sent to us go on to it.
    pub(super) fn forward_to(child: u32) {
        CHILD.store(i32::try_from(child).unwrap_or(0), Relaxed);
        // Handlers, not SIG_IGN, which a child would inherit.
        for signal in [libc::SIGINT, libc::SIGQUIT] {
            on(signal, ignore);
        }
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
            on(signal, forward);
        }
    }

    fn on(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
        // SAFETY: an empty action is valid, and the handlers do nothing that a handler may not.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}
