//! What a verb prints: results on standard output, failures on standard error
//! with an exit code that scripts can tell apart.

use std::io::Write;
use std::process::ExitCode;

use super::style::{self, Style};
use crate::wire::problem::{Problem, ProblemKind};

/// What each exit code says, as `freehold --help` and docs/cli.md list them.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done"),
    (
        1,
        "failed: something outside (engine, registry, store, git host), or a fault of Freehold's",
    ),
    (
        2,
        "not valid: what was typed, or a name that was not confirmed",
    ),
    (3, "not found: there is no such app, database, backup …"),
    (
        4,
        "refused: not signed in, not allowed, or the state of things forbids it now",
    ),
    (
        5,
        "unreachable: the daemon does not answer, or its certificate is not trusted",
    ),
    (
        6,
        "ended badly: a deploy, backup, restore or other work was started and did not succeed",
    ),
];

/// Why a verb failed.
#[derive(Debug)]
pub enum Fail {
    /// The daemon said why.
    Problem(Box<Problem>),
    /// The daemon could not be reached: exit 5.
    Unreachable(String),
    /// Something did not work, as said: exit 1.
    Failed(String),
    /// Work that was started ended badly, as already shown: exit 6.
    Ended(String),
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

    /// There is no such thing: exit 3.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::Problem(Box::new(Problem::new(ProblemKind::NotFound, what)))
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Problem(problem) => problem.kind.exit_code(),
            Self::Unreachable(_) => 5,
            Self::Failed(_) => 1,
            Self::Ended(_) => 6,
        }
    }

    /// For programs: a problem as the API has them, with the exit code.
    fn as_json(&self) -> serde_json::Value {
        let (kind, title, detail) = match self {
            Self::Problem(problem) => {
                let mut value = serde_json::to_value(problem).unwrap_or_default();
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("exit".into(), self.exit_code().into());
                }
                return value;
            }
            Self::Unreachable(why) => ("unreachable", "The daemon does not answer", why),
            Self::Failed(why) => ("failed", "That did not work", why),
            Self::Ended(why) => ("ended-badly", "The work ended badly", why),
        };
        serde_json::json!({
            "type": format!("urn:freehold:problem:{kind}"),
            "title": title,
            "detail": detail,
            "kind": kind,
            "exit": self.exit_code(),
        })
    }

    fn words(&self) -> String {
        match self {
            Self::Problem(problem) if problem.remedy.is_empty() => sentence(&problem.detail),
            Self::Problem(problem) => {
                format!("{}\n  {}", sentence(&problem.detail), problem.remedy)
            }
            Self::Unreachable(why) | Self::Failed(why) | Self::Ended(why) => sentence(why),
        }
    }

    /// Prints the failure; its exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        let mut out = std::io::stderr().lock();
        let written = match json {
            true => writeln!(out, "{}", self.as_json()),
            false => writeln!(
                out,
                "{} {}",
                style::stderr().paint("error:", Style::Bad),
                self.words()
            ),
        };
        match written {
            Ok(()) => ExitCode::from(self.exit_code()),
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

/// Says on standard error how it goes, so that what programs read stays what it is.
pub fn note(text: &str) {
    let note = style::stderr().paint("note:", Style::Warn);
    if writeln!(std::io::stderr().lock(), "{note} {}", sentence(text)).is_err() {
        tracing::trace!("nobody reads notes");
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

/// The value for programs, or words for people.
pub fn either(json_wanted: bool, value: &impl serde::Serialize, words: impl FnOnce()) {
    if json_wanted {
        json(value);
    } else {
        words();
    }
}

/// Rows in columns; the first row is the heading. On a terminal they fit its width, and states have colours.
pub fn table(rows: &[Vec<String>]) {
    for row in style::layout(rows, style::stdout()) {
        line(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_every_failure_has_a_documented_code_and_says_it_to_programs() {
        let problem = |kind| Fail::Problem(Box::new(Problem::new(kind, "why")));
        let all = [
            (problem(ProblemKind::Internal), 1),
            (problem(ProblemKind::Outside), 1),
            (Fail::Failed("why".into()), 1),
            (Fail::usage("why"), 2),
            (Fail::not_found("why"), 3),
            (problem(ProblemKind::Conflict), 4),
            (problem(ProblemKind::SignIn), 4),
            (Fail::Unreachable("why".into()), 5),
            (Fail::Ended("why".into()), 6),
        ];
        for (fail, code) in all {
            assert_eq!(fail.exit_code(), code, "{fail:?}");
            assert!(EXIT_CODES.iter().any(|(known, _)| *known == code));
            let json = fail.as_json();
            assert_eq!(json["exit"], code);
            assert_eq!(json["detail"], "why");
            assert!(json["type"].as_str().unwrap().starts_with("urn:freehold:"));
            assert_eq!(fail.words(), "why.");
        }
    }
}
