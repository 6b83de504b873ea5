//! Certificates: valid, pending, failing, about to end.

use super::Seen;
use crate::base::clock::UnixMs;
use crate::wire::doctor::{Area, Examined};
use crate::wire::overview::Certificate;

const DAY: i64 = 86_400_000;

/// One check a name; one in all when there is none.
pub(super) fn examine(all: &[Certificate], now: UnixMs) -> Vec<Examined> {
    if all.is_empty() {
        let none = Seen {
            area: Area::Certificates,
            what: "Certificates",
            why: "Browsers refuse a name without one.",
        };
        return vec![none.ok("no domain wants one yet")];
    }
    all.iter().map(|c| one(c, now)).collect()
}

fn one(certificate: &Certificate, now: UnixMs) -> Examined {
    let what = format!("Certificate of {}", certificate.host);
    let check = Seen {
        area: Area::Certificates,
        what: &what,
        why: "Browsers refuse a name without a certificate that is valid.",
    };
    let look = "See what the tries said: freehold status; then see that the name leads here and port 80 is open.";
    let failing = certificate.error.as_deref();
    let Some(end) = certificate.expires_ms else {
        return match (&certificate.pending, failing) {
            (Some(pending), None) => check.warn(pending.clone(), look),
            (Some(pending), Some(_)) => check.fail(pending.clone(), look),
            (None, Some(why)) => check.fail(format!("there is none: {why}"), look),
            (None, None) => check.warn("it is being ordered", look),
        };
    };
    let left = end.0 - now.0;
    let days = left / DAY;
    match (left, failing) {
        (left, _) if left <= 0 => check.fail(
            format!("it ended: {}", failing.unwrap_or("it was not renewed")),
            look,
        ),
        (left, Some(why)) if left < 7 * DAY => check.fail(
            format!("{days} days left, and the renewal fails: {why}"),
            look,
        ),
        (_, Some(why)) => check.warn(
            format!("{days} days left, and the renewal fails: {why}"),
            look,
        ),
        (left, None) if left < 3 * DAY => check.warn(format!("{days} days left"), look),
        _ => check.ok(format!("valid for {days} days more; renewed by itself")),
    }
}
