//! What is done to answers: HSTS, compression, own error pages.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checked, shown};

/// Types to be compressed.
const TYPES: usize = 64;
/// Bytes of one type.
const TYPE: usize = 100;
/// Pages of one route.
const PAGES: usize = 16;
/// Bytes of one page.
const PAGE: usize = 64 * 1_024;

/// HTTP Strict Transport Security (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hsts {
    /// For so long browsers remember it; 0 makes them forget.
    pub max_age_days: u32,
    /// It counts for all names below this one, too.
    pub include_subdomains: bool,
    /// It may be built into browsers. Hard to take back.
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Self {
            max_age_days: 365,
            include_subdomains: false,
            preload: false,
        }
    }
}

impl Checked for Hsts {
    fn check(&self) -> Result<(), String> {
        if self.max_age_days > 3_650 {
            return Err("hsts: max_age_days is at most 3650".into());
        }
        if self.preload && !(self.include_subdomains && self.max_age_days >= 365) {
            return Err("hsts: preload needs include_subdomains = true and max_age_days of 365 or more: add them, or remove preload".into());
        }
        Ok(())
    }
}

/// A coding of compressed answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Br,
    /// RFC 1952.
    Gzip,
}

/// How answers are compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compress {
    /// Those that are used, the better liked first.
    pub codings: Vec<Coding>,
    /// Of these types, such as `text/html` or `text/*`; of those that are known to gain by it when it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Smaller answers go as they are.
    pub min_bytes: u32,
    /// Answers that set a cookie, too. Where a page holds a secret beside what a stranger chose, its length may tell (BREACH).
    pub with_cookies: bool,
}

impl Default for Compress {
    fn default() -> Self {
        Self {
            codings: vec![Coding::Zstd, Coding::Br, Coding::Gzip],
            types: Vec::new(),
            min_bytes: 1_024,
            with_cookies: false,
        }
    }
}

impl Checked for Compress {
    fn check(&self) -> Result<(), String> {
        let twice = |at: usize| self.codings[..at].contains(&self.codings[at]);
        if self.codings.is_empty() || (0..self.codings.len()).any(twice) {
            return Err("compress: codings names each of \"zstd\", \"br\" and \"gzip\" at most once, and one at least".into());
        }
        if !(64..=1 << 20).contains(&self.min_bytes) {
            return Err("compress: min_bytes is from 64 to 1048576".into());
        }
        if self.types.len() > TYPES {
            return Err(format!(
                "compress: types takes {TYPES}: join some like \"text/*\""
            ));
        }
        match self.types.iter().find(|kind| !is_type(kind)) {
            Some(kind) => Err(format!(
                "compress: types: {} is not a type: write it like \"text/html\" or \"text/*\"",
                shown(kind)
            )),
            None => Ok(()),
        }
    }
}

fn is_type(text: &str) -> bool {
    let is_token = |part: &str| {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-._".contains(&b);
        !part.is_empty() && part.bytes().all(is_plain)
    };
    text.len() <= TYPE
        && text
            .split_once('/')
            .is_some_and(|(kind, sub)| is_token(kind) && (sub == "*" || is_token(sub)))
}

/// Pages by status: `"404"`, or `"4xx"` and `"5xx"` for those that have none of their own. In a page `{status}` and
/// `{request_id}` are filled in. Programs that ask for JSON get what they always get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ErrorPages(pub BTreeMap<String, String>);

impl ErrorPages {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Checked for ErrorPages {
    fn check(&self) -> Result<(), String> {
        if self.0.len() > PAGES {
            return Err(format!(
                "error_pages: there may be {PAGES}: use \"4xx\" and \"5xx\" for those alike"
            ));
        }
        for (status, page) in &self.0 {
            let one = status.len() == 3 && matches!(status.parse(), Ok(400..=599u16));
            if !one && !["4xx", "5xx"].contains(&status.as_str()) {
                return Err(format!(
                    "error_pages: {} is not an error's status: write it like \"404\", \"4xx\" or \"5xx\"",
                    shown(status)
                ));
            }
            if page.is_empty() || page.len() > PAGE {
                return Err(format!(
                    "error_pages: the page of {} must have 1 byte to 64 KB of HTML",
                    shown(status)
                ));
            }
        }
        Ok(())
    }
}
