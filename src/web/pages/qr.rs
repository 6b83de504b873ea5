//! A QR code as a drawing within the page: one path, no image to fetch and nothing inline that the policy forbids.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;
use qrcode::{Color, EcLevel, QrCode};

/// Modules of quiet around it, as the standard asks.
const QUIET: usize = 4;

/// The drawing.
#[derive(Clone, Debug, Template)]
#[template(
    source = r#"<svg class="qr" viewBox="0 0 {{ size }} {{ size }}" role="img" aria-label="{{ label }}" shape-rendering="crispEdges"><rect class="paper" width="{{ size }}" height="{{ size }}"/><path class="ink" d="{{ path }}"/></svg>"#,
    ext = "html"
)]
pub struct Qr {
    size: usize,
    path: String,
    label: &'static str,
}

impl HtmlSafe for Qr {}

impl Qr {
    /// `text` as a code; none when it is too long for one.
    pub fn new(text: &str, label: &'static str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let width = code.width();
        let mut path = String::new();
        for (at, color) in code.to_colors().into_iter().enumerate() {
            if color == Color::Dark {
                let (x, y) = (at % width + QUIET, at / width + QUIET);
                write!(path, "M{x} {y}h1v1h-1z").ok()?;
            }
        }
        Some(Self {
            size: width + 2 * QUIET,
            path,
            label,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_a_code_is_one_path_with_quiet_around() {
        let drawn = Qr::new("otpauth://totp/x?secret=y", "A code").unwrap();
        let svg = drawn.render().unwrap();
        assert!(
            svg.contains("M4 4h1v1h-1z"),
            "the corner of the first finder: {svg}"
        );
        assert!(!svg.contains("style"), "{svg}");
        assert!(Qr::new(&"x".repeat(5_000), "Too long").is_none());
    }
}
