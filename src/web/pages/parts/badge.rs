//! A state as a shape, a colour and a word, so that none of the three is needed alone.

use askama::Template;
use askama::filters::HtmlSafe;

/// How much something wants of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Well.
    Ok,
    /// Look when you have time.
    Warn,
    /// Broken.
    Bad,
    /// Under way.
    Busy,
    /// Off, or nothing known.
    Idle,
}

impl Tone {
    /// The class of the stylesheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Busy => "busy",
            Self::Idle => "idle",
        }
    }
}

/// The badge itself.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<span class="badge {{ tone.class() }}">{{ word }}</span>"#,
    ext = "html"
)]
pub struct Badge {
    /// Shape and colour.
    pub tone: Tone,
    /// The word.
    pub word: String,
}

impl HtmlSafe for Badge {}

impl Badge {
    /// A badge.
    pub fn new(tone: Tone, word: impl Into<String>) -> Self {
        Self {
            tone,
            word: word.into(),
        }
    }
}
