//! Tests that need a process of their own: they run the test binary again, for that test only.

use std::{
    env,
    process::{Command, Output},
};

const ALONE: &str = "GENESIS_TEST_ALONE";

/// Runs `work` in a process where nothing but the test named `test` runs, with `variables` in its
/// environment. In that process it returns `None`, in the first one what the process left.
pub(crate) fn output(
    test: &str,
    variables: &[(&str, &str)],
    work: impl FnOnce(),
) -> Option<Output> {
    if env::var_os(ALONE).is_some() {
        work();
        return None;
    }
    let program = env::current_exe().expect("the test binary has a path");
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .envs(variables.iter().copied())
        .output()
        .expect("the test binary runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("running 1 test"), "no test is called {test}:\n{printed}");
    Some(output)
}
