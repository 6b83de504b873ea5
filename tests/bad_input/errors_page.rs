//! `docs/errors.md`, made from the table: a section a surface, a line a row.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::table::{Deploy, Table};

const HEAD: &str = "\
# What Freehold says to what is not right, and what to do then

Nothing on this page changes anything: what served goes on serving, what was stored stays stored. Every line is run by
the tests, which make this page from `tests/bad_input.toml`. In a sentence, … stands for what is different each time.

The command's exit codes: 0 done, 1 failed, 2 not valid, 3 not found, 4 refused, 5 the daemon does not answer, 6 work that
was started ended badly ([cli.md](cli.md) has all). The API answers with RFC 9457 problems that have the same sentences;
its kinds and the exit codes belong together.
";

/// The whole page.
pub fn page(table: &Table) -> String {
    let mut page = Page {
        text: HEAD.to_owned(),
        seen: BTreeSet::new(),
    };
    page.section(
        "A deploy that fails",
        "The release before serves on. `freehold deploys APP --follow` shows the whole log again, the app's page does too.",
    );
    for row in &table.deploy {
        page.row(&row.what, &deployed(row), &row.says, "", &row.next);
    }
    page.section(
        "A full disk",
        "Apps and databases that run go on; the daemon stays up and works again once there is space, with nothing by hand.",
    );
    for row in &table.disk {
        let typed = typed(&row.args);
        page.row(&row.what, &typed, &row.says, &exit(row.exit), &row.next);
    }
    page.section(
        "The Docker engine does not answer",
        "Apps that run go on serving. Freehold looks for the engine all the time and goes on when it is back.",
    );
    for row in &table.engine {
        let typed = typed(&row.args);
        page.row(&row.what, &typed, &row.says, &exit(row.exit), &row.next);
    }
    page.section(
        "A backup target that cannot be used",
        "A target is tried out before it is added; one that fails is not added.",
    );
    for row in &table.target {
        let typed = typed(&row.args);
        page.row(&row.what, &typed, &row.says, &exit(row.exit), &row.next);
    }
    page.section(
        "A backup that fails",
        "It is shown as failed, tried again by itself, and leaves no part of an object behind. Older backups stay.",
    );
    for row in &table.backup {
        page.row(&row.what, "", &row.says, "", &row.next);
    }
    page.section(
        "A push that starts nothing",
        "Each that came whole is a line on the app's activity.",
    );
    for row in &table.hook {
        page.row(&row.what, "", &row.says, &status(row.status, ""), &row.next);
    }
    page.section(
        "A request that is not let through",
        "Answered by the proxy before an app is asked, with a request id. What could be read in two ways is read in none: the connection ends with the answer.",
    );
    for row in &table.edge {
        let answer = format!("status {}", row.answer);
        page.row(&row.what, "", &row.says, &answer, &row.next);
    }
    page.section(
        "A request over HTTP/2 that is not let through",
        "Where it is certain which stream is meant, that one is reset and the others go on; else the connection ends.",
    );
    for row in &table.edge_http2 {
        let answer = match row.answer.split_once(' ') {
            Some(("goaway", code)) => format!("the connection ends with {code}"),
            Some((_, code)) => format!("the stream is reset with {code}"),
            None => format!("status {}", row.answer),
        };
        page.row(&row.what, "", &row.says, &answer, &row.next);
    }
    page.section("At the command line", "");
    for row in &table.cli {
        let typed = typed(&row.args);
        page.row(&row.what, &typed, &row.says, &exit(row.exit), &row.next);
    }
    page.section(
        "In the dashboard",
        "What was typed stays in the form, with the sentence beside it.",
    );
    for row in &table.page {
        let form = format!("`{}`", row.path);
        page.row(&row.what, &form, &row.says, "", &row.next);
    }
    page.section("Over the API", "");
    for row in &table.api {
        let asked = format!("`{} {}`", row.method, row.path);
        let answered = status(row.status, &row.kind);
        page.row(&row.what, &asked, &row.says, &answered, &row.next);
    }
    page.text
}

struct Page {
    text: String,
    /// What happened, in this section.
    seen: BTreeSet<String>,
}

impl Page {
    fn section(&mut self, title: &str, lead: &str) {
        self.seen.clear();
        write!(self.text, "\n## {title}\n").unwrap();
        if !lead.is_empty() {
            write!(self.text, "\n{lead}\n").unwrap();
        }
        self.text
            .push_str("\n| what happened | what you see | what to do next |\n|---|---|---|\n");
    }

    /// A row that prepares others has nothing to do next and is left out.
    fn row(&mut self, what: &str, how: &str, says: &str, answer: &str, next: &str) {
        if next.is_empty() {
            return;
        }
        assert!(
            self.seen.insert(what.to_owned()),
            "\"{what}\" stands twice in its section"
        );
        let how = match how.is_empty() {
            true => String::new(),
            false => format!("<br>{how}"),
        };
        let told = match (says, answer) {
            ("", answer) => answer.to_owned(),
            (says, "") => cell(says),
            (says, answer) => format!("{} ({answer})", cell(says)),
        };
        writeln!(self.text, "| {what}{how} | {told} | {} |", cell(next)).unwrap();
    }
}

fn deployed(row: &Deploy) -> String {
    if row.args.is_empty() {
        return String::new();
    }
    let args: Vec<&str> = row.args.iter().map(String::as_str).collect();
    typed(&[&["deploy", "--app", "shop"], args.as_slice()].concat())
}

fn typed(args: &[impl AsRef<str>]) -> String {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    format!("`freehold {}`", unfilled(&args.join(" ")))
}

fn exit(code: i32) -> String {
    format!("exit {code}")
}

fn status(code: u16, kind: &str) -> String {
    match kind {
        "" => format!("status {code}"),
        kind => format!("status {code}, `{kind}`"),
    }
}

/// One line of a table; names that the tests fill in become ….
fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    unfilled(&line).replace('|', "\\|").replace('<', "&lt;")
}

fn unfilled(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        shown.push_str(before);
        match name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            true => shown.push('…'),
            false => shown.push_str(&format!("{{{name}}}")),
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}
