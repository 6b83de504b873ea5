//! Redirects, and paths as routes write them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checked, shown};
use crate::base::ids::HostName;

/// Redirects of one route.
const REDIRECTS: usize = 100;
/// Bytes of a place to be sent to.
const PLACE: usize = 2_048;

/// Sends clients elsewhere. A request that is there already is not sent, so that `to = "https://example.com"` alone
/// brings every other name of an app to that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Only requests for this name; every name of the route, without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only requests at or below this path.
    #[serde(default = "root")]
    pub path: String,
    /// An address such as `https://example.com/new`, or a path under the same name.
    pub to: String,
    /// 301, 302, 303, 307 or 308; 308 keeps the method and may be remembered for good.
    #[serde(default = "permanent")]
    pub status: u16,
    /// Whether the rest of the path and the query are kept.
    #[serde(default = "yes")]
    pub keep: bool,
}

fn root() -> String {
    "/".into()
}

fn permanent() -> u16 {
    308
}

fn yes() -> bool {
    true
}

/// Whether a text is a path as routes have them: from the root, without query, empty segments or dots.
pub fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 256
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"?#\"\\<>{}|^`".contains(&b))
        && !text.contains("//")
        && !text.split('/').any(|part| part == "." || part == "..")
}

impl Redirect {
    fn check(&self) -> Result<(), String> {
        if let Some(host) = &self.host {
            HostName::parse(host).map_err(|why| format!("redirects: host {why}"))?;
        }
        if !is_path(&self.path) {
            return Err(format!(
                "redirects: path {} is not a path: write it like \"/old\", without query",
                shown(&self.path)
            ));
        }
        if !is_place(&self.to) {
            return Err(format!(
                "redirects: to {} is not a place to be sent to: write it like \"https://example.com/new\" or \"/new\"",
                shown(&self.to)
            ));
        }
        if self.keep && self.to.contains(['?', '#']) {
            return Err(format!(
                "redirects: to {} has a query of its own, behind which nothing can be kept: add keep = false",
                shown(&self.to)
            ));
        }
        if self.keep && self.leads_into_itself() {
            return Err(format!(
                "redirects: to {} lies below path {}, and clients would be sent on for ever: add keep = false, or name another place",
                shown(&self.to),
                shown(&self.path)
            ));
        }
        if ![301, 302, 303, 307, 308].contains(&self.status) {
            return Err(format!(
                "redirects: status {} sends nobody anywhere: write 301, 302, 303, 307 or 308",
                self.status
            ));
        }
        Ok(())
    }
}

impl Redirect {
    /// Whether a path of the same name is sent deeper into itself; to itself it is sent nowhere.
    fn leads_into_itself(&self) -> bool {
        let (from, to) = (
            self.path.trim_end_matches('/'),
            self.to.trim_end_matches('/'),
        );
        to.strip_prefix(from)
            .is_some_and(|deeper| deeper.len() > 1 && deeper.starts_with('/'))
    }
}

/// An address by http or https, without a user, or a path of this host; in characters that may stand in a header.
fn is_place(to: &str) -> bool {
    let plain = to.len() <= PLACE
        && to
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"\\<>{}|^`".contains(&b));
    if !plain {
        return false;
    }
    if to.starts_with('/') {
        // Two slashes are another host.
        return !to.starts_with("//");
    }
    let Some(rest) = to
        .strip_prefix("https://")
        .or_else(|| to.strip_prefix("http://"))
    else {
        return false;
    };
    let well_begun = rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    well_begun
        && url::Url::parse(to).is_ok_and(|url| {
            url.has_host() && url.username().is_empty() && url.password().is_none()
        })
}

impl Checked for Vec<Redirect> {
    fn check(&self) -> Result<(), String> {
        if self.len() > REDIRECTS {
            return Err(format!(
                "redirects: there may be {REDIRECTS} of them: join some under one path"
            ));
        }
        self.iter().try_for_each(Redirect::check)
    }
}
