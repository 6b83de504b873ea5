//! Header rules: which fields are set, added and removed, and which are nobody's to change.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checked, shown};

/// Rules of one kind and direction.
const RULES: usize = 64;
/// Bytes of a field's value.
const VALUE: usize = 4_096;
/// Bytes of a field's name.
const NAME: usize = 128;

/// Changes to header fields: first what is removed, then what is set, then what is added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderRules {
    /// Put in the place of whatever is there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Put beside whatever is there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Taken away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderRules {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

impl Checked for HeaderRules {
    fn check(&self) -> Result<(), String> {
        if [self.set.len(), self.add.len(), self.remove.len()]
            .iter()
            .any(|count| *count > RULES)
        {
            return Err(format!(
                "request_headers and answer_headers: set, add and remove take {RULES} headers each: leave some to the app"
            ));
        }
        let valued = self.set.keys().chain(self.add.keys());
        valued
            .chain(&self.remove)
            .try_for_each(|name| check_name(name))?;
        self.set
            .iter()
            .chain(&self.add)
            .try_for_each(|(name, value)| check_value(name, value))
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME || HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!(
            "request_headers and answer_headers: {} is not the name of a header: use up to {NAME} letters, digits and hyphens, such as \"x-frame-options\"",
            shown(name)
        ));
    }
    if is_edges_own(name) {
        return Err(format!(
            "request_headers and answer_headers: {} is for the edge alone to write: remove this rule",
            shown(name)
        ));
    }
    Ok(())
}

fn check_value(name: &str, value: &str) -> Result<(), String> {
    // Spaces at the ends would be lost on the way, and what is not ASCII is read differently by everybody.
    let well = value.len() <= VALUE
        && value.trim() == value
        && value
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
        && HeaderValue::from_str(value).is_ok();
    if well {
        return Ok(());
    }
    Err(format!(
        "request_headers and answer_headers: the value of {} must be one line of up to {VALUE} printable ASCII characters, without spaces at its ends",
        shown(name)
    ))
}

/// Whether a field is about the connection, the body's end, or who asks: written by the edge, and by nobody's rules.
/// An app may read `_` as `-`, so both are one here, as is the case.
pub fn is_edges_own(name: &str) -> bool {
    const BEGINNINGS: [&str; 3] = ["x-forwarded-", "cf-connecting-ip", "sec-websocket-"];
    const WHOLE: [&str; 28] = [
        "connection",
        "content-length",
        "client-ip",
        "cf-pseudo-ipv4",
        "expect",
        "fastly-client-ip",
        "forwarded",
        "forwarded-for",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "ratelimit",
        "ratelimit-policy",
        "te",
        "trailer",
        "transfer-encoding",
        "true-client-ip",
        "upgrade",
        "x-appengine-user-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-forwarded",
        "x-real-ip",
        "x-request-id",
    ];
    let name = name.to_ascii_lowercase().replace('_', "-");
    BEGINNINGS.iter().any(|begin| name.starts_with(begin))
        || WHOLE.contains(&name.as_str())
        || name == "x-original-forwarded-for"
}
