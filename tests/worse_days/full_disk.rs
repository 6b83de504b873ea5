//! A disk that fills up at any write: an ext4 of its own, left with a few bytes before each change of many kinds. What was
//! acknowledged is there, nothing of what was refused is, the daemon lives and says why, and with space all is well again.

use std::os::unix::fs::symlink;
use std::time::Instant;

use crate::ledger::{APP, Ledger, Verb};
use crate::quiet_box::QuietBox;
use crate::support::disk::Disk;
use crate::support::freehold::words;
use crate::support::until::{secs, until};
use crate::support::upstream;

/// Space for a state database, its reserves and its log.
const DISK_MB: u64 = 48;
/// Changes on a disk that is or gets full; `FREEHOLD_SOAK_SECONDS` makes more of them.
const CHANGES: usize = 100;
/// Changes after which space returns, the daemon is killed and all is looked at.
const ROUND: usize = 20;

const QUOTAS: &str = "[limits]\napi_reads = 1000000\napi_changes = 1000000\n";

/// Numbers that look thrown, the same for the same seed.
struct Dice(u64);

impl Dice {
    /// By `FREEHOLD_SEED`, or the clock; printed, so that a failure can be had again.
    fn thrown() -> Self {
        let clock = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let seed = std::env::var("FREEHOLD_SEED").map_or(clock, |seed| seed.parse().unwrap());
        println!("FREEHOLD_SEED={seed}");
        Self(seed)
    }

    /// Below `sides` (SplitMix64).
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// A box whose data lies on `disk`.
fn a_box(disk: &Disk) -> QuietBox {
    let on = QuietBox::new(QUOTAS);
    symlink(disk.path(), on.data()).unwrap();
    on
}

fn tells(on: &QuietBox) {
    for verb in ["doctor", "status"] {
        until(
            &format!("{verb} to tell of the full disk"),
            secs(60),
            || {
                let said = words(&on.try_cli(&[verb]));
                said.contains("The disk is full").then_some(()).ok_or(said)
            },
        );
    }
}

fn hold(ledger: &Ledger, on: &QuietBox, when: &str) {
    let wrong = ledger.wrong(on);
    assert!(wrong.is_empty(), "{when}: {wrong:#?}");
}

#[test]
fn n7_a_disk_that_is_full_at_any_write_loses_nothing_acknowledged() {
    let _turn = crate::beside_others();
    let disk = Disk::loop_ext4(DISK_MB);
    let mut on = a_box(&disk);
    on.start();
    let mut ledger = Ledger::begin(&on);
    let mut dice = Dice::thrown();
    let budget = std::env::var("FREEHOLD_SOAK_SECONDS").map(|s| secs(s.parse().unwrap()));
    let begun = Instant::now();
    let mut told = false;
    for n in 0.. {
        match &budget {
            Ok(budget) if begun.elapsed() < *budget => {}
            Err(_) if n < CHANGES => {}
            _ => break,
        }
        let verb = Verb::ALL[dice.roll(Verb::ALL.len() as u64) as usize];
        // Not a page, less than a change takes, or room for some.
        let left = match dice.roll(3) {
            0 => dice.roll(8 << 10),
            1 => dice.roll(128 << 10),
            _ => dice.roll(1 << 20),
        };
        disk.fill(left);
        ledger.ask(&on, verb, n);
        if n % ROUND != ROUND - 1 {
            continue;
        }
        let wrong = ledger.wrong_but_values(&on);
        assert!(wrong.is_empty(), "on a full disk: {wrong:#?}");
        if !told && ledger.counts.1 > 0 {
            tells(&on);
            told = true;
        }
        // A power cut on a disk that is full, or has space again.
        let freed = dice.roll(2) == 0;
        if freed {
            disk.free();
        }
        on.kill();
        on.start();
        let wrong = ledger.wrong_but_values(&on);
        assert!(wrong.is_empty(), "after a kill: {wrong:#?}");
        if !freed {
            disk.free();
        }
        hold(&ledger, &on, "with space again");
        assert!(
            ledger.ask(&on, Verb::Env, n),
            "with space: {:?}",
            ledger.said
        );
    }
    println!(
        "{} changes acknowledged and {} refused in {} s: {:#?}",
        ledger.counts.0,
        ledger.counts.1,
        begun.elapsed().as_secs(),
        ledger.said
    );
    assert!(ledger.counts.1 > 0, "the disk was never full");
    for said in &ledger.said {
        assert!(said.contains("is full"), "{said}");
    }
}

/// The journal of changes lies on a disk with space, so that each change is written ahead and meets the full disk in SQLite's
/// own commit: it is refused whole, and a start plays nothing of it. An upload meets it in its midst, behind the look at what
/// is free.
#[test]
fn n7_a_disk_that_fills_in_the_midst_of_a_commit_or_an_upload_leaves_nothing_half() {
    let _turn = crate::beside_others();
    let disk = Disk::loop_ext4(DISK_MB);
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), disk.path().join("state.safe")).unwrap();
    let mut on = QuietBox::new(&format!("[build]\nfree_disk = \"1M\"\n{QUOTAS}"));
    symlink(disk.path(), on.data()).unwrap();
    on.start();
    let pid = on.pid();
    let mut ledger = Ledger::begin(&on);
    // The log of SQLite grows with every change, and each time there is room for a page or some.
    for n in 0..40 {
        disk.fill((n as u64 % 4) * (8 << 10));
        ledger.ask(&on, Verb::ALL[n % Verb::ALL.len()], n);
    }
    assert!(ledger.counts.1 > 0, "the disk was never full");
    for said in &ledger.said {
        assert!(said.contains("is full"), "{said}");
    }
    tells(&on);
    assert_eq!(on.pid(), pid);
    on.kill();
    on.start();
    let wrong = ledger.wrong_but_values(&on);
    assert!(
        wrong.is_empty(),
        "after a kill on the full disk: {wrong:#?}"
    );
    disk.free();
    hold(&ledger, &on, "with space again");

    // More than is asked for is free when it begins, and less than it takes.
    let tree = on.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("Dockerfile"), "FROM scratch\n").unwrap();
    let mut dice = Dice(7);
    let ballast: Vec<u8> = (0..1 << 20)
        .flat_map(|_| dice.roll(u64::MAX).to_le_bytes())
        .collect();
    std::fs::write(tree.join("ballast"), ballast).unwrap();
    let pid = on.pid();
    disk.fill(3 << 20);
    let tree = tree.display().to_string();
    let said = on.try_cli(&["deploy", &tree, "--app", APP, "--detach"]);
    let words = words(&said);
    assert!(!said.status.success(), "{words}");
    assert!(words.contains("No space left on device"), "{words}");
    let uploads = || {
        let all = std::fs::read_dir(on.data().join("builds"))
            .unwrap()
            .flatten();
        all.map(|e| e.file_name()).collect::<Vec<_>>()
    };
    until("the upload to be gone", secs(60), || match uploads() {
        all if all.is_empty() => Ok(()),
        all => Err(format!("{all:?}")),
    });
    assert_eq!(on.json(&["deploys", APP]), serde_json::json!([]));
    assert_eq!(on.pid(), pid);
    disk.free();
    hold(&ledger, &on, "after the upload");
    on.cli(&["deploy", &tree, "--app", APP, "--detach"]);
}

/// The reserve is what tells a full disk and lets changes through for a while; without it the first full write is followed
/// by others. And a state from before is found out: what the tests above say would be said of a loss.
#[test]
fn n7_a_full_disk_without_its_reserve_and_a_lost_change_are_noticed() {
    let _turn = crate::beside_others();
    let disk = Disk::loop_ext4(DISK_MB);
    let mut on = a_box(&disk);
    on.start();
    let mut ledger = Ledger::begin(&on);
    let refused = |ledger: &mut Ledger, from: usize| {
        let first = (from..from + 200).find(|n| !ledger.ask(&on, Verb::Token, *n));
        first.expect("the disk was never full")
    };
    // With the reserve a refusal makes room for what comes after it.
    disk.fill(0);
    let n = refused(&mut ledger, 1_000);
    assert!(ledger.ask(&on, Verb::Token, n + 1), "{:?}", ledger.said);
    // It is gone now, and is not made on a disk as full.
    disk.fill(0);
    let n = refused(&mut ledger, 2_000);
    assert!(!ledger.ask(&on, Verb::Token, n + 1), "who made room?");
    disk.free();
    hold(&ledger, &on, "with space again");

    on.cli(&["env", APP, "set", "KEPT=1"]);
    on.kill();
    let state = on.data().join("state.db");
    let wal = on.data().join("state.db-wal");
    let copies = [&state, &wal].map(|file| std::fs::read(file).unwrap());
    on.start();
    ledger = Ledger::of(&on);
    assert!(ledger.ask(&on, Verb::Env, 7) && ledger.ask(&on, Verb::App, 7));
    hold(&ledger, &on, "before the loss");
    on.kill();
    for (file, copy) in [&state, &wal].into_iter().zip(copies) {
        std::fs::write(file, copy).unwrap();
    }
    // Which would make up for the loss.
    std::fs::remove_dir_all(on.data().join("state.safe")).unwrap();
    on.start();
    let wrong = ledger.wrong(&on);
    assert_eq!(wrong.len(), 2, "{wrong:#?}");
}

/// Figures, the access log and a folder for dumps on a disk of their own that is full: nothing else notices.
#[test]
fn n7_figures_logs_and_dumps_without_space_stop_nothing_else() {
    let _turn = crate::beside_others();
    let disk = Disk::loop_ext4(400);
    let port = upstream::answering("here");
    let mut on = QuietBox::new(&format!(
        "{QUOTAS}[[route]]\nhost = \"route.localhost\"\nupstream = \"http://127.0.0.1:{port}\"\ntls = \"internal\"\n"
    ));
    let (logs, dumps) = (disk.path().join("logs"), disk.path().join("dumps"));
    std::fs::create_dir_all(on.data()).unwrap();
    for folder in [&logs, &dumps] {
        std::fs::create_dir(folder).unwrap();
    }
    symlink(disk.path().join("metrics.db"), on.data().join("metrics.db")).unwrap();
    symlink(&logs, on.data().join("logs")).unwrap();
    on.start();
    let mut ledger = Ledger::begin(&on);
    let edge = on.edge();
    let visit = || edge.get("https://route.localhost/").send();
    until("a visitor to be served", secs(60), || visit().map(drop));
    disk.fill(0);
    let pid = on.pid();
    until("the access log to be missed", secs(150), || {
        let answer = visit().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "here"));
        let log = on.log();
        log.contains("the access log cannot be written")
            .then_some(())
            .ok_or(log)
    });
    until("the figures to be missed", secs(150), || {
        let log = on.log();
        log.contains("figures could not be written")
            .then_some(())
            .ok_or(log)
    });
    let place = format!("dir://{}", dumps.display());
    let refused = on.try_cli(&["target", "add", "usb", &place]);
    let said = words(&refused);
    assert!(
        !refused.status.success() && said.contains("space"),
        "{said}"
    );
    assert_eq!(on.json(&["target", "list"]), serde_json::json!([]));
    let left: Vec<_> = std::fs::read_dir(&dumps).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    for n in 0..10 {
        assert!(ledger.ask(&on, Verb::ALL[n], n), "{:?}", ledger.said);
    }
    hold(&ledger, &on, "beside a full disk");

    disk.free();
    until("the access log to be written again", secs(150), || {
        visit()?;
        let log = on.log();
        log.contains("the access log can be written again")
            .then_some(())
            .ok_or(log)
    });
    on.cli(&["target", "add", "usb", &place]);
    assert_eq!(on.pid(), pid);
    let log = on.kill();
    assert_eq!(log.matches("the access log cannot be written").count(), 1);
    on.start();
    hold(&ledger, &on, "after a restart");
}
