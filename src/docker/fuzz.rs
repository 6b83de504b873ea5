//! Fuzz target of `.dockerignore`, which an app brings along.

use super::Ignore;

/// The first line is a path, the rest are the rules: they are decided, and in time.
pub fn dockerignore(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (path, rules) = text.split_once('\n').unwrap_or((text, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let ignore = Ignore::parse(rules);
    let out = ignore.leaves_out(&parts);
    assert!(!out || !rules.is_empty());
}
