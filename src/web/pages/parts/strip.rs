//! Uptime as a row of bars, oldest first, each a stretch of time.

use askama::Template;
use askama::filters::HtmlSafe;

use super::Tone;

/// One stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Idle where nothing was measured.
    pub tone: Tone,
    /// Its tooltip: "13:00 to 13:30: 2 checks failed".
    pub title: String,
}

/// The row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Template)]
#[template(path = "parts/strip.html")]
pub struct Strip {
    /// Oldest first.
    pub bars: Vec<Bar>,
    /// All of it in words, for who does not see it.
    pub summary: String,
}

impl HtmlSafe for Strip {}

impl Strip {
    /// How far apart bars stand, in the drawing's own units.
    const STEP: usize = 6;

    fn width(&self) -> usize {
        (self.bars.len() * Self::STEP).saturating_sub(2).max(1)
    }

    fn x(index: &usize) -> usize {
        index * Self::STEP
    }

    /// A bad stretch also stands out by its height.
    fn y(tone: &Tone) -> usize {
        match tone {
            Tone::Bad => 0,
            Tone::Warn => 3,
            _ => 6,
        }
    }
}
