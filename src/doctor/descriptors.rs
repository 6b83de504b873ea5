//! File descriptors: whether the edge's connections leave enough for all the rest.

use super::Seen;
use super::facts::Descriptors;
use crate::wire::doctor::{Area, Examined};

/// Its check.
pub(super) fn examine(seen: &Descriptors) -> Examined {
    let check = Seen {
        area: Area::Daemon,
        what: "File descriptors",
        why: "Without one nobody can be let in, no state be read and no engine be asked.",
    };
    let Descriptors {
        in_use,
        allowed,
        connections,
        wanted,
    } = seen;
    let raise = "Raise it: sudo systemctl edit freehold.service, [Service] LimitNOFILE=65536, then sudo systemctl restart freehold.";
    let used = in_use.map_or_else(
        || format!("none of {allowed} is left to look with"),
        |in_use| format!("{in_use} of {allowed} in use"),
    );
    match in_use {
        Some(in_use) if in_use.saturating_mul(10) < allowed.saturating_mul(9) => {}
        _ => return check.fail(used, raise),
    }
    if connections < wanted {
        return check.warn(
            format!("{used}: {connections} connections are taken at once, and not the {wanted} of limits.connections"),
            format!("{raise} Or set limits.connections lower."),
        );
    }
    check.ok(format!("{used}, room for {connections} connections"))
}
