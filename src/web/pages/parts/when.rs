//! A moment: short on the page, exact in the tooltip and for machines.

use askama::Template;
use askama::filters::HtmlSafe;

use crate::base::clock::UnixMs;
use crate::web::pages::words;

/// A `<time>` element.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<time datetime="{{ iso }}" title="{{ exact }}">{{ text }}</time>"#,
    ext = "html"
)]
pub struct When {
    iso: String,
    exact: String,
    text: String,
}

impl HtmlSafe for When {}

impl When {
    /// "4 min ago".
    pub fn ago(at: UnixMs, now: UnixMs) -> Self {
        Self::with(at, words::ago(at, now))
    }

    /// "in 62 days".
    pub fn until(at: UnixMs, now: UnixMs) -> Self {
        Self::with(at, words::until(at, now))
    }

    fn with(at: UnixMs, text: String) -> Self {
        Self {
            iso: at.iso(),
            exact: words::date_time(at),
            text,
        }
    }
}
