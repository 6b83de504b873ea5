//! The table of bad inputs, row by row against the real daemon, and the page
//! made from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

#[path = "support/quiet.rs"]
mod quiet;

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    what: String,
    args: Vec<String>,
    exit: i32,
    says: String,
}

fn table() -> Table {
    toml::from_str(include_str!("bad_input.toml")).unwrap()
}

#[test]
fn every_bad_input_gets_its_code_and_a_sentence_that_helps() {
    let daemon = quiet::Daemon::start();
    let mut wrong = Vec::new();
    for row in table().row {
        let out = Command::new(env!("CARGO_BIN_EXE_freehold"))
            .args(&row.args)
            .env("FREEHOLD_SOCKET", daemon.socket("freehold.sock"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        if out.status.code() != Some(row.exit) || !said.contains(&row.says) {
            wrong.push(format!(
                "{}: freehold {} ended with {:?} and said: {said}",
                row.what,
                row.args.join(" "),
                out.status.code()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nobody_listening_is_told_with_the_remedy() {
    let out = Command::new(env!("CARGO_BIN_EXE_freehold"))
        .args(["app", "list"])
        .env("FREEHOLD_SOCKET", "/nonexistent/freehold.sock")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(5));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("systemctl status freehold"), "{said}");
}

/// `FREEHOLD_WRITE_DOCS=1` makes the page anew.
#[test]
fn the_page_of_errors_is_made_from_the_table() {
    let mut page = String::from(
        "# What Freehold says to what is not right\n\n\
         Made from `tests/bad_input.toml`, which the tests run row by row. Exit codes: 0 done, 1 failed, 2 bad usage or\n\
         input, 3 not found, 4 refused, 5 unreachable. Over the API the same sentences come as RFC 9457 problems.\n\n\
         | what | typed | exit | the sentence has |\n|---|---|---|---|\n",
    );
    let mut seen = BTreeSet::new();
    for row in table().row.into_iter().filter(|r| r.exit != 0) {
        assert!(seen.insert(row.what.clone()), "{} stands twice", row.what);
        let typed = format!("freehold {}", row.args.join(" "));
        writeln!(
            page,
            "| {} | `{typed}` | {} | {} |",
            row.what, row.exit, row.says
        )
        .unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    if std::env::var_os("FREEHOLD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept, page,
        "run FREEHOLD_WRITE_DOCS=1 cargo test --test bad_input"
    );
}
