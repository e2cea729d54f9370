//! What a process that went well has said.

use std::process::Output;

/// The process must have succeeded. Returns what it said on stderr.
pub(crate) fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{printed}\n{said}", output.status);
    said
}
