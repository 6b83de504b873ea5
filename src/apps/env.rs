//! Environment names, values and the files they are imported from.
//!
//! Values are kept and given to the container byte for byte: no shell and no
//! file format stands in between. Only [`read_file`] knows quoting, and only
//! where a value begins with a quote.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::secret::Secret;

use super::error::AppError;

/// The longest `NAME=value` that the kernel gives to a process.
const LONGEST: usize = 128 * 1024 - 1;

/// A name a process can be given and the app may choose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvName(String);

impl EnvName {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`AppError::Invalid`] with what is allowed.
    pub fn parse(text: &str) -> Result<Self, AppError> {
        let shape = text.len() <= 200
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let shown: String = text.chars().take(60).collect();
        if !shape {
            return Err(AppError::Invalid(format!(
                "\"{shown}\" cannot be the name of an environment variable: use letters, digits and underscores, beginning with a letter, such as API_KEY."
            )));
        }
        if text == "PORT" || text.starts_with("FREEHOLD_") {
            return Err(AppError::Invalid(format!(
                "{shown} is given to the app by Freehold: set `port` of the process in freehold.toml instead."
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a process can be given `value`.
pub(super) fn check_value(name: &EnvName, value: &Secret) -> Result<(), AppError> {
    if value.expose().contains('\0') {
        return Err(AppError::Invalid(format!(
            "the value of {name} holds a zero byte, which no environment can: encode it, for example as base64."
        )));
    }
    if name.as_str().len() + 1 + value.expose().len() > LONGEST {
        return Err(AppError::Invalid(format!(
            "the value of {name} is longer than 128 KB, the most Linux gives to a process: put it into a file or a volume."
        )));
    }
    Ok(())
}

/// Reads `NAME=value` as given on a command line: everything after the first `=`.
///
/// # Errors
/// [`AppError::Invalid`] when there is no `=` or the name is not valid.
pub fn read_pair(text: &str) -> Result<(EnvName, Secret), AppError> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        AppError::Invalid(format!(
            "\"{}\" has no \"=\": write NAME=value.",
            text.chars().take(60).collect::<String>()
        ))
    })?;
    Ok((EnvName::parse(name)?, Secret::new(value)))
}

/// Reads a file of `NAME=value` lines. A value runs to the end of its line
/// exactly as it stands; one that begins with `'` runs to the next `'`, one
/// that begins with `"` to the next `"` with `\n \r \t \" \\ \$` meant, both
/// over several lines if need be. `export ` before a name, empty lines and
/// lines that begin with `#` are passed over.
///
/// # Errors
/// [`AppError::Invalid`] naming the line.
pub fn read_file(text: &str) -> Result<BTreeMap<EnvName, Secret>, AppError> {
    let mut all = BTreeMap::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        let bad = |why: String| AppError::Invalid(format!("line {line}: {why}"));
        let end = rest.find('\n').unwrap_or(rest.len());
        let trimmed = rest[..end].trim_start_matches([' ', '\t']);
        if trimmed.trim_end().is_empty() || trimmed.starts_with('#') {
            rest = after(rest, end);
            continue;
        }
        let start = end - trimmed.len();
        let (name, _) = trimmed
            .split_once('=')
            .ok_or_else(|| bad("there is no \"=\"; write NAME=value".to_owned()))?;
        let value_at = start + name.len() + 1;
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        let name = EnvName::parse(name).map_err(|e| bad(e.to_string()))?;
        let value = &rest[value_at..];
        let (value, used) = match value.as_bytes().first() {
            Some(b'\'') => single(value).map_err(bad)?,
            Some(b'"') => double(value).map_err(bad)?,
            _ => {
                let raw = &rest[value_at..end];
                (raw.strip_suffix('\r').unwrap_or(raw).to_owned(), raw.len())
            }
        };
        let tail = &rest[value_at + used..];
        let end = tail.find('\n').unwrap_or(tail.len());
        let left = tail[..end].trim();
        if !left.is_empty() && !left.starts_with('#') {
            return Err(bad(format!(
                "something follows the closing quote of {name}"
            )));
        }
        rest = after(tail, end);
        all.insert(name, Secret::new(value));
    }
    Ok(all)
}

fn after(text: &str, end: usize) -> &str {
    text.get(end + 1..).unwrap_or_default()
}

fn single(text: &str) -> Result<(String, usize), String> {
    match text[1..].find('\'') {
        Some(at) => Ok((text[1..=at].to_owned(), at + 2)),
        None => Err("the closing ' is missing".into()),
    }
}

fn double(text: &str) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, at + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\' | '$'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("the closing \" is missing".into())
}

/// Writes what [`read_file`] reads back to the same values.
pub fn write_file<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in all {
        text.push_str(name);
        text.push('=');
        if value.contains(['\n', '\r']) || value.starts_with(['"', '\'']) {
            text.push('"');
            for c in value.chars() {
                match c {
                    '"' | '\\' => text.extend(['\\', c]),
                    '\n' => text.push_str("\\n"),
                    '\r' => text.push_str("\\r"),
                    c => text.push(c),
                }
            }
            text.push('"');
        } else {
            text.push_str(value);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String)> {
        read_file(text)
            .unwrap()
            .into_iter()
            .map(|(n, v)| (n.to_string(), v.expose().to_owned()))
            .collect()
    }

    #[test]
    fn f4_values_with_dollars_quotes_and_equals_stay_as_they_are() {
        let text = "# c\n\nA=$x\"y'z\\n = #1 \nexport B='a\n$b'\nC=\"l1\\nl2 \\\"q\\\" \\$\"  # c\r\nD=\nE=crlf\r\n";
        let all: Vec<(String, String)> = read(text);
        let expected = [
            ("A", "$x\"y'z\\n = #1 "),
            ("B", "a\n$b"),
            ("C", "l1\nl2 \"q\" $"),
            ("D", ""),
            ("E", "crlf"),
        ];
        let expected: Vec<(String, String)> = expected
            .into_iter()
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn f4_a_bad_line_is_named() {
        for (text, part) in [
            ("A=1\nnonsense\n", "line 2"),
            ("A='x\n\ny", "line 1: the closing '"),
            ("\n\nB=\"x\" y", "line 3: something follows"),
            ("PORT=1", "line 1: PORT is given"),
            ("1A=x", "line 1"),
        ] {
            let error = read_file(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn f4_values_no_process_can_have_are_refused() {
        let name = EnvName::parse("A").unwrap();
        assert!(check_value(&name, &Secret::new("a\0b")).is_err());
        assert!(check_value(&name, &Secret::new("x".repeat(LONGEST))).is_err());
        assert!(check_value(&name, &Secret::new("x".repeat(LONGEST - 2))).is_ok());
    }

    proptest! {
        #[test]
        fn f4_any_value_survives_a_file(
            values in proptest::collection::btree_map("[A-Z_]{1,3}X", "\\PC*|[\\s\"'\\\\$#=a]*", 0..5)
        ) {
            let text = write_file(values.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let back = read(&text);
            let given: Vec<(String, String)> = values.into_iter().collect();
            prop_assert_eq!(back, given);
        }

        #[test]
        fn f4_no_file_panics(text in "\\PC*|[\\sA-C=\"'\\\\#]*") {
            if let Ok(all) = read_file(&text) {
                prop_assert!(all.len() <= text.len());
            }
        }

        #[test]
        fn f4_a_pair_keeps_everything_after_the_first_equals(value in "\\PC*") {
            let (_, read) = read_pair(&format!("A={value}")).unwrap();
            prop_assert_eq!(read.expose(), value);
        }
    }
}
