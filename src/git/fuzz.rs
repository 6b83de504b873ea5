//! Fuzz targets of addresses, branches and commit ids, of which what passes is safe as an argument of git and stays what it
//! is; and of what git tells, in which a server's and a stranger's words stand.

use super::error::explain;
use super::{Branch, CommitId, GitUrl, listed, title};

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

/// The first byte chooses: a complaint, a list of names, a commit's message. Whatever it says becomes a sentence of bounded
/// length without what a terminal obeys, and what is taken for a commit is one.
pub fn said(data: &[u8]) {
    let [choice, bytes @ ..] = data else { return };
    let shown = |text: &str, most: usize| {
        assert!(text.chars().count() <= most, "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
    };
    match choice % 4 {
        0 | 1 => {
            let Ok(url) = GitUrl::parse("https://git.test/shop.git") else {
                panic!("the address is well-formed");
            };
            let text = String::from_utf8_lossy(bytes);
            let error = explain(&text, Some(&url).filter(|_| choice % 4 == 0));
            shown(&error.to_string(), 700);
        }
        2 => {
            let wanted = "refs/heads/main";
            if let Some(commit) = listed(bytes, wanted) {
                let line = format!("{commit}\t{wanted}\n");
                assert_eq!(listed(line.as_bytes(), wanted), Some(commit));
                assert_eq!(listed(line.as_bytes(), "refs/heads/mai"), None);
            }
        }
        _ => shown(&title(bytes), 200),
    }
}
