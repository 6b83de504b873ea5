//! What is kept: backups of databases, and Freehold's own database.

use std::cmp::Ordering;

use super::Seen;
use super::facts::{Database, Dump, State};
use crate::base::clock::UnixMs;
use crate::wire::doctor::{Area, Examined};

const HOUR: i64 = 3_600_000;
/// A dump a day, and the time it takes.
const LATE: i64 = 26 * HOUR;
/// Two were missed.
const MISSED: i64 = 50 * HOUR;
const MB: u64 = 1 << 20;

/// Targets and dumps.
pub(super) fn backups(kept: &Database, now: UnixMs) -> Vec<Examined> {
    let target = Seen {
        area: Area::Backups,
        what: "Backup target",
        why: "Dumps on the box's own disk are lost with the box.",
    };
    let add = "Add one elsewhere: freehold target add offsite s3://BUCKET/PREFIX --endpoint URL --access-key KEY.";
    let faulty = kept
        .targets
        .iter()
        .find_map(|t| Some((&t.name, t.fault.as_ref()?)));
    let stays = kept.targets.iter().find(|t| t.is_default && !t.away);
    let away = kept.targets.iter().find(|t| t.away);
    let mut all = vec![match (kept.targets.is_empty(), faulty) {
        _ if kept.dumps.is_empty() && kept.targets.is_empty() => {
            target.ok("no database needs one yet")
        }
        (true, _) => target.warn("there is none", add),
        (_, Some((name, fault))) => target.fail(
            format!("{name}: {fault}"),
            format!("Try it once it is mended: freehold target test {name}."),
        ),
        _ => match (stays, away) {
            (_, None) => target.warn("folders alone, which may stand on this box", add),
            (Some(stays), Some(away)) => target.warn(
                format!(
                    "dumps go to {}, a folder, which may stand on this box; {} gets none",
                    stays.name, away.name
                ),
                format!("Send them there: freehold target use {}.", away.name),
            ),
            (None, Some(_)) => {
                let names: Vec<&str> = kept.targets.iter().map(|t| t.name.as_str()).collect();
                target.ok(names.join(", "))
            }
        },
    }];
    all.extend(kept.dumps.iter().map(|d| dump(d, now)));
    all
}

fn dump(dump: &Dump, now: UnixMs) -> Examined {
    let what = format!("Last backup of {}", dump.name);
    let check = Seen {
        area: Area::Backups,
        what: &what,
        why: "What was not dumped is gone with the disk; a dump is made every day.",
    };
    let mend = format!(
        "Make one now and see what it says: freehold backup now {}.",
        dump.name
    );
    let because = dump
        .failed
        .as_deref()
        .map_or(String::new(), |why| format!("; the last try failed: {why}"));
    let since = dump.stored.or(dump.born).map_or(0, |at| now.0 - at.0);
    let hours = since / HOUR;
    let seen = match dump.stored {
        Some(_) => format!("stored {hours} hours ago{because}"),
        None => format!("none was stored yet{because}"),
    };
    match since {
        s if s > MISSED => check.fail(seen, mend),
        s if s > LATE => check.warn(seen, mend),
        _ if dump.failed.is_some() => check.warn(seen, mend),
        _ => check.ok(seen),
    }
}

/// Freehold's own database.
pub(super) fn database(state: &State) -> Vec<Examined> {
    let check = |what, why| Seen {
        area: Area::Database,
        what,
        why,
    };
    let whole = check(
        "state.db is whole",
        "All that Freehold knows of apps, users and backups is in it.",
    );
    let path = state.path.display();
    let mut all = vec![match &state.check {
        Ok(said) if said == "ok" => {
            whole.ok(format!("SQLite found nothing wrong in {} ms", state.took.as_millis()))
        }
        Ok(said) => whole.fail(
            format!("SQLite says: {said}"),
            format!("Stop the daemon (sudo systemctl stop freehold), keep a copy of {path}, and look at the disk: sudo dmesg | tail."),
        ),
        Err(why) => whole.warn(
            format!("it could not be looked at: {why}"),
            "Try again in a minute: freehold doctor.",
        ),
    }];
    let log = check(
        "Write-ahead log",
        "It grows while a reader does not let go, and takes the disk with it.",
    );
    let seen = format!("{} MB", state.wal / MB);
    all.push(match state.wal {
        wal if wal > 256 * MB => {
            log.fail(seen, "Restart the daemon: sudo systemctl restart freehold.")
        }
        wal if wal > 64 * MB => log.warn(
            seen,
            "Restart the daemon when it suits: sudo systemctl restart freehold.",
        ),
        _ => log.ok(seen),
    });
    let steps = check(
        "Schema",
        "A schema that another version made is not understood.",
    );
    let (done, known) = state.steps;
    all.push(match done.cmp(&known) {
        Ordering::Equal => steps.ok(format!("all {known} steps are done")),
        Ordering::Greater => steps.warn(
            format!("a newer Freehold did {done} steps, and this one, which runs since it failed, knows {known}"),
            "It works. Install the newer one again once its trouble is known: freehold events.",
        ),
        Ordering::Less => steps.fail(
            format!("{done} of {known} steps are done"),
            "Restart the daemon, which does the rest: sudo systemctl restart freehold.",
        ),
    });
    all
}
