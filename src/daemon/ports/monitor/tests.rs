//! What backups, dumps and databases are told as.

use std::time::Duration;

use super::*;
use crate::backup::{Backup, BackupState, Cause};
use crate::monitor::{Picture, attention};
use crate::wire::overview::Urgency;

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn hours(ago: u64) -> UnixMs {
    NOW.minus(Duration::from_secs(ago * 3_600))
}

fn ended(state: BackupState, ago: u64) -> Backup {
    Backup {
        id: 1,
        database: 3,
        database_name: "main".into(),
        logical: "shop".into(),
        owner: "app".into(),
        roles: Vec::new(),
        server_version: 17,
        expected_bytes: 0,
        target: None,
        target_name: None,
        key: String::new(),
        upload_token: None,
        state,
        cause: Cause::Schedule,
        attempt: 1,
        reason: (state == BackupState::Failed).then(|| "its disk is full".into()),
        size_bytes: Some(7),
        sha256: None,
        contents: None,
        created: hours(ago),
        due: hours(ago),
        started: None,
        finished: Some(hours(ago)),
        check_state: None,
        check_note: None,
        checked: None,
    }
}

fn of(logical: Option<&str>, stored: Option<u64>, failed: Option<u64>) -> Standing {
    Standing {
        logical: logical.map(str::to_owned),
        since: hours(300),
        newest: stored.map(|ago| ended(BackupState::Stored, ago)),
        failed: failed.map(|ago| ended(BackupState::Failed, ago)),
    }
}

/// What the overview says of a server with these databases.
fn seen(parts: &[Standing]) -> Vec<(Urgency, String, String)> {
    let main = Database {
        name: "main".into(),
        born_ms: Some(hours(300)),
        ..backed_up(parts)
    };
    let facts = Facts {
        dumps: DumpsGo::Away,
        databases: vec![main],
        ..Facts::default()
    };
    let list = attention(&Picture {
        now: NOW,
        facts: &facts,
        checks: &[],
        machine: None,
        damage: None,
    });
    list.into_iter().map(|a| (a.level, a.what, a.why)).collect()
}

fn target(name: &str, place: &str, is_default: bool) -> Target {
    Target {
        id: 1,
        name: name.into(),
        place: place.into(),
        endpoint: None,
        region: None,
        path_style: None,
        is_default,
        used: None,
        fault: None,
        created: NOW,
    }
}

#[test]
fn f6_dumps_go_where_the_default_is_whatever_stands_beside_it() {
    let usb = |default| target("usb", "dir:///srv/usb", default);
    let s3 = |default| target("offsite", "s3://bucket/box", default);
    let folder = |away: Option<&str>| DumpsGo::ToFolder {
        name: "usb".into(),
        away: away.map(str::to_owned),
    };
    assert_eq!(dumps_go(&[]), DumpsGo::ToTheBox);
    assert_eq!(dumps_go(&[usb(true)]), folder(None));
    assert_eq!(dumps_go(&[usb(true), s3(false)]), folder(Some("offsite")));
    assert_eq!(dumps_go(&[usb(false), s3(true)]), DumpsGo::Away);
}

#[test]
fn f6_a_failing_database_is_seen_though_its_neighbour_is_stored() {
    let shop = of(Some("shop"), Some(75), Some(3));
    let list = seen(&[of(Some("blog"), Some(3), None), shop.clone()]);
    let why = "Its disk is full. The newest good one is 3 days old.";
    let failed = "The last backup of shop on main failed";
    assert_eq!(list, [(Urgency::Bad, failed.into(), why.into())]);
    let whole = backed_up(&[of(Some("blog"), Some(3), None), shop]);
    assert_eq!(whole.backup_ms, Some(hours(75)), "as its worst");
}

#[test]
fn f6_a_night_that_could_not_be_begun_is_seen_for_every_database() {
    let failed = |name| of(Some(name), Some(25), Some(1));
    let list = seen(&[failed("blog"), failed("shop")]);
    let what: Vec<_> = list
        .iter()
        .map(|(level, what, _)| (*level, &**what))
        .collect();
    assert_eq!(
        what,
        [
            (Urgency::Warning, "The last backup of blog on main failed"),
            (Urgency::Warning, "The last backup of shop on main failed"),
        ]
    );
}

#[test]
fn f6_a_server_that_was_never_backed_up_is_seen() {
    let list = seen(&[of(None, None, None)]);
    assert_eq!(list[0].1, "No backup of main for 12 days");
    assert!(list[0].2.contains("There is no good one yet"), "{list:?}");
    let list = seen(&[of(None, None, Some(2))]);
    assert_eq!(list[0].1, "The last backup of main failed");
}
