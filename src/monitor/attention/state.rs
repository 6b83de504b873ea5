//! What is told of Freehold's own state: that it was made anew, that no copy of it is made.

use super::item;
use crate::db::Recovery;
use crate::wire::overview::{Attention, Urgency};

/// Losses named in the list; the rest are counted.
const NAMED: usize = 20;

pub(super) fn recovered(recovery: &Recovery) -> Attention {
    let losses = &recovery.losses;
    let more = losses.len().saturating_sub(NAMED);
    let mut lost = match losses.is_empty() {
        true => "Every acknowledged change is there again.".to_owned(),
        false => format!(
            "What is missing: {}",
            losses[..losses.len() - more].join(" ")
        ),
    };
    if more > 0 {
        lost =
            format!("{lost} And {more} more; they stand in the event of it (`freehold events`).");
    }
    let waits = match losses.is_empty() {
        true => "",
        false => ", and restores, removals, work on databases and what deletes backups wait",
    };
    let aside = recovery.aside.as_ref().map_or_else(String::new, |path| {
        format!(" The damaged file is kept: {}.", path.display())
    });
    item(
        match losses.is_empty() {
            true => Urgency::Warning,
            false => Urgency::Bad,
        },
        "Freehold's own state was made anew",
        format!(
            "At {} state.db could not be used ({}), so the snapshot of {} and {} changes of the journal were taken. {lost}{aside} Until somebody confirms, containers that the state does not know run on{waits}.",
            recovery.at.iso(),
            recovery.why,
            recovery.snapshot.iso(),
            recovery.replayed,
        ),
        "Look at the disk (`dmesg | tail`) and at what the apps and databases say; when all is well: `freehold doctor --confirm`.",
        "/box/doctor",
    )
}

pub(super) fn unkept(why: &str) -> Attention {
    item(
        Urgency::Warning,
        "Freehold's own state has no new snapshot",
        format!("{why}. Its journal goes on, so nothing is lost meanwhile."),
        "Free some space, or, if it is damaged, `systemctl restart freehold` makes it anew from the last good snapshot.",
        "/box/doctor",
    )
}
