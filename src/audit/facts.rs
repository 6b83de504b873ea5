//! How something stands, and what differs between two moments. Pure.
//!
//! A secret takes part as its digest, which is compared and then forgotten: what
//! is written down is [`MASK`] and whether it is another one now.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::base::secret::{Secret, sha256_hex};

/// Stands for a secret.
pub const MASK: &str = "•••";
/// Stands for a secret that is another one now.
pub const OTHER: &str = "••• (another one)";
/// Fields written down of one change.
const FIELDS: usize = 60;
/// Characters written down of a value.
const VALUE: usize = 300;

/// One thing that is so.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fact {
    Plain(Value),
    /// Its digest.
    Secret(String),
}

/// How something stands, field by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, Fact>);

impl Facts {
    /// A field; `null` is no field.
    pub fn set(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        match value.into() {
            Value::Null => {}
            value => {
                self.0.insert(field.into(), Fact::Plain(short(value)));
            }
        }
    }

    /// A field whose value is told to nobody; an empty one is no field.
    pub fn secret(&mut self, field: impl Into<String>, value: &Secret) {
        if !value.expose().is_empty() {
            let digest = sha256_hex(value.expose().as_bytes());
            self.0.insert(field.into(), Fact::Secret(digest));
        }
    }
}

fn short(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(cut(&text, VALUE)),
        Value::Array(_) | Value::Object(_) => {
            let text = value.to_string();
            match text.chars().count() <= VALUE {
                true => value,
                false => Value::String(cut(&text, VALUE)),
            }
        }
        other => other,
    }
}

/// The text, cut short, in one line.
pub fn cut(text: &str, longest: usize) -> String {
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(longest).map(one_line).collect();
    if text.chars().nth(longest).is_some() {
        short.push('…');
    }
    short
}

/// What differs: the fields as they were, and as they are.
pub fn differences(before: &Facts, after: &Facts) -> (Map<String, Value>, Map<String, Value>) {
    let (mut was, mut became) = (Map::new(), Map::new());
    let names: std::collections::BTreeSet<&String> =
        before.0.keys().chain(after.0.keys()).collect();
    let mut more = 0_usize;
    for name in names {
        let (old, new) = (before.0.get(name), after.0.get(name));
        if old == new {
            continue;
        }
        if was.len().max(became.len()) >= FIELDS {
            more += 1;
            continue;
        }
        if let Some(old) = old {
            was.insert(name.clone(), told(old, false));
        }
        if let Some(new) = new {
            let changed = matches!(old, Some(Fact::Secret(_)));
            became.insert(name.clone(), told(new, changed));
        }
    }
    if more > 0 {
        became.insert("…".into(), format!("{more} more fields differ").into());
    }
    (was, became)
}

fn told(fact: &Fact, changed: bool) -> Value {
    match fact {
        Fact::Plain(value) => value.clone(),
        Fact::Secret(_) if changed => OTHER.into(),
        Fact::Secret(_) => MASK.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(branch: &str, key: &str) -> Facts {
        let mut facts = Facts::default();
        facts.set("git_branch", branch);
        facts.set("git_url", Value::Null);
        facts.secret("env.API_KEY", &Secret::new(key));
        facts
    }

    #[test]
    fn a5_only_what_differs_is_told_and_secrets_are_masked() {
        let (was, became) = differences(&facts("main", "s3cret"), &facts("main", "s3cret"));
        assert!(was.is_empty() && became.is_empty());
        let (was, became) = differences(&facts("main", "s3cret"), &facts("next", "t0psecret"));
        assert_eq!(
            Value::Object(was.clone()),
            json!({"env.API_KEY": MASK, "git_branch": "main"})
        );
        assert_eq!(
            Value::Object(became.clone()),
            json!({"env.API_KEY": OTHER, "git_branch": "next"})
        );
        let text = format!("{was:?}{became:?}");
        for leak in ["s3cret", "t0psecret", &sha256_hex(b"s3cret")] {
            assert!(!text.contains(leak), "{text}");
        }
        // Made and taken away: on one side only.
        let (was, became) = differences(&Facts::default(), &facts("main", "s3cret"));
        assert!(was.is_empty());
        assert_eq!(became["env.API_KEY"], json!(MASK));
        let (was, became) = differences(&facts("main", "s3cret"), &facts("main", ""));
        assert_eq!(was["env.API_KEY"], json!(MASK));
        assert!(became.is_empty());
    }

    #[test]
    fn a5_a_change_of_everything_is_bounded() {
        let mut after = Facts::default();
        for n in 0..5_000 {
            after.set(format!("domain.{n:04}"), "x".repeat(10_000));
        }
        let (_, became) = differences(&Facts::default(), &after);
        assert_eq!(became["…"], json!("4940 more fields differ"));
        assert!(Value::Object(became).to_string().len() < 40_000);
    }
}
