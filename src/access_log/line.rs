//! One line of the access log: JSON, its fields in a fixed order, what does not apply left out. Pure.

use std::io::Write;

use serde::Serialize;

use crate::base::clock::UnixMs;
use crate::proxy::Entry;

/// How the keys of the dashboard's own routes begin, and the paths of its one-time links.
const DASHBOARD: &str = "dashboard";
const LINK: &str = "/setup/";

#[derive(Serialize)]
struct Line<'a> {
    /// When the request's head was there.
    time: String,
    id: &'a str,
    client: &'a str,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    protocol: &'a str,
    /// Null where the client left before an answer.
    status: Option<u16>,
    bytes_in: u64,
    bytes_out: u64,
    /// Microseconds from the request's head to the answer's, and to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    head_us: Option<u64>,
    total_us: u64,
    ended: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    retries: u64,
    #[serde(skip_serializing_if = "is_zero")]
    held_us: u64,
    /// Why the edge itself answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct Dropped {
    time: String,
    dropped: u64,
}

/// The entry's line, its newline included; `now` is when it is written.
pub(super) fn of(out: &mut Vec<u8>, entry: &Entry, now: UnixMs) {
    let spec = entry.route().map(|route| &route.spec);
    let line = Line {
        time: time(now.minus(entry.started.elapsed())),
        id: entry.id(),
        client: entry.client(),
        method: entry.method(),
        host: entry.host(),
        path: path(entry.path(), spec.map(|spec| &*spec.key)),
        protocol: entry.protocol,
        status: entry.status,
        bytes_in: entry.bytes_in,
        bytes_out: entry.bytes_out,
        head_us: entry.status.map(|_| entry.head_micros),
        total_us: entry.micros,
        ended: entry.ending.as_str(),
        route: spec.map(|spec| &*spec.key),
        app: spec.map(|spec| &*spec.app).filter(|app| !app.is_empty()),
        process: spec
            .map(|spec| &*spec.process)
            .filter(|process| !process.is_empty()),
        target: entry.target.as_deref(),
        retries: entry.retries.into(),
        held_us: entry.held_micros,
        error: entry.refused,
        user_agent: entry.user_agent(),
    };
    put(out, &line);
}

/// The dashboard's one-time links have their secret in the path: it is left out, also where such a link came to no route.
fn path<'a>(path: &'a str, route: Option<&str>) -> &'a str {
    let may_be_ours = route.is_none_or(|key| key.starts_with(DASHBOARD));
    match may_be_ours && path.starts_with(LINK) && path.len() > LINK.len() {
        true => "/setup/…",
        false => path,
    }
}

/// That so many entries before this line are missing.
pub(super) fn dropped(out: &mut Vec<u8>, now: UnixMs, dropped: u64) {
    let time = time(now);
    put(out, &Dropped { time, dropped });
}

fn put(out: &mut Vec<u8>, line: &impl Serialize) {
    let before = out.len();
    let written = serde_json::to_writer(&mut *out, line).map_err(std::io::Error::other);
    if written.and_then(|()| out.write_all(b"\n")).is_err() {
        // Texts and numbers into memory do not fail; half a line must not stay if they ever do.
        out.truncate(before);
    }
}

/// RFC 3339 in UTC with milliseconds.
fn time(at: UnixMs) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Err(_) => at.0.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e7_a_one_time_link_is_written_without_its_secret() {
        for (asked, route, told) in [
            ("/setup/secret", Some("dashboard"), "/setup/…"),
            ("/setup/secret", Some("dashboard:address"), "/setup/…"),
            ("/setup/secret", None, "/setup/…"),
            ("/setup/", None, "/setup/"),
            ("/setup/page", Some("route:7"), "/setup/page"),
            ("/settings", Some("dashboard"), "/settings"),
        ] {
            assert_eq!(path(asked, route), told, "{asked} of {route:?}");
        }
    }
}
