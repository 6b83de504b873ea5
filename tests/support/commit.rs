//! The commit that figures are of.

use std::process::Command;

/// Figures themselves, which a run before this one may have written: they are no part of what is tested.
const FIGURES: [&str; 2] = [":!benches/README.md", ":!benches/*/results.json"];

/// Of the tree that is tested, with a plus where it is not quite that; "unknown" where nobody can say.
pub fn tested() -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments);
        let out = git.output().ok().filter(|out| out.status.success());
        out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let status = ["status", "--porcelain", "--untracked-files=no", "--", "."];
    let changed = git(&[&status[..], &FIGURES].concat());
    let plus = if changed.as_deref() == Some("") {
        ""
    } else {
        "+"
    };
    let head = git(&["rev-parse", "--short=9", "HEAD"]);
    head.map_or_else(|| "unknown".to_owned(), |head| format!("{head}{plus}"))
}
