//! The same work on the system's allocator, in a process of its own.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use super::Done;

const PROGRAM: &str = "genesis-mem-demo-system";

/// What to do where it is not there.
pub(super) const MISSING: &str = "\
The system's allocator is not compared: genesis-mem-demo-system is not beside this program. Build \
both with `cargo build --release -p genesis-mem`.";

/// Does the work there; `None` where the program is not there and cannot be built.
pub(super) fn run(folder: &Path, rounds: u32) -> anyhow::Result<Option<Done>> {
    let beside = env::current_exe().context("where am I?")?.with_file_name(PROGRAM);
    if !(beside.is_file() || build(&beside)) {
        return Ok(None);
    }
    let mut command = Command::new(&beside);
    command.arg(folder).args(["--rounds", &rounds.to_string()]);
    // Whatever is preloaded would be measured instead.
    let output = command.env_remove("LD_PRELOAD").stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {}", beside.display()))?;
    ensure!(output.status.success(), "{PROGRAM} failed: {}", output.status);
    Ok(Some(serde_json::from_slice(&output.stdout).context("no results from the other process")?))
}

/// Has cargo build it, where cargo runs us: `cargo run` builds one program only.
fn build(program: &Path) -> bool {
    let (Some(cargo), Some(manifest)) = (env::var_os("CARGO"), env::var_os("CARGO_MANIFEST_DIR"))
    else {
        return false;
    };
    // TARGET/PROFILE/PROGRAM
    let Some(profile_folder) = program.parent() else { return false };
    let (Some(profile), Some(target)) = (profile_folder.file_name(), profile_folder.parent())
    else {
        return false;
    };
    let profile = if profile == "debug" { "dev".as_ref() } else { profile };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--bin", PROGRAM, "--profile"]).arg(profile);
    command.arg("--target-dir").arg(target).current_dir(PathBuf::from(manifest));
    command.status().is_ok_and(|status| status.success()) && program.is_file()
}
