//! N7: snapshots of the state come by themselves, each hour and no sooner; three are kept, with the journal since the oldest;
//! a state that is gone is made anew from the newest.
//!
//! Hours pass for the daemon alone: libfaketime sets ahead both its box's clock and the one that its waits go by.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::until::{secs, until};
use crate::{HOUR, asked_for, begun, now_ms, number, quiet, set, state, until_told, works};

const MINUTE: i64 = 60_000;
/// Snapshots that are waited for: more than are kept.
const HOURS: usize = 5;
const KEPT: usize = 3;
/// The daemon's hour begins a moment after its snapshot is seen, so the clock may be set before it: then it is set on again.
const PATIENCE: Duration = Duration::from_secs(20);

/// One that is kept, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Snapshot {
    /// The newest change in it.
    number: i64,
    at: i64,
    path: PathBuf,
}

fn names(daemon: &quiet::Daemon, prefix: &str) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(daemon.data().join("state.safe")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_prefix(prefix)?;
            Some((name.to_owned(), path))
        })
        .collect()
}

/// Oldest first.
fn snapshots(daemon: &quiet::Daemon) -> BTreeSet<Snapshot> {
    let whole = names(daemon, "snapshot-").into_iter();
    whole
        .map(|(name, path)| {
            let mut parts = name.split('-').map(|part| part.parse().unwrap());
            Snapshot {
                number: parts.next().unwrap(),
                at: parts.next().unwrap(),
                path,
            }
        })
        .collect()
}

fn newest(daemon: &quiet::Daemon) -> Snapshot {
    snapshots(daemon).pop_last().unwrap()
}

/// The newest one, once there is one since `at` by the daemon's clock.
fn until_snapshot(daemon: &quiet::Daemon, at: i64) -> Snapshot {
    until("a snapshot", secs(180), || {
        let newest = newest(daemon);
        match newest.at > at {
            true => Ok(newest),
            false => Err(format!("{newest:?}")),
        }
    })
}

/// There is an hour between each and the next.
fn are_apart(all: &[Snapshot]) -> bool {
    all.windows(2).all(|two| two[1].at - two[0].at >= HOUR)
}

/// Removes the state while the daemon is away.
fn lose(daemon: &quiet::Daemon) {
    for entry in fs::read_dir(daemon.data()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("state.db") {
            fs::remove_file(path).unwrap();
        }
    }
}

/// When the snapshot was made that the last recovery began with, and how many changes came on top.
fn recovered(daemon: &quiet::Daemon) -> (i64, i64) {
    let last = |column: &str| {
        let ask = format!("SELECT {column} FROM recoveries ORDER BY id DESC LIMIT 1");
        number(&state(daemon), &ask)
    };
    (last("snapshot_ms"), last("replayed"))
}

fn apps(daemon: &quiet::Daemon) -> i64 {
    number(&state(daemon), "SELECT count(*) FROM apps")
}

/// The daemon has started, as systemd hears it: one whose start takes an hour gives up.
fn until_ready(ears: &UnixDatagram) {
    ears.set_read_timeout(Some(secs(180))).unwrap();
    let mut words = [0; 1_024];
    loop {
        let length = ears.recv(&mut words).unwrap();
        if words[..length].starts_with(b"READY=1") {
            return;
        }
    }
}

/// Makes an app. An hour that passes at once is also one that a request has taken: it is asked for again.
fn make(daemon: &quiet::Daemon, app: &str) {
    let made = format!("SELECT count(*) FROM apps WHERE name = '{app}'");
    until("an app to be made", secs(120), || {
        asked_for(daemon, app).or_else(|why| match number(&state(daemon), &made) {
            1 => Ok(()),
            _ => Err(why),
        })
    });
}

#[test]
fn n7_a_snapshot_comes_each_hour_three_are_kept_and_a_recovery_begins_with_the_newest() {
    let (mut daemon, clock) = begun();
    let (alone, file) = (clock.fake(), &clock.file);
    let told = clock.folder.path().join("told");
    let ears = UnixDatagram::bind(&told).unwrap();
    let notify = [("NOTIFY_SOCKET", told.to_str().unwrap())];
    let both = &[&alone[..3], &notify].concat();

    // A box's clock that leaps is no hour that passed.
    let begun = now_ms();
    daemon.restart_with(&alone, |_| {});
    until_snapshot(&daemon, begun);
    let before = snapshots(&daemon);
    let mut offset = 61 * MINUTE;
    set(file, offset);
    until_told(&state(&daemon), "forward by 1 h 1 min");
    works(&daemon, "leapt");
    assert_eq!(snapshots(&daemon), before);

    // The saboteur of that, and what comes hour by hour.
    let begun = now_ms() + offset;
    daemon.restart_with(both, |_| {});
    until_ready(&ears);
    let mut hourly = vec![until_snapshot(&daemon, begun)];
    for hour in 1..=HOURS {
        offset += 30 * MINUTE;
        set(file, offset);
        make(&daemon, &format!("half-{hour}"));
        let held = number(&state(&daemon), "SELECT at FROM journal");
        let last = hourly[hour - 1].at;
        let mut waited = Instant::now() - PATIENCE;
        let next = until("the next snapshot", secs(300), || {
            if waited.elapsed() >= PATIENCE {
                offset += 31 * MINUTE;
                set(file, offset);
                waited = Instant::now();
            }
            let newest = newest(&daemon);
            let is_next = newest.at > last;
            is_next
                .then_some(newest.clone())
                .ok_or(format!("{newest:?}"))
        });
        assert!(next.number >= held, "{next:?} has not all of {held}");
        hourly.push(next);
    }
    assert!(are_apart(&hourly), "{hourly:#?}");
    let gaps = hourly.windows(2).map(|two| two[1].at - two[0].at);
    assert!(gaps.clone().min() < Some(2 * HOUR), "{hourly:#?}");
    println!(
        "minutes between snapshots: {:?}",
        gaps.map(|gap| gap / MINUTE).collect::<Vec<_>>()
    );
    let kept = &hourly[hourly.len() - KEPT..];
    until("three to be kept", secs(120), || {
        let all: Vec<Snapshot> = snapshots(&daemon).into_iter().collect();
        (all == kept).then_some(()).ok_or(format!("{all:#?}"))
    });
    until("the journal since the oldest to be kept", secs(120), || {
        let files = names(&daemon, "journal-").into_iter();
        let mut firsts: Vec<i64> = files.map(|(name, _)| name.parse().unwrap()).collect();
        firsts.sort_unstable();
        let over = firsts
            .get(1)
            .is_some_and(|next| *next <= kept[0].number + 1);
        (!over).then_some(()).ok_or(format!("{firsts:?}"))
    });

    // Gone, with a change that no snapshot has.
    make(&daemon, "last");
    let all = 3 + HOURS as i64;
    assert_eq!(apps(&daemon), all);
    let mut from = (newest(&daemon), 0);
    daemon.restart_with(both, |daemon| {
        from = (
            newest(daemon),
            number(&state(daemon), "SELECT at FROM journal"),
        );
        lose(daemon);
    });
    until_ready(&ears);
    let (newest_one, held) = from;
    assert!(held > newest_one.number, "{held}: {newest_one:?}");
    assert_eq!(
        recovered(&daemon),
        (newest_one.at, held - newest_one.number)
    );
    assert_eq!(apps(&daemon), all);
    // The saboteur of the hour between them: each start takes one, and the same look finds it too near.
    hourly.push(until_snapshot(&daemon, newest_one.at));
    assert!(!are_apart(&hourly));

    // The saboteur of the newest: where that is damaged another one is taken, and this is seen.
    let mut two = Vec::new();
    daemon.restart_with(both, |daemon| {
        two = snapshots(daemon).into_iter().rev().take(2).collect();
        let damaged = fs::File::options().write(true).open(&two[0].path).unwrap();
        damaged.write_all_at(&[0x5a; 64], 4_096).unwrap();
        lose(daemon);
    });
    until_ready(&ears);
    let (taken, _) = recovered(&daemon);
    assert_eq!(taken, two[1].at, "{two:#?}");
    assert_ne!(taken, two[0].at);
    assert_eq!(apps(&daemon), all);
}
