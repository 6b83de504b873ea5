//! Every check in each of its states.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::host::{Disk, FirewallFiles, Memory, Modes, Rules};
use crate::wire::overview::Certificate;

const NOW: UnixMs = UnixMs(1_795_250_000_000);
const DAY: i64 = 86_400_000;
const GB: u64 = 1 << 30;

/// The state of the check whose name begins with `what`; what is not well says what to do.
fn state(facts: Facts, what: &str) -> Condition {
    let all = examine(&facts, NOW);
    let found = all.iter().find(|c| c.what.starts_with(what));
    let found = found.unwrap_or_else(|| panic!("no {what:?} in {all:#?}"));
    assert!(
        !found.seen.is_empty() && found.why.ends_with('.'),
        "{found:?}"
    );
    match found.state {
        Condition::Ok => assert_eq!(found.remedy, "", "{found:?}"),
        _ => assert!(found.remedy.ends_with(['.', ')']), "{found:?}"),
    }
    found.state
}

use Condition::{Fail, Ok as Well, Warn};

fn engine_facts() -> EngineFacts {
    EngineFacts {
        version: "28.1.1".into(),
        api: "1.49".into(),
        storage: "overlay2".into(),
        log: "json-file".into(),
        live_restore: true,
        root: "/var/lib/docker".into(),
    }
}

fn engine(change: impl FnOnce(&mut EngineFacts)) -> Facts {
    let mut told = engine_facts();
    change(&mut told);
    Facts {
        engine: Some(Engine {
            host: "unix:///var/run/docker.sock".into(),
            told: Ok(told),
            root: Some((50 * GB, 100 * GB)),
        }),
        ..Facts::default()
    }
}

#[test]
fn a7_doctor_engine() {
    let mut away = engine(|_| ());
    away.engine.as_mut().unwrap().told = Err("no such file".into());
    assert_eq!(state(away, "Docker answers"), Fail);
    assert_eq!(state(engine(|_| ()), "Docker answers"), Well);
    assert_eq!(state(engine(|_| ()), "Storage"), Well);
    assert_eq!(state(engine(|e| e.storage = "vfs".into()), "Storage"), Warn);
    assert_eq!(state(engine(|_| ()), "Log driver"), Well);
    assert_eq!(state(engine(|e| e.log = "none".into()), "Log driver"), Warn);
    assert_eq!(state(engine(|_| ()), "Live restore"), Well);
    assert_eq!(
        state(engine(|e| e.live_restore = false), "Live restore"),
        Warn
    );
    for (free, wanted) in [(50 * GB, Well), (GB, Warn), (GB / 10, Fail)] {
        let mut facts = engine(|_| ());
        facts.engine.as_mut().unwrap().root = Some((free, 100 * GB));
        assert_eq!(state(facts, "Room for images"), wanted, "{free}");
    }
}

fn ports(http: &str, keeper: Keeper, listening: &[(&str, Owner)]) -> Facts {
    let listening = listening
        .iter()
        .map(|(address, owner)| Listening {
            address: address.parse().unwrap(),
            owner: owner.clone(),
        })
        .collect();
    Facts {
        ports: Some(Ports {
            wanted: [http.parse().unwrap(), "[::]:443".parse().unwrap()],
            keeper,
            listening,
        }),
        ..Facts::default()
    }
}

#[test]
fn a7_doctor_ports() {
    let ours = ("[::]:80", Owner::Ours);
    let nginx = ("10.0.0.5:80", Owner::Program("nginx".into()));
    let held = |all: &[(&str, Owner)]| ports("[::]:80", Keeper::Systemd, all);
    assert_eq!(
        state(held(std::slice::from_ref(&ours)), "Port of http"),
        Well
    );
    assert_eq!(
        state(held(&[ours.clone(), nginx.clone()]), "Port of http"),
        Warn
    );
    assert_eq!(state(held(&[nginx]), "Port of http"), Fail);
    assert_eq!(
        state(held(&[("0.0.0.0:80", Owner::Hidden)]), "Port of http"),
        Fail
    );
    assert_eq!(state(held(&[]), "Port of http"), Fail);
    let elsewhere = ports("[::]:8080", Keeper::Daemon, &[("[::]:8080", Owner::Ours)]);
    assert_eq!(state(elsewhere, "Port of http"), Warn);
    for (keeper, wanted) in [
        (Keeper::Systemd, Well),
        (Keeper::Daemon, Warn),
        (Keeper::Nobody, Fail),
    ] {
        assert_eq!(state(ports("[::]:80", keeper, &[]), "Sockets held"), wanted);
    }
}

fn ips(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|a| a.parse().unwrap()).collect()
}

fn named(pointing: Pointing, ours: &[&str]) -> Facts {
    Facts {
        names: vec![Named {
            host: "shop.example.com".into(),
            of: "the app shop".into(),
            pointing,
        }],
        addresses: ips(ours),
        ..Facts::default()
    }
}

#[test]
fn a7_doctor_dns() {
    let public = &["127.0.0.1", "203.0.113.7"];
    let hidden = &["127.0.0.1", "10.0.0.5"];
    let to = |all| Pointing::To(ips(all));
    let what = "Where shop.example.com leads";
    assert_eq!(state(named(to(&["203.0.113.7"]), public), what), Well);
    assert_eq!(
        state(named(to(&["203.0.113.7", "203.0.113.8"]), public), what),
        Warn
    );
    assert_eq!(state(named(to(&["203.0.113.8"]), public), what), Fail);
    // Behind a translated address nobody here knows the outer one.
    assert_eq!(state(named(to(&["203.0.113.8"]), hidden), what), Warn);
    // At many providers that is so for IPv4 alone.
    let half = &["10.0.0.5", "2a01:db8::7"];
    assert_eq!(state(named(to(&["203.0.113.8"]), half), what), Warn);
    let both = &["203.0.113.8", "2a01:db8::7"];
    let facts = named(to(both), half);
    let seen = examine(&facts, UnixMs(0));
    let remedy = seen.iter().find(|c| c.what == what).unwrap();
    let remedy = &remedy.remedy;
    assert!(!remedy.contains("Remove"), "{remedy}");
    assert_eq!(state(named(to(&["2a01:db8::9"]), half), what), Fail);
    assert_eq!(state(named(Pointing::Nowhere, public), what), Fail);
    assert_eq!(
        state(named(Pointing::Unknown("silence".into()), public), what),
        Warn
    );
}

#[test]
fn a7_doctor_clock() {
    let clock = |kept: Option<bool>, skew: Option<i64>| Facts {
        clock: Some(Clock {
            kept: kept.map(|has| ("chrony".into(), has)),
            skew_ms: skew.map(|ms| (ms, "acme.example".into())),
        }),
        ..Facts::default()
    };
    assert_eq!(state(clock(Some(true), None), "Who keeps the time"), Well);
    assert_eq!(state(clock(Some(false), None), "Who keeps the time"), Warn);
    assert_eq!(state(clock(None, None), "Who keeps the time"), Warn);
    for (skew, wanted) in [
        (None, Well),
        (Some(900), Well),
        (Some(-30_000), Warn),
        (Some(600_000), Fail),
    ] {
        assert_eq!(
            state(clock(Some(true), skew), "The time"),
            wanted,
            "{skew:?}"
        );
    }
    let early = examine(&clock(Some(true), None), UnixMs(0));
    assert_eq!(
        early.iter().find(|c| c.what == "The time").unwrap().state,
        Fail
    );
}

#[test]
fn a7_doctor_disk() {
    let disk = |change: fn(&mut Disk)| {
        let mut disk = Disk {
            path: PathBuf::from("/var/lib/freehold"),
            total: 40 * GB,
            available: 20 * GB,
            inodes: 1_000_000,
            inodes_free: 900_000,
            reserve: true,
        };
        change(&mut disk);
        Facts {
            disk: Some(disk),
            ..Facts::default()
        }
    };
    assert_eq!(state(disk(|_| ()), "Free space"), Well);
    assert_eq!(state(disk(|d| d.available = 3 * GB), "Free space"), Warn);
    assert_eq!(state(disk(|d| d.available = GB / 5), "Free space"), Fail);
    assert_eq!(state(disk(|_| ()), "Free inodes"), Well);
    assert_eq!(state(disk(|d| d.inodes_free = 50_000), "Free inodes"), Warn);
    assert_eq!(state(disk(|d| d.inodes_free = 9_000), "Free inodes"), Fail);
    assert_eq!(state(disk(|_| ()), "Reserve"), Well);
    assert_eq!(state(disk(|d| d.reserve = false), "Reserve"), Warn);
    let none = examine(&disk(|d| d.inodes = 0), NOW);
    assert!(!none.iter().any(|c| c.what == "Free inodes"), "{none:?}");
}

#[test]
fn n7_doctor_descriptors() {
    let seen = |in_use, allowed, connections| Facts {
        descriptors: Some(Descriptors {
            in_use,
            allowed,
            connections,
            wanted: 20_000,
        }),
        ..Facts::default()
    };
    let what = "File descriptors";
    assert_eq!(state(seen(Some(70), 65_536, 20_000), what), Well);
    assert_eq!(state(seen(Some(70), u64::MAX, 20_000), what), Well);
    assert_eq!(state(seen(Some(70), 1_024, 256), what), Warn);
    assert_eq!(state(seen(Some(1_000), 1_024, 256), what), Fail);
    assert_eq!(state(seen(None, 1_024, 256), what), Fail);
}

#[test]
fn a7_doctor_memory_and_swap() {
    let memory = |total, available, swap_total, swap_free| Facts {
        memory: Some(Memory {
            total,
            available,
            swap_total,
            swap_free,
        }),
        ..Facts::default()
    };
    assert_eq!(state(memory(4 * GB, 2 * GB, GB, GB), "Memory"), Well);
    assert_eq!(state(memory(4 * GB, GB / 3, GB, GB), "Memory"), Warn);
    assert_eq!(state(memory(4 * GB, GB / 9, GB, GB), "Memory"), Fail);
    assert_eq!(state(memory(4 * GB, 2 * GB, GB, GB), "Swap"), Well);
    assert_eq!(state(memory(8 * GB, 2 * GB, 0, 0), "Swap"), Well);
    assert_eq!(state(memory(3 * GB, 2 * GB, 0, 0), "Swap"), Warn);
    assert_eq!(state(memory(GB, GB / 2, 0, 0), "Swap"), Warn);
    assert_eq!(state(memory(4 * GB, 2 * GB, GB, GB / 10), "Swap"), Warn);
}

#[test]
fn a7_doctor_firewall() {
    let files = |ufw: &str, rules: Rules, nftables: Rules, iptables: Rules| Facts {
        firewall: Some(FirewallFiles {
            ufw: Some(ufw.into()),
            ufw_rules: rules,
            nftables,
            iptables,
        }),
        ..Facts::default()
    };
    let text = |t: &str| Rules::Text(t.into());
    let none = || Rules::Absent;
    let what = "Firewall";
    let ufw = |rules| files("# ufw\nENABLED=yes\n", rules, Rules::Absent, Rules::Absent);
    let open = "-A ufw-user-input -p tcp --dport 80 -j ACCEPT\n-A ufw-user-input -p tcp --dport 443 -j ACCEPT\n";
    assert_eq!(state(ufw(text(open)), what), Well);
    assert_eq!(
        state(
            ufw(text("-A ufw-user-input -p tcp --dport 22 -j ACCEPT\n")),
            what
        ),
        Warn
    );
    assert_eq!(state(ufw(Rules::Hidden), what), Warn);
    let off = |nft, ipt| files("ENABLED=no\n", none(), nft, ipt);
    assert_eq!(state(off(none(), none()), what), Well);
    let drops = "table inet filter {\n chain input {\n  type filter hook input priority 0; policy drop;\n  tcp dport { 22 } accept\n } }";
    assert_eq!(state(off(text(drops), none()), what), Warn);
    let lets = drops.replace("{ 22 }", "{ 22, http, https }");
    assert_eq!(state(off(text(&lets), none()), what), Well);
    // A rule that is commented out lets nobody in.
    let asleep = format!("{drops}\n# tcp dport {{ 80, 443 }} accept");
    assert_eq!(state(off(text(&asleep), none()), what), Warn);
    assert_eq!(state(off(none(), text(":INPUT DROP [0:0]\n")), what), Warn);
    assert_eq!(
        state(off(none(), text(":INPUT ACCEPT [0:0]\n")), what),
        Well
    );
}

#[test]
fn a7_doctor_certificates() {
    let one = |expires: Option<i64>, pending: Option<&str>, error: Option<&str>| Facts {
        certificates: Some(vec![Certificate {
            host: "shop.example.com".into(),
            issuer: None,
            expires_ms: expires.map(|days| UnixMs(NOW.0 + days * DAY)),
            error: error.map(str::to_owned),
            pending: pending.map(str::to_owned),
            next_ms: None,
        }]),
        ..Facts::default()
    };
    let what = "Certificate of shop.example.com";
    let rows = [
        (Some(60), None, None, Well),
        (Some(2), None, None, Warn),
        (Some(20), None, Some("refused"), Warn),
        (Some(3), None, Some("refused"), Fail),
        (Some(-1), None, None, Fail),
        (None, Some("pending since noon"), None, Warn),
        (None, Some("pending since noon"), Some("refused"), Fail),
        (None, None, Some("refused"), Fail),
        (None, None, None, Warn),
    ];
    for (expires, pending, error, wanted) in rows {
        let facts = one(expires, pending, error);
        assert_eq!(
            state(facts, what),
            wanted,
            "{expires:?} {pending:?} {error:?}"
        );
    }
    let none = Facts {
        certificates: Some(Vec::new()),
        ..Facts::default()
    };
    assert_eq!(state(none, "Certificates"), Well);
}

#[test]
fn a7_doctor_backups() {
    let hours = |h: i64| UnixMs(NOW.0 - h * 3_600_000);
    let dump = |born: i64, stored: Option<i64>, failed: Option<&str>| Dump {
        name: "main".into(),
        born: Some(hours(born)),
        stored: stored.map(hours),
        failed: failed.map(str::to_owned),
    };
    let facts = |targets: &[(&str, bool, Option<&str>)], dumps: Vec<Dump>| Facts {
        backups: Some(Database {
            targets: targets
                .iter()
                .enumerate()
                .map(|(at, (name, away, fault))| Target {
                    name: (*name).to_owned(),
                    away: *away,
                    is_default: at == 0,
                    fault: fault.map(str::to_owned),
                })
                .collect(),
            dumps,
        }),
        ..Facts::default()
    };
    let new = || vec![dump(1, None, None)];
    let away: &[(&str, bool, Option<&str>)] = &[("offsite", true, None)];
    assert_eq!(state(facts(&[], Vec::new()), "Backup target"), Well);
    assert_eq!(state(facts(&[], new()), "Backup target"), Warn);
    assert_eq!(
        state(facts(&[("usb", false, None)], new()), "Backup target"),
        Warn
    );
    assert_eq!(state(facts(away, new()), "Backup target"), Well);
    let beside: &[(&str, bool, Option<&str>)] = &[("usb", false, None), ("offsite", true, None)];
    assert_eq!(state(facts(beside, new()), "Backup target"), Warn);
    let (a, b) = (beside[1], beside[0]);
    assert_eq!(state(facts(&[a, b], new()), "Backup target"), Well);
    let faulty: &[(&str, bool, Option<&str>)] = &[("offsite", true, Some("refused"))];
    assert_eq!(state(facts(faulty, new()), "Backup target"), Fail);
    for (one, wanted) in [
        (dump(1, None, None), Well),
        (dump(900, Some(3), None), Well),
        (dump(900, Some(3), Some("full")), Warn),
        (dump(900, Some(30), None), Warn),
        (dump(900, Some(60), None), Fail),
        (dump(60, None, None), Fail),
    ] {
        let said = format!("{one:?}");
        assert_eq!(
            state(facts(away, vec![one]), "Last backup of main"),
            wanted,
            "{said}"
        );
    }
}

#[test]
fn a7_doctor_database() {
    let facts = |change: fn(&mut State)| {
        let mut state = State {
            path: PathBuf::from("/var/lib/freehold/state.db"),
            check: Ok("ok".into()),
            took: Duration::from_millis(4),
            wal: 1 << 20,
            steps: (10, 10),
        };
        change(&mut state);
        Facts {
            database: Some(state),
            ..Facts::default()
        }
    };
    assert_eq!(state(facts(|_| ()), "state.db"), Well);
    assert_eq!(
        state(facts(|s| s.check = Err("busy".into())), "state.db"),
        Warn
    );
    assert_eq!(
        state(facts(|s| s.check = Ok("row 3 missing".into())), "state.db"),
        Fail
    );
    assert_eq!(state(facts(|_| ()), "Write-ahead log"), Well);
    assert_eq!(state(facts(|s| s.wal = 100 << 20), "Write-ahead log"), Warn);
    assert_eq!(state(facts(|s| s.wal = 300 << 20), "Write-ahead log"), Fail);
    assert_eq!(state(facts(|_| ()), "Schema"), Well);
    assert_eq!(state(facts(|s| s.steps = (9, 10)), "Schema"), Fail);
    assert_eq!(state(facts(|s| s.steps = (11, 10)), "Schema"), Warn);
}

#[test]
fn a7_doctor_permissions() {
    let facts = |change: fn(&mut Modes)| {
        let mut modes = Modes {
            data_dir: PathBuf::from("/var/lib/freehold"),
            data: Some(0o700),
            key: Some(0o600),
            socket: Some((0o660, "freehold".into())),
            docker: Some(vec!["freehold".into()]),
        };
        change(&mut modes);
        Facts {
            permissions: Some(modes),
            ..Facts::default()
        }
    };
    assert_eq!(state(facts(|_| ()), "Data folder"), Well);
    assert_eq!(state(facts(|m| m.data = Some(0o755)), "Data folder"), Warn);
    assert_eq!(state(facts(|m| m.data = None), "Data folder"), Warn);
    assert_eq!(state(facts(|_| ()), "Master key"), Well);
    assert_eq!(state(facts(|m| m.key = Some(0o640)), "Master key"), Fail);
    assert_eq!(state(facts(|_| ()), "Command line"), Well);
    assert_eq!(state(facts(|_| ()), "Group docker"), Well);
    let more = |m: &mut Modes| m.docker = Some(vec!["freehold".into(), "ana".into()]);
    assert_eq!(state(facts(more), "Group docker"), Warn);
}

#[test]
fn a7_doctor_tells_what_monitoring_knows_and_nothing_twice() {
    let item = |level, what: &str| Attention {
        level,
        what: what.into(),
        why: "Its last words say why.".into(),
        remedy: "Read them: `freehold logs shop`.".into(),
        link: "/apps/shop".into(),
    };
    let facts = Facts {
        attention: vec![
            item(Urgency::Bad, "shop has no healthy replica"),
            item(Urgency::Warning, "The last deploy of shop failed"),
            item(Urgency::Bad, "Docker does not answer"),
        ],
        ..Facts::default()
    };
    assert_eq!(state(facts.clone(), "shop has no healthy"), Fail);
    assert_eq!(state(facts.clone(), "The last deploy"), Warn);
    assert_eq!(examine(&facts, NOW).len(), 2);
}

#[test]
fn a7_doctor_reports_the_worst_and_what_could_not_be_read() {
    let facts = Facts {
        unread: vec!["the disk is gone".into()],
        ..engine(|_| ())
    };
    let report = report(examine(&facts, NOW), NOW, 12);
    assert_eq!((report.state, report.took_ms), (Fail, 12));
    assert!(report.checks.is_sorted_by_key(|c| c.area));
    assert_eq!(super::report(Vec::new(), NOW, 0).state, Well);
}
