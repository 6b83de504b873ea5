//! `static` of a domain: a folder inside the app's own release.
//!
//! Invariant: it is `a/b`, relative, without dots and dotfiles, so that it names nothing outside of the release and
//! nothing that is never served. It is only ever looked up among the names that a release has, never walked to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checked, shown};

/// Bytes of a folder's path.
const LONGEST: usize = 255;

/// A folder of an app's release; `"."` is all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Subfolder(String);

impl Subfolder {
    /// As the release's files are named: `docs/en`, or nothing for all of it.
    pub fn name(&self) -> &str {
        match self.0.as_str() {
            "." => "",
            name => name,
        }
    }
}

impl Checked for Subfolder {
    fn check(&self) -> Result<(), String> {
        let is_name = |part: &str| !part.is_empty() && !part.starts_with('.');
        let is_plain = |c: char| !c.is_control() && c != '\\';
        let good = self.0 == "."
            || self.0.len() <= LONGEST
                && self.0.chars().all(is_plain)
                && self.0.split('/').all(is_name);
        match good {
            true => Ok(()),
            false => Err(format!(
                "static: {} is no folder of the app's release: write it like \"docs/en\", without a slash at either end, dots and dotfiles; a folder of this box is served by a [[route]] of config.toml",
                shown(&self.0)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e6_a_folder_of_a_domain_leads_nowhere_outside_of_the_release() {
        for (text, name) in [
            (".", ""),
            ("docs", "docs"),
            ("docs/en", "docs/en"),
            ("a b/é..", "a b/é.."),
            (&"d".repeat(255), &"d".repeat(255)),
        ] {
            let folder = Subfolder(text.to_owned());
            assert_eq!(folder.check(), Ok(()), "{text}");
            assert_eq!(folder.name(), name);
        }
        for text in [
            "",
            "/",
            "/srv/www",
            "docs/",
            "/docs",
            "a//b",
            "..",
            "../b",
            "a/..",
            "a/../../b",
            "./a",
            "a/.",
            ".git",
            "a/.env",
            ".well-known",
            "a\\b",
            "a\0",
            "a\nb",
            &"d".repeat(256),
        ] {
            let why = Subfolder(text.to_owned()).check().unwrap_err();
            assert!(why.starts_with("static: "), "{why}");
            assert!(why.contains("docs/en"), "{why}");
        }
    }
}
