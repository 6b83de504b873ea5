//! How an app is spoken to, as settings write it and the proxy does it.

use serde::{Deserialize, Serialize};

/// The protocol of the connections to an app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, known beforehand (RFC 9113, 3.3).
    H2c,
}

impl Protocol {
    /// The settings' word for it; `None` for another.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "http1" => Some(Self::Http1),
            "h2c" => Some(Self::H2c),
            _ => None,
        }
    }

    /// Whether it is what goes without saying.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
