//! The time: certificates, one-time codes and sign-in go wrong by a wrong clock.

use super::Seen;
use super::facts::Clock;
use crate::base::clock::UnixMs;
use crate::wire::doctor::{Area, Examined};

/// No clock that is right is before this: 2026-01-01.
const BEFORE_US: UnixMs = UnixMs(1_767_225_600_000);
/// An HTTP date has whole seconds, and its way takes a moment.
const NEAR_MS: i64 = 10_000;
/// One-time codes are good for half a minute.
const FAR_MS: i64 = 60_000;

/// Its checks.
pub(super) fn examine(clock: &Clock, now: UnixMs) -> Vec<Examined> {
    let why = "Certificates, one-time codes and sign-in fail by a clock that is wrong.";
    let check = |what| Seen {
        area: Area::Clock,
        what,
        why,
    };
    let right = check("The time");
    let set = "Set it: sudo timedatectl set-ntp true, or sudo apt install chrony.";
    let mut all = Vec::new();
    all.push(match (&clock.skew_ms, now < BEFORE_US) {
        (_, true) => right.fail(format!("the clock says {now}"), set),
        (Some((skew, whose)), _) => {
            let way = if *skew < 0 { "behind" } else { "ahead of" };
            let seen = format!("{} s {way} {whose}", (skew.abs() + 500) / 1_000);
            match skew.abs() {
                s if s > FAR_MS => right.fail(seen, set),
                s if s > NEAR_MS => right.warn(seen, set),
                _ => right.ok(format!("as {whose} has it")),
            }
        }
        (None, _) => right.ok(now.to_string()),
    });
    let kept = check("Who keeps the time");
    all.push(match &clock.kept {
        Some((who, true)) => kept.ok(format!("{who} keeps it")),
        Some((who, false)) => kept.warn(
            format!("{who} has not reached a time server yet"),
            "See timedatectl timesync-status; UDP port 123 must be open to the outside.",
        ),
        None => kept.warn(
            "nobody is seen that keeps it; a clock left alone drifts",
            set,
        ),
    });
    all
}
