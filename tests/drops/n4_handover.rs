//! N4: the daemon changes under load. Another Freehold takes over, ten times; one that crashes, hangs or is no Freehold at
//! all does not, and the one before serves on; whoever of the two is killed on the way, the box is back.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::place::{PLAIN, Place, Shape};
use crate::rig::ledger::{Outcome, Record, StreamKind};
use crate::rig::load::{EVERYTHING, SHORT_ANSWERS};
use crate::rig::report::Report;
use crate::support::freehold::{BINARY, Freehold, words};
use crate::support::process::{make_program, run, signal};
use crate::support::sweep::Sweep;
use crate::support::until::{secs, until, until_true};

/// Before anything is changed, so that every kind of request was there and streams are open.
pub const WARM: usize = 100;
const HANDOVERS: usize = 10;
/// A little longer than so many handovers take, in the large form: the longest of a short run is chance.
const CONTROL: Duration = secs(30);
/// What nobody waits, in ms, while one hangs that has the lease, which it may for 30 s: the one before serves meanwhile. Held
/// where the machine does nothing else.
const SERVED_WITHIN: u64 = 10_000;
/// So often at most until a request was lost that is to be: whether one is under way at the moment is chance.
const TRIES: usize = 10;
/// What nobody may wait longer than in the control run, in ms. Held where the machine does nothing else: `tests/soak`.
const LONGER: u64 = 100;

/// Streams that are told to come back in their own words.
const WHOLE: &[StreamKind] = &[
    StreamKind::WebSocket,
    StreamKind::Events,
    StreamKind::EventsHttp2,
];

/// What the one before has for ending what it serves: less than the streams stay, so that there are some to be told.
const SETTINGS: &str = "[drain]\nreplica = \"7s\"\ndaemon = \"12s\"\n";
const DRAIN: Duration = secs(7);
/// The same where the machine does other things too: who is told late is told all the same.
const LATE_DRAIN: Duration = secs(60);

/// A box whose program is a file of its own, as on a server.
pub fn place() -> Place {
    place_with(PLAIN.drain)
}

/// The same whose app has so long for what it began.
fn place_with(drain: &'static str) -> Place {
    Place::of_own_program(shape(drain))
}

fn shape(drain: &'static str) -> Shape {
    Shape {
        replicas: 2,
        settings: SETTINGS,
        drain,
        ..PLAIN
    }
}

/// Puts another program in the daemon's place, as an upgrade does: beside it, then over it.
pub fn install(fh: &Freehold, script: &str) {
    let beside = fh.path("freehold.new");
    make_program(&beside, script.as_bytes());
    std::fs::rename(&beside, &fh.program).unwrap();
}

/// Puts the real one back there.
pub fn put_back(fh: &Freehold) {
    let beside = fh.path("freehold.new");
    run(Command::new("cp").arg(BINARY).arg(&beside));
    std::fs::rename(&beside, &fh.program).unwrap();
}

/// The real one, with these variables.
pub fn with_variables(variables: &str) -> String {
    format!("#!/bin/sh\n{variables} exec {BINARY} \"$@\"\n")
}

/// One that dies at this point, if no file of the box has the mark's name.
fn dies_at(fh: &Freehold, point: &str, mark: &str) -> String {
    let mark = fh.path(mark).display().to_string();
    with_variables(&format!(
        "FREEHOLD_CRASH_AT={point} FREEHOLD_CRASH_MARK={mark}"
    ))
}

#[test]
fn n4_ten_handovers_under_load_lose_nothing() {
    let place = place();
    let control = place.load(EVERYTHING, place.scale.streams);
    place.goes_on(&control, 4 * WARM);
    until_true("the control run", secs(120), || {
        !place.scale.soak || control.elapsed() >= CONTROL
    });
    let control = place.report("n4-control", &control.finish());
    control.assert_flawless(place.scale.requests(4 * WARM));

    let load = place.load(EVERYTHING, place.scale.streams);
    place.goes_on(&load, WARM);
    let mut pid = place.fh.pid();
    let mut turns = Vec::new();
    for turn in 0..HANDOVERS {
        load.mark(format!("handover {turn} begins"));
        // So many may leave at a time.
        let began = until("the handover", secs(120), || {
            let began = load.elapsed();
            let said = words(&place.fh.try_cli(&["reload"]));
            match said.contains("daemons still serve what they had") {
                true => Err(said),
                false if said.contains("has taken over") => Ok(began),
                false => panic!("{said}\n{}", place.fh.log_tail()),
            }
        });
        turns.push((began, load.elapsed()));
        load.mark(format!("handover {turn} is over"));
        pid = another_has_the_place(&place.fh, pid);
        place.goes_on(&load, WARM / 2);
    }
    // By then everybody was told who was to be, or is not any more.
    until_true("those before to be gone", secs(120), || {
        daemons(&place.fh) == 1
    });
    let ledger = load.finish();
    let report = place.report("n4-handovers", &ledger);
    report.assert_flawless(place.scale.requests(HANDOVERS * WARM / 2));
    report.assert_streams_whole(WHOLE);
    report.assert_streams_told(WHOLE);
    // Connections of HTTP/2 are told in its own words.
    let goodbyes = report.goaways.get("NO_ERROR").copied().unwrap_or(0);
    assert!(goodbyes >= HANDOVERS as u64, "{goodbyes} GOAWAY\n{report}");
    let within = if place.scale.soak { DRAIN } else { LATE_DRAIN };
    let told = ledger.told_within(StreamKind::WebSocket, &turns, within);
    let (told, longest) = told.unwrap_or_else(|why| panic!("{why}\n{report}"));
    assert!(told > 0, "no WebSocket was there\n{report}");
    println!(
        "    {told} WebSockets were told to come back, the last {} ms after its handover, of {} ms of drain",
        longest.as_millis(),
        DRAIN.as_millis()
    );
    println!(
        "    {HANDOVERS} handovers in {:.0} s, the control run {:.0} s; the longest waits by kind:",
        report.seconds, control.seconds
    );
    for (kind, longest) in &report.longest_ms {
        println!(
            "    {kind}: {longest} ms, {} in the control run",
            control.longest_ms[kind]
        );
    }
    if place.scale.soak {
        for (kind, longest) in &report.longest_ms {
            let control = control.longest_ms[kind];
            assert!(
                *longest <= control + LONGER,
                "{kind}: {longest} ms, {control} in the control run\n{report}"
            );
        }
    }
    // The one that is left has the app.
    place.until_serving(2);
}

/// The saboteur: one that goes and cuts what it serves is noticed.
#[test]
fn n4_a_handover_that_cuts_what_it_serves_is_noticed() {
    let place = place();
    place.fh.sabotage(Some("abrupt-handover"));
    place.until_serving(2);
    let load = place.load(EVERYTHING, place.scale.streams);
    place.goes_on(&load, WARM);
    for _ in 0..3 {
        place.fh.cli(&["reload"]);
        place.goes_on(&load, WARM / 2);
    }
    let report = place.report("n4-saboteur-abrupt", &load.finish());
    assert!(report.good < report.sent, "nothing was lost\n{report}");
}

#[test]
fn n4_a_new_freehold_that_cannot_take_over_leaves_the_old_one_serving() {
    let place = place();
    let load = place.load(EVERYTHING, place.scale.streams);
    place.goes_on(&load, WARM);
    let dies_at = |point: &str| dies_at(&place.fh, point, point);
    // What is installed, what is said of it, and whether the box had passed over by then.
    let bad = [
        ("#!/bin/sh\nexit 3\n".to_owned(), "exit code 3", false),
        ("#!/bin/sh\nkill -SEGV $$\n".to_owned(), "signal 11", false),
        ("not a program".to_owned(), "could not be started", false),
        (
            "#!/bin/sh\nexec sleep 600\n".to_owned(),
            "within 15 s",
            false,
        ),
        (dies_at("handover.looked.after"), "signal 9", false),
        (dies_at("handover.taken.after"), "signal 9", true),
        (dies_at("handover.acts.after"), "signal 9", true),
        (
            with_variables("FREEHOLD_SABOTAGE=hanging-start"),
            "within 30 s",
            true,
        ),
    ];
    for (program, said, passed_over) in bad {
        // Without the path of the binary, which is another on each machine.
        let named = program.split(" exec ").next().unwrap_or_default();
        load.mark(format!(
            "{} is installed",
            named.trim_start_matches("#!/bin/sh\n")
        ));
        install(&place.fh, &program);
        let before = place.fh.pid();
        let refused = place.fh.refused(&["reload"]);
        assert!(
            refused.contains(said) && refused.contains("did not take over"),
            "{program}: {refused}"
        );
        match passed_over {
            true => {
                another_has_the_place(&place.fh, before);
            }
            false => assert_eq!(place.fh.pid(), before, "{program}"),
        }
        // The box is somebody's: it can be asked, and acts.
        place.fh.wait_until_up();
        let events = place.fh.cli(&["events"]);
        assert!(
            events.contains("did not; the one that ran before serves on"),
            "{events}"
        );
    }
    place.goes_on(&load, WARM);
    // And a good one takes over from all that.
    install(&place.fh, &with_variables(""));
    place.fh.cli(&["reload"]);
    let report = place.report("n4-bad-programs", &load.finish());
    report.assert_flawless(place.scale.requests(2 * WARM));
    report.assert_streams_whole(WHOLE);
    let longest = report.waited_ms.longest;
    assert!(!place.scale.soak || longest < SERVED_WITHIN, "{report}");
}

/// The saboteur: where the one before ends its edge when it lets go, one that then cannot take over costs requests.
#[test]
fn n4_an_edge_that_ends_before_another_one_serves_is_noticed() {
    let place = place();
    place.fh.sabotage(Some("early-end"));
    place.until_serving(2);
    let load = place.load(EVERYTHING, 0);
    place.goes_on(&load, WARM);
    for turn in 0..TRIES {
        if !load.failed().is_empty() {
            break;
        }
        load.mark(format!("bad program {turn} is installed"));
        let mark = format!("early-end-{turn}");
        install(
            &place.fh,
            &dies_at(&place.fh, "handover.taken.after", &mark),
        );
        let before = place.fh.pid();
        let refused = place.fh.refused(&["reload"]);
        assert!(refused.contains("did not take over"), "{refused}");
        another_has_the_place(&place.fh, before);
        place.fh.wait_until_up();
        place.goes_on(&load, WARM / 2);
    }
    let report = place.report("n4-saboteur-early-end", &load.finish());
    assert!(report.good < report.sent, "nothing was lost\n{report}");
}

/// So many restarts, or until enough was lost.
fn restarts(
    place: &Place,
    name: &str,
    most: usize,
    is_enough: impl Fn(&[Record]) -> bool,
) -> Report {
    // Safe requests wait in the sockets while nobody takes them; what is answered at the end of the drain comes whole.
    let load = place.load(SHORT_ANSWERS, 0);
    place.goes_on(&load, WARM);
    for turn in 0..most {
        load.mark(format!("restart {turn} begins"));
        place.fh.restart();
        place.goes_on(&load, WARM / 2);
        if is_enough(&load.failed()) {
            break;
        }
    }
    place.report(name, &load.finish())
}

#[test]
fn n4_a_restart_refuses_nobody() {
    let place = place();
    let report = restarts(&place, "n4-restarts", 3, |_| false);
    report.assert_flawless(place.scale.requests(WARM));
}

/// The saboteur: where nobody holds the sockets, a restart does. That anybody comes while there is no daemon is likely, and
/// chance.
#[test]
fn n4_a_restart_without_held_sockets_refuses_some() {
    let place = Place::of_own_sockets(shape(PLAIN.drain));
    let refused = |record: &Record| matches!(record.outcome, Outcome::Refused(_));
    let is_enough = |failed: &[Record]| failed.iter().any(refused);
    let report = restarts(&place, "n4-saboteur-restarts", TRIES, is_enough);
    let refused = report.failures.keys().filter(|k| k.ends_with(" refused"));
    assert!(refused.count() > 0, "nobody was refused\n{report}");
}

#[test]
fn n4_whoever_is_killed_during_a_handover_the_box_is_back() {
    let place = place();
    let mut sweep = Sweep::of("n4_whoever_is_killed_during_a_handover_the_box_is_back");
    for point in sweep.points() {
        place.fh.arm(&point);
        // Whether it fails or the daemon is gone before it could say so: it does not hang.
        let said = words(&place.fh.try_cli(&["reload"]));
        sweep.struck(place.fh.crashed(&point, secs(60)));
        place.until_serving(2);
        until(
            &format!("one daemon after {point}"),
            secs(120),
            || match daemons(&place.fh) {
                1 => Ok(()),
                n => Err(format!("{n} daemons; reload said {said}")),
            },
        );
        place
            .fh
            .cli(&["env", "shop", "set", &format!("AFTER={}", point.len())]);
    }
    // Nothing of it stays: the next one is as ever.
    place.fh.restart();
    let old = place.fh.pid();
    let told = place.fh.documented("reload", &["reload"]);
    let new = another_has_the_place(&place.fh, old);
    assert_eq!(
        (&told[0]["state"], &told[0]["pid"]),
        (&"done".into(), &new.into())
    );
}

/// Two never act: one that is stopped keeps the lease, whoever else wants it.
#[test]
fn n4_a_daemon_that_is_paused_is_not_followed_by_another() {
    let place = place();
    let old = place.fh.pid();
    signal(old, "STOP");
    // Somebody starts another one on the same folder, without its place.
    let mut second = std::process::Command::new(BINARY);
    second
        .args(["serve", "--config"])
        .arg(place.fh.config_file());
    let second = second.output().unwrap();
    let said = words(&second);
    assert!(
        !second.status.success() && said.contains("another Freehold already runs"),
        "{said}"
    );
    signal(old, "CONT");
    place.fh.wait_until_up();

    // The one that goes is paused while the other starts: it has not let go, so nobody acts.
    let started = place.fh.path("started");
    let slow = format!(
        "#!/bin/sh\ntouch {}\nsleep 3\nexec {BINARY} \"$@\"\n",
        started.display()
    );
    install(&place.fh, &slow);
    let mut reload = place.fh.command(&["reload"]).spawn().unwrap();
    until_true("the other to start", secs(60), || started.exists());
    signal(old, "STOP");
    std::thread::sleep(secs(6));
    assert_eq!(place.fh.pid(), old);
    assert!(holds_the_lease(&place.fh, old), "{}", place.fh.log_tail());
    signal(old, "CONT");
    assert!(reload.wait().unwrap().success(), "{}", place.fh.log_tail());
    let new = another_has_the_place(&place.fh, old);
    assert!(holds_the_lease(&place.fh, new));
    assert!(!holds_the_lease(&place.fh, old));
}

/// Who has the place after `old`, once whoever keeps it has heard of that: the command may end before.
pub fn another_has_the_place(fh: &Freehold, old: u32) -> u32 {
    until("another to have the place", secs(60), || match fh.pid() {
        pid if pid == old => Err("the old one has it".to_owned()),
        pid => Ok(pid),
    })
}

fn holds_the_lease(fh: &Freehold, pid: u32) -> bool {
    lease_holder(fh) == Some(pid)
}

/// Which process has the lock on the lease, as the kernel tells. It tells in pieces, and locks that come and go meanwhile can
/// hide one between two: so it is asked again before nobody has it.
pub fn lease_holder(fh: &Freehold) -> Option<u32> {
    (0..20).find_map(|_| lease_holder_told(fh))
}

fn lease_holder_told(fh: &Freehold) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = std::fs::metadata(fh.data_dir().join("lease"))
        .unwrap()
        .ino();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    // `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`; an arrow in front of who only waits for it.
    let mut has = locks.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words[..] else {
            return None;
        };
        let is_it = file.ends_with(&format!(":{inode}"));
        is_it.then(|| pid.parse().unwrap())
    });
    has.next()
}

/// How many daemons there are of this box.
pub fn daemons(fh: &Freehold) -> usize {
    let config = fh.config_file();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|b| *b == 0).map(String::from_utf8_lossy);
        let is_daemon = words.clone().nth(1).is_some_and(|word| word == "serve");
        is_daemon && words.any(|word| Path::new(&*word) == config)
    })
    .count()
}

/// Whoever took over and is deployed on at once: the one before still sends requests to what is replaced.
#[test]
fn n4_a_deploy_right_after_a_handover_loses_nothing_of_the_one_before() {
    let mut place = place_with("0s");
    let load = place.load(EVERYTHING, place.scale.streams);
    place.goes_on(&load, WARM);
    load.mark("handover begins");
    place.fh.cli(&["reload"]);
    load.mark("deploy begins");
    place.deploy();
    load.mark("deploy is over");
    place.goes_on(&load, WARM / 2);
    let report = place.report("n4-deploy-after", &load.finish());
    // With no time to drain, what is broken off at the replicas' end is what the deploy was told to; nothing was before.
    let before = report.first_failure.as_deref().unwrap_or_default();
    assert!(!before.contains("refused"), "{report}");
    assert!(report.instances.len() > 2, "{report}");
}

/// The one that has the place dies while the one before still serves: whoever keeps both starts it anew.
#[test]
fn n4_a_successor_that_dies_is_started_anew_though_the_one_before_still_serves() {
    let place = place();
    let load = place.load(EVERYTHING, place.scale.streams);
    place.goes_on(&load, WARM);
    let old = place.fh.pid();
    place.fh.cli(&["reload"]);
    let new = another_has_the_place(&place.fh, old);
    signal(new, "KILL");
    until_true("another daemon", secs(60), || place.fh.pid() != new);
    place.fh.wait_until_up();
    place.until_serving(2);
    until_true("one daemon", secs(60), || daemons(&place.fh) == 1);
    // And so is one that is told to stop: the one before does not keep the place.
    let old = place.fh.pid();
    place.fh.cli(&["reload"]);
    another_has_the_place(&place.fh, old);
    place.fh.restart();
    place.until_serving(2);
    until_true("one daemon", secs(60), || daemons(&place.fh) == 1);
    drop(load);
}
