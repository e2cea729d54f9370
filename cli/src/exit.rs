//! How the program ends.

use std::{io, process::ExitCode};

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0         it went well
  1         it failed; stderr says why
  2         the command line is wrong
  3         `replay`: a request could not be served
  23        `run --leaks`, `report --leaks`: something leaked
  and of `run`:
  127       the program was not found
  126       the program cannot be run
  128 + N   the program was ended by signal N
  any       the program's own";

/// Something leaked.
pub(crate) const LEAKED: Exit = Exit(23);

/// An exit code that says all there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

/// The exit code of what was done; says on stderr what went wrong.
pub(crate) fn report(done: anyhow::Result<Exit>) -> ExitCode {
    match done {
        Ok(Exit(code)) => ExitCode::from(code),
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("genesis-mem: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}
