//! The list, fact by fact.

use super::*;
use crate::config::Waiting;
use crate::monitor::store::IncidentRow;
use crate::wire::overview::{Engine, LastDeploy};

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn list(facts: &Facts, checks: &[CheckRow], machine: Option<&Machine>) -> Vec<Attention> {
    attention(&Picture {
        now: NOW,
        facts,
        checks,
        machine,
        damage: None,
    })
}

fn sound() -> Facts {
    Facts {
        dumps: DumpsGo::Away,
        ..Facts::default()
    }
}

fn fit() -> Machine {
    Machine {
        memory_total: 4 << 30,
        memory_used: 1 << 30,
        disk_total: 40 << 30,
        disk_used: 10 << 30,
        ..Machine::default()
    }
}

fn check(open: bool) -> CheckRow {
    CheckRow {
        id: 1,
        subject: "app:7".into(),
        name: "shop".into(),
        by_hand: false,
        url: "https://shop.test/".into(),
        strict: false,
        active: true,
        proven: true,
        created: UnixMs(0),
        open: open.then(|| IncidentRow {
            id: 1,
            check: 1,
            opened: NOW.minus(Duration::from_secs(300)),
            closed: None,
            stage: "tls".into(),
            why: "its certificate has expired".into(),
        }),
    }
}

#[test]
fn f7_a_sound_box_needs_nobody() {
    assert_eq!(list(&sound(), &[check(false)], Some(&fit())), []);
    assert_eq!(
        list(&Facts::default(), &[], None),
        [],
        "no database, nothing to back up"
    );
}

#[test]
fn f7_every_trouble_says_what_why_and_what_to_do() {
    let mut facts = sound();
    facts.engine = Engine {
        unreachable: Some("connection refused".into()),
        ..Engine::default()
    };
    facts.config_refused = Some("config.toml line 3, `listen.htps`: …".into());
    facts.settings_waiting = vec![Waiting {
        setting: "listen",
        why: "it differs".into(),
        remedy: "Restart the daemon.".into(),
    }];
    facts.dumps = DumpsGo::ToTheBox;
    facts.apps = vec![
        App {
            id: 8,
            name: "blog".into(),
            state: AppState::Failing,
            why: Some("exit code 137".into()),
            ..App::default()
        },
        App {
            id: 9,
            name: "docs".into(),
            state: AppState::Running,
            release: Some(4),
            deploy: Some(LastDeploy {
                id: 31,
                state: "failed".into(),
                at_ms: None,
                error: Some("the Dockerfile has no FROM".into()),
            }),
            ..App::default()
        },
    ];
    let old = Some(NOW.minus(DAY * 3));
    facts.databases = vec![
        Database {
            name: "main".into(),
            born_ms: old,
            backup_ms: old,
            ..Database::default()
        },
        Database {
            name: "young".into(),
            born_ms: Some(NOW),
            failed_why: Some("the bucket is missing".into()),
            ..Database::default()
        },
        Database {
            name: "bare".into(),
            born_ms: old,
            ..Database::default()
        },
        Database {
            name: "sick".into(),
            born_ms: Some(NOW),
            failing: Some("no answer to a query".into()),
            ..Database::default()
        },
    ];
    let soon = |days: u32| Some(NOW.plus(DAY * days));
    facts.certificates = vec![
        Certificate {
            host: "fine.test".into(),
            expires_ms: soon(10),
            ..Certificate::default()
        },
        Certificate {
            host: "soon.test".into(),
            expires_ms: soon(10),
            error: Some("refused".into()),
            ..Certificate::default()
        },
        Certificate {
            host: "late.test".into(),
            expires_ms: Some(NOW),
            ..Certificate::default()
        },
        Certificate {
            host: "none.test".into(),
            error: Some("DNS points elsewhere".into()),
            ..Certificate::default()
        },
    ];
    let mut machine = fit();
    machine.disk_used = machine.disk_total - (400 << 20);
    machine.memory_used = machine.memory_total - (200 << 20);
    let found = list(&facts, &[check(true)], Some(&machine));
    let bad: Vec<&str> = found
        .iter()
        .filter(|a| a.level == Urgency::Bad)
        .map(|a| a.what.as_str())
        .collect();
    assert_eq!(
        bad,
        [
            "Docker does not answer",
            "shop.test does not answer",
            "blog has no healthy replica",
            "No backup of main for 3 days",
            "No backup of bare for 3 days",
            "Database sick does not answer",
            "The disk is full",
            "The certificate of late.test has expired",
            "none.test has no certificate",
        ]
    );
    let rest: Vec<&str> = found
        .iter()
        .filter(|a| a.level == Urgency::Warning)
        .map(|a| a.what.as_str())
        .collect();
    assert_eq!(
        rest,
        [
            "The last deploy of docs failed",
            "The last backup of young failed",
            "Memory is short",
            "The certificate of soon.test ends in 10 days",
            "The settings have a mistake",
            "The setting listen is not in force",
            "Backups stay on this box",
        ]
    );
    for item in &found {
        assert!(
            item.why.ends_with(['.', '…']) && !item.remedy.is_empty(),
            "{item:?}"
        );
        assert!(item.link.starts_with('/'), "{item:?}");
    }
    assert_eq!(found[1].why, "For 5 min: its certificate has expired.");
    let bare = "A backup is due every day. There is no good one yet.";
    assert!(found.iter().any(|a| a.why == bare));
    assert!(
        found
            .iter()
            .any(|a| a.why == "The Dockerfile has no FROM. v4 serves on.")
    );
}

#[test]
fn f6_each_database_on_a_server_is_told_of_by_name() {
    let mut facts = sound();
    let part = |name: &str, days: u32, failed: Option<&str>| DatabaseBackup {
        name: name.into(),
        since_ms: Some(NOW.minus(DAY * 30)),
        backup_ms: Some(NOW.minus(DAY * days)),
        failed_ms: None,
        failed_why: failed.map(str::to_owned),
    };
    facts.databases = vec![Database {
        name: "main".into(),
        born_ms: Some(NOW.minus(DAY * 30)),
        backup_ms: Some(NOW),
        parts: vec![
            part("blog", 0, None),
            part("shop", 3, Some("the disk is full")),
            part("wiki", 4, None),
        ],
        ..Database::default()
    }];
    let found = list(&facts, &[], None);
    let what: Vec<&str> = found.iter().map(|a| a.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "The last backup of shop on main failed",
            "No backup of wiki on main for 4 days"
        ]
    );
    assert!(found.iter().all(|a| a.level == Urgency::Bad));
    assert!(found.iter().all(|a| a.link == "/databases/main"));
}

#[test]
fn f6_what_retention_cannot_remove_is_told_by_target() {
    let mut facts = sound();
    let left = |target: Option<&str>, count: u32, why: Option<&str>| Unremoved {
        target: target.map(str::to_owned),
        count,
        since: NOW.minus(DAY * 3),
        why: why.map(str::to_owned),
    };
    facts.unremoved = vec![
        left(Some("offsite"), 7, Some("the bucket is gone")),
        left(None, 1, None),
    ];
    let found = list(&facts, &[], None);
    assert_eq!(found[0].what, "7 objects in offsite could not be removed");
    assert_eq!(
        found[0].why,
        "Backups past their time take space there, for 3 days: The bucket is gone."
    );
    assert!(found[0].remedy.contains("freehold target test offsite"));
    assert_eq!(
        found[1].what,
        "1 object in this box's disk could not be removed"
    );
    assert!(found.iter().all(|a| a.level == Urgency::Warning));
}

#[test]
fn f7_one_trouble_is_told_once() {
    let mut facts = sound();
    facts.apps = vec![App {
        id: 7,
        name: "shop".into(),
        state: AppState::Failing,
        ..App::default()
    }];
    assert_eq!(list(&facts, &[check(true)], None).len(), 1);
}

#[test]
fn f7_a_deploy_that_was_called_off_is_no_failure() {
    let told = |state: &str| {
        let mut facts = sound();
        facts.apps = vec![App {
            id: 9,
            name: "docs".into(),
            state: AppState::Running,
            release: Some(4),
            deploy: Some(LastDeploy {
                id: 31,
                state: state.into(),
                at_ms: None,
                error: Some("cancelled by ana".into()),
            }),
            ..App::default()
        }];
        list(&facts, &[], Some(&fit())).len()
    };
    for (state, items) in [
        ("cancelled", 0),
        ("superseded", 0),
        ("failed", 1),
        ("returned", 1),
    ] {
        assert_eq!(told(state), items, "{state}");
    }
}

#[test]
fn f6_dumps_that_stay_on_the_box_are_told_until_the_default_target_is_away() {
    let told = |dumps: DumpsGo| {
        let facts = Facts {
            dumps,
            databases: vec![Database {
                name: "main".into(),
                born_ms: Some(NOW),
                ..Database::default()
            }],
            ..Facts::default()
        };
        let list = list(&facts, &[], Some(&fit()));
        let stays = list.iter().find(|a| a.what == "Backups stay on this box");
        stays.map(|a| format!("{} {}", a.why, a.remedy))
    };
    let folder = |away: Option<&str>| DumpsGo::ToFolder {
        name: "usb".into(),
        away: away.map(str::to_owned),
    };
    assert_eq!(told(DumpsGo::Away), None);
    let said = told(DumpsGo::ToTheBox).unwrap();
    assert!(said.contains("No target away"), "{said}");
    let said = told(folder(None)).unwrap();
    assert!(said.contains("usb") && said.contains("--default"), "{said}");
    let said = told(folder(Some("offsite"))).unwrap();
    assert!(said.contains("`freehold target use offsite`"), "{said}");
}

#[test]
fn e4_an_attack_on_the_edge_wants_somebody_while_it_lasts() {
    let mut facts = sound();
    facts.attack = Some("In the last minute the edge refused 1,200 connections.".into());
    let list = list(&facts, &[check(false)], Some(&fit()));
    assert_eq!(list.len(), 1);
    assert_eq!(
        list[0].what,
        "The edge refuses many connections or requests"
    );
    assert!(list[0].why.contains("1,200"));
}

#[test]
fn n6_a_switch_that_does_not_happen_is_told_and_one_that_takes_its_moment_is_not() {
    let told = |secs: u64| {
        let mut facts = sound();
        facts.switching = vec![Switching {
            app: "shop".into(),
            deploy: 31,
            since: NOW.minus(Duration::from_secs(secs)),
        }];
        list(&facts, &[], Some(&fit()))
    };
    assert_eq!(told(30), []);
    let said = told(300);
    assert_eq!(said[0].what, "Deploy 31 of shop cannot move the traffic");
    assert!(said[0].why.contains("For 5 min"), "{}", said[0].why);
    assert_eq!(said[0].link, "/apps/shop/deploys/31");
}

#[test]
fn n6_maintenance_is_told_an_hour_before_it_ends() {
    let told = |left: u64| {
        let mut facts = sound();
        facts.apps = vec![App {
            name: "shop".into(),
            state: AppState::Running,
            maintenance_until_ms: Some(NOW.plus(Duration::from_secs(left))),
            ..App::default()
        }];
        list(&facts, &[], Some(&fit()))
    };
    assert_eq!(told(3_601), []);
    assert_eq!(told(0), [], "it is over");
    let said = told(2_700);
    assert_eq!(said[0].what, "The maintenance of shop ends in 45 min");
    assert!(
        said[0]
            .remedy
            .contains("freehold maintenance shop on --for")
    );
}

#[test]
fn n7_a_state_that_was_made_anew_says_what_is_missing_until_it_is_confirmed() {
    let mut facts = sound();
    let mut recovery = crate::db::Recovery {
        id: 1,
        at: UnixMs(0),
        why: "it was gone".into(),
        snapshot: UnixMs(0),
        replayed: 3,
        aside: Some("/var/lib/freehold/state.db.damaged-1".into()),
        losses: Vec::new(),
        told: true,
    };
    facts.recoveries = vec![recovery.clone()];
    let seen = list(&facts, &[], None);
    assert_eq!(seen[0].level, Urgency::Warning);
    assert!(
        seen[0]
            .why
            .contains("Every acknowledged change is there again")
    );
    assert!(seen[0].why.contains("state.db.damaged-1"));
    assert!(!seen[0].why.contains("restores"));
    recovery.losses = (0..30).map(|n| format!("Change {n}.")).collect();
    facts.recoveries = vec![recovery];
    let seen = list(&facts, &[], None);
    assert_eq!(seen[0].level, Urgency::Bad);
    assert!(
        seen[0].why.contains("Change 19. And 10 more"),
        "{}",
        seen[0].why
    );
    assert!(seen[0].why.contains("run on, and restores, removals"));
    assert!(seen[0].remedy.contains("doctor --confirm"));
}
