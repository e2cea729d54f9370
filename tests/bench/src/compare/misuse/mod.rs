//! `compare misuse`: what each allocator makes of wrong acts, one process for each.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Finished};

use anyhow::{Context, Result, bail};
use genesis_mem_bench::misuse::{self, Act};
use regex::Regex;
use serde::{Deserialize, Serialize};

use self::table::render;
use crate::preload::Library;
use crate::rivals::{self, Choice};
use crate::rows::{self, Sink};
use crate::summary::in_order;
use crate::{cases, machine};

mod table;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// Only the acts whose names contain this, for example `double free`.
    #[arg(long, default_value = "")]
    acts: String,
    /// The library of Genesis Memory.
    #[arg(long, default_value = "target/preload/libgenesis_mem.so")]
    genesis: PathBuf,
    /// Where `preload-rivals.sh` has built the rivals.
    #[arg(long, default_value = "target/rivals")]
    rivals: PathBuf,
    /// Where `misuse.csv` and `misuse.md` are written; made if it does not exist.
    #[arg(long, default_value = "results")]
    out: PathBuf,
}

/// What became of a process that committed a wrong act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The allocator said so, and stopped the program at the act or went on unharmed.
    Reported,
    /// The program was stopped at the act, without a word.
    Stopped,
    /// The program was stopped later on.
    Late,
    /// Nothing happened, and no damage was found.
    Ignored,
    /// The program did not end.
    Hung,
    /// The program went on with damage.
    Corrupted,
    /// The block had gone to somebody else before it could be misused.
    Reused,
}

/// One act on one allocator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) language: String,
    pub(crate) kind: String,
    pub(crate) act: String,
    pub(crate) bytes: usize,
    pub(crate) allocator: String,
    pub(crate) outcome: Outcome,
    pub(crate) signal: Option<i32>,
    /// The damage that was found, or the first line on stderr, addresses left out.
    pub(crate) said: String,
}

/// How an allocator fares over all acts of a language.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) acts: usize,
    /// Reported or stopped at the act.
    pub(crate) caught: usize,
    /// Went on with damage, or did not end.
    pub(crate) damaged: usize,
}

impl Counts {
    /// By allocator.
    pub(crate) fn of(rows: &[Row], language: &str) -> Vec<(String, Self)> {
        let seen = |row: &&Row| row.language == language && row.outcome != Outcome::Reused;
        let rows: Vec<&Row> = rows.iter().filter(seen).collect();
        let names = in_order(rows.iter().map(|row| &row.allocator));
        let counts = |name: &String| {
            let count = |of: fn(&Row) -> bool| {
                rows.iter().filter(|row| &row.allocator == name && of(row)).count()
            };
            Self { acts: count(|_| true), caught: count(Row::caught), damaged: count(Row::damaged) }
        };
        names.iter().map(|name| (name.clone(), counts(name))).collect()
    }

    /// Caught at the act, in percent.
    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.caught as f64 / self.acts.max(1) as f64
    }
}

impl Row {
    fn caught(&self) -> bool {
        matches!(self.outcome, Outcome::Reported | Outcome::Stopped)
    }

    fn damaged(&self) -> bool {
        matches!(self.outcome, Outcome::Corrupted | Outcome::Hung)
    }
}

/// Commits every act on every allocator, writes `misuse.csv` and `misuse.md`, and prints the tables.
///
/// # Errors
/// When no binary is found, an act cannot be committed, or results cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let rivals = arguments.choice.find()?;
    let only = arguments.choice.only();
    let libraries = Library::find(&arguments.genesis, &arguments.rivals, only);
    let system = rivals::beside_this_binary()?.join("bench-system");
    if !libraries.is_empty() && !system.is_file() {
        bail!("{} is missing: cargo build --release --bin bench-system", system.display());
    }
    let acts = Act::all().into_iter().filter(|act| act.name().contains(&arguments.acts));
    let acts: Vec<Act> = acts.collect();
    fs::create_dir_all(&arguments.out)?;
    let csv = arguments.out.join("misuse.csv");
    let header = machine::header("wrong acts");
    let mut sink = Sink::create(&csv, &header)?;
    let bar = cases::progress((acts.len() * (rivals.len() + libraries.len())) as u64);
    for act in &acts {
        bar.set_message(act.name());
        for rival in rivals.iter().filter(|rival| act.in_rust(&rival.name)) {
            let command = Command::new(&rival.binary);
            sink.add(&commit(act, "Rust", &rival.name, command)?)?;
        }
        for library in libraries.iter().filter(|_| act.in_c()) {
            let mut command = Command::new(&system);
            library.give_to(&mut command);
            sink.add(&commit(act, "C", library.name, command)?)?;
        }
        bar.inc((rivals.len() + libraries.len()) as u64);
    }
    bar.finish_and_clear();
    publish(&csv, &arguments.out)
}

/// Renders the rows of `csv` to `misuse.md` and prints it.
fn publish(csv: &Path, out: &Path) -> Result<()> {
    let (header, rows) = rows::read::<Row>(csv)?;
    let text = render(&header, &rows);
    fs::write(out.join("misuse.md"), &text)?;
    println!("{text}\nRaw results: {}", csv.display());
    Ok(())
}

fn commit(act: &Act, language: &str, allocator: &str, mut command: Command) -> Result<Row> {
    let name = act.name();
    let finished = command.args(["misuse", &name]).output()?;
    let outcome =
        outcome(&finished).with_context(|| format!("{name} on {allocator} in {language}"))?;
    let printed = String::from_utf8_lossy(&finished.stdout);
    let damage = printed.lines().find_map(|line| line.strip_prefix(misuse::CORRUPTED));
    let said = String::from_utf8_lossy(&finished.stderr);
    let said = damage.or_else(|| said.lines().find(|line| !line.is_empty())).unwrap_or_default();
    Ok(Row {
        language: language.into(),
        kind: act.group().into(),
        act: act.how(),
        bytes: act.bytes,
        allocator: allocator.into(),
        outcome,
        signal: finished.status.signal(),
        said: without_addresses(said.trim_start_matches([':', ' '])),
    })
}

/// What became of the process, from what it has printed and how it ended.
fn outcome(finished: &Finished) -> Result<Outcome> {
    let printed = String::from_utf8_lossy(&finished.stdout);
    let has = |mark: &str| printed.lines().any(|line| line.starts_with(mark));
    let said = finished.stderr.iter().any(|byte| !byte.is_ascii_whitespace());
    if has(misuse::REUSED) {
        return Ok(Outcome::Reused);
    }
    if !has(misuse::ACT) {
        bail!(
            "it never came to the act, {}: {}",
            finished.status,
            String::from_utf8_lossy(&finished.stderr)
        );
    }
    Ok(match finished.status.signal() {
        Some(libc::SIGALRM) => Outcome::Hung,
        _ if has(misuse::CORRUPTED) => Outcome::Corrupted,
        _ if !has(misuse::DONE) && said => Outcome::Reported,
        _ if !has(misuse::DONE) => Outcome::Stopped,
        _ if !has(misuse::SOUND) => Outcome::Late,
        _ if said => Outcome::Reported,
        _ => Outcome::Ignored,
    })
}

/// Without addresses, which differ from run to run.
fn without_addresses(line: &str) -> String {
    let address = Regex::new("0x[0-9a-fA-F]+").expect("the pattern is valid");
    address.replace_all(line, "0x…").chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    fn process(stdout: &str, stderr: &str, status: i32) -> Result<Outcome> {
        let (stdout, stderr) = (stdout.into(), stderr.into());
        outcome(&Finished { status: ExitStatus::from_raw(status), stdout, stderr })
    }

    #[test]
    fn outcomes_follow_from_what_was_said_and_when_it_ended() {
        let is = |result: Result<Outcome>| result.expect("the act was announced");
        assert_eq!(is(process("act\n", "free(): invalid pointer", 6)), Outcome::Reported);
        assert_eq!(is(process("act\n", "", 11)), Outcome::Stopped);
        assert_eq!(is(process("act\ndone\n", "corrupted list", 6)), Outcome::Late);
        assert_eq!(is(process("act\ndone\nsound\n", "", 0)), Outcome::Ignored);
        assert_eq!(is(process("act\ndone\nsound\n", "warning", 0)), Outcome::Reported);
        assert_eq!(is(process("act\ndone\ncorrupted: x\n", "warning", 0)), Outcome::Corrupted);
        assert_eq!(is(process("act\ndone\n", "", 14)), Outcome::Hung);
        assert_eq!(is(process("reused\n", "", 0)), Outcome::Reused);
        assert!(process("", "no memory", 6).is_err());
    }

    #[test]
    fn lines_say_the_same_in_every_run() {
        let line = without_addresses("genesis-mem: double free at 0x7f12, block of 64 bytes");
        assert_eq!(line, "genesis-mem: double free at 0x…, block of 64 bytes");
    }
}
