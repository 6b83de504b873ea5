//! Fuzz target of addresses, branches and commit ids: what passes is safe as an argument of git, and stays what it is.

use super::{Branch, CommitId, GitUrl};

/// What is accepted is its own normal form, holds no blank and no control character, and is no option.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let safe = |text: &str| {
        !text.starts_with('-') && !text.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    match GitUrl::parse(text) {
        Ok(url) => {
            assert_eq!(GitUrl::parse(url.as_str()).as_ref(), Ok(&url), "{text:?}");
            assert!(safe(url.as_str()) && url.origin().ends_with('/'), "{url}");
        }
        Err(error) => assert!(!error.0.is_empty()),
    }
    if let Ok(branch) = Branch::parse(text) {
        assert!(safe(branch.as_str()) && branch.as_str() == text);
    }
    if let Ok(commit) = CommitId::parse(text) {
        assert!(safe(commit.as_str()) && commit.short().len() == 10);
    }
}
