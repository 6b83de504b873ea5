//! What a verb prints: results on standard output, failures on standard error
//! with an exit code that scripts can tell apart.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::wire::problem::{Problem, ProblemKind};

/// Why a verb failed.
#[derive(Debug)]
pub enum Fail {
    /// The daemon said why.
    Problem(Box<Problem>),
    /// The daemon could not be reached: exit 5.
    Unreachable(String),
    /// The work ended badly, as already shown: exit 1.
    Failed(String),
}

impl Fail {
    /// A fault of this program.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Problem(Box::new(Problem::new(ProblemKind::Internal, what)))
    }

    /// Something the person typed is not valid: exit 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::Problem(Box::new(Problem::new(ProblemKind::Invalid, what)))
    }

    /// Prints the failure; its exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        let mut out = std::io::stderr().lock();
        let (code, written) = match self {
            Self::Problem(problem) if json => (
                problem.kind.exit_code(),
                writeln!(
                    out,
                    "{}",
                    serde_json::to_string(problem).unwrap_or_default()
                ),
            ),
            Self::Problem(problem) => {
                let mut text = format!("error: {}", sentence(&problem.detail));
                if !problem.remedy.is_empty() {
                    text.push_str(&format!("\n  {}", problem.remedy));
                }
                (problem.kind.exit_code(), writeln!(out, "{text}"))
            }
            Self::Unreachable(why) => (5, writeln!(out, "error: {}", sentence(why))),
            Self::Failed(why) => (1, writeln!(out, "error: {}", sentence(why))),
        };
        match written {
            Ok(()) => ExitCode::from(code),
            Err(_) => ExitCode::FAILURE,
        }
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?', '`']) || text.contains('\n') {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

/// Prints a line on standard output. A closed pipe (`| head`) ends the program quietly.
pub fn line(text: impl std::fmt::Display) {
    if writeln!(std::io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Asks on the terminal; what was typed, empty when nobody can.
pub fn ask(question: &str) -> String {
    let mut out = std::io::stderr().lock();
    if write!(out, "{question}")
        .and_then(|()| out.flush())
        .is_err()
    {
        return String::new();
    }
    let mut typed = String::new();
    match std::io::stdin().read_line(&mut typed) {
        Ok(_) => typed,
        Err(_) => String::new(),
    }
}

/// Prints `value` as JSON on standard output.
pub fn json(value: &impl serde::Serialize) {
    line(serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Whether colour and live redrawing make sense.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Rows in columns as wide as needed; the first row is the heading.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| {
            rows.iter()
                .filter_map(|r| r.get(c))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(c, cell)| {
                format!(
                    "{cell:<width$}",
                    width = widths.get(c).copied().unwrap_or(0)
                )
            })
            .collect();
        line(cells.join("  ").trim_end());
    }
}
