//! The page's live log when the daemon starts again: 502, 503 and a cut in the middle of a line pass, and each line is there
//! once. The script is run by node with a server of its own making; in a browser it is shown in first light.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn f4_the_live_log_goes_on_after_bad_answers_and_cuts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Command::new("node")
        .arg(root.join("tests/live_log.mjs"))
        .arg(root.join("static/app.js"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
}
