//! A mistake in a settings file: which file, line and key, what is wrong, what to do.
//!
//! Turns what the TOML reader says into that form: it knows the place as a
//! range of bytes, and unknown names as a list to choose from.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why the settings were refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file with the mistake.
    pub file: PathBuf,
    /// Its line, from 1; `None` when the file as a whole is meant.
    pub line: Option<usize>,
    /// The setting, such as `listen.http`.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ", `{key}`")?;
        }
        write!(f, ": {}. {}", self.what, self.remedy)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            key: None,
            what: format!("the file cannot be read ({error})"),
            remedy: "See that it exists and that the user of the daemon may read it.".into(),
        }
    }

    /// A mistake the reader of TOML found.
    pub(super) fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map(|span| span.start.min(text.len()));
        let line = at.map(|at| line_at(text, at));
        let key = line.and_then(|line| key_on(text, line));
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let (what, remedy) = match unknown_field(&message) {
            Some((wrong, known)) => (
                format!("there is no setting `{wrong}` here"),
                match nearest(&wrong, &known) {
                    Some(right) => format!("Did you mean `{right}`?"),
                    None if known.is_empty() => "Remove the line.".into(),
                    None => format!("The settings here are {}.", known.join(", ")),
                },
            ),
            None => (
                message.trim_end_matches('.').to_owned(),
                "Correct the line; docs/config.toml shows every setting with its default.".into(),
            ),
        };
        Self {
            file: file.to_owned(),
            line,
            key,
            what,
            remedy,
        }
    }

    /// A mistake found after reading, in `section` (empty: before the first) at `key`.
    pub(super) fn at(
        file: &Path,
        text: &str,
        section: &str,
        key: &str,
        what: &str,
        remedy: &str,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line: line_of(text, section, key),
            key: Some(if section.is_empty() {
                key.to_owned()
            } else {
                format!("{section}.{key}")
            }),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}

/// The line of the byte `at`, from 1.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
        + 1
}

fn header(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix('[')?;
    let name = name.strip_prefix('[').unwrap_or(name);
    Some(name.split(']').next().unwrap_or(name).trim())
}

fn assigned(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    (!key.is_empty() && !key.starts_with(['"', '{', '['])).then_some(key)
}

/// The setting on `line`, with its section.
fn key_on(text: &str, line: usize) -> Option<String> {
    let mut section = "";
    for (at, content) in text.lines().enumerate().take(line) {
        if let Some(name) = header(content) {
            section = name;
            if at + 1 == line {
                return Some(name.to_owned());
            }
        } else if at + 1 == line {
            let key = assigned(content)?;
            return Some(if section.is_empty() {
                key.to_owned()
            } else {
                format!("{section}.{key}")
            });
        }
    }
    None
}

/// The line where `key` of `section` is set, else the section's own.
fn line_of(text: &str, section: &str, key: &str) -> Option<usize> {
    let mut inside = section.is_empty();
    let mut found = None;
    for (at, content) in text.lines().enumerate() {
        if let Some(name) = header(content) {
            inside = name == section;
            if inside {
                found = Some(at + 1);
            }
        } else if inside && assigned(content) == Some(key) {
            return Some(at + 1);
        }
    }
    found
}

/// From serde's "unknown field `a`, expected one of `b`, `c`".
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (wrong, rest) = rest.split_once('`')?;
    let known = rest
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    Some((wrong.to_owned(), known))
}

fn nearest<'a>(wrong: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|right| (distance(wrong, right), right))
        .filter(|(far, right)| *far <= 1 + right.len() / 3)
        .min_by_key(|(far, _)| *far)
        .map(|(_, right)| right.as_str())
}

/// Letters to insert, remove or change to get from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f5_a_near_miss_is_named() {
        let known = ["http".to_owned(), "https".to_owned(), "email".to_owned()];
        assert_eq!(nearest("emial", &known), Some("email"));
        assert_eq!(nearest("htpps", &known), Some("https"));
        assert_eq!(nearest("zzzzzzzz", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn f5_lines_and_keys_are_found() {
        let text = "a = 1\n[listen]\n# http = 2\nhttp = 3\n[x]\nhttp = 4\n";
        assert_eq!(line_of(text, "listen", "http"), Some(4));
        assert_eq!(line_of(text, "listen", "https"), Some(2));
        assert_eq!(line_of(text, "", "a"), Some(1));
        assert_eq!(key_on(text, 6).as_deref(), Some("x.http"));
        assert_eq!(line_at(text, 6), 2);
    }
}
