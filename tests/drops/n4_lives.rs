//! N4: who of the two in a handover is told to stop, or stopped for longer than every limit: nothing is lost, and never do
//! two act.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use crate::n4_handover::{
    WARM, another_has_the_place, daemons, install, lease_holder, place, put_back, with_variables,
};
use crate::place::Place;
use crate::rig::ledger::Kind;
use crate::support::freehold::{BINARY, Freehold, engine};
use crate::support::process::{Process, signal};
use crate::support::until::{secs, until, until_true};

/// Above the longest that a handover gives the other: 30 s to serve.
const PAST_ALL: u64 = 36;

/// An end over HTTP/2 is told, and who connects waits in the sockets. An idle connection of HTTP/1.1 can only be ended, which
/// meets the request that is on its way: who stops ends it.
const MOVES: &[Kind] = &[Kind::Http2, Kind::Fresh, Kind::SlowHttp2, Kind::Http2];

/// A program that waits before it takes over, and says that it does.
fn waits(fh: &Freehold) -> String {
    let started = fh.path("started");
    std::fs::remove_file(&started).ok();
    format!(
        "#!/bin/sh\ncase \"$*\" in *--takes-over*) touch {}; sleep 3;; esac\nexec {BINARY} \"$@\"\n",
        started.display()
    )
}

/// That one, once it says so.
fn started(fh: &Freehold, old: u32) -> u32 {
    let mark = fh.path("started");
    until_true("the other to start", secs(60), || mark.exists());
    let children = format!("/proc/{old}/task/{old}/children");
    let children = std::fs::read_to_string(children).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

/// Asks for a handover, and does not wait for it.
fn reload(fh: &Freehold) -> Child {
    let mut command = fh.command(&["reload"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().unwrap()
}

/// The successor, once it has the lease.
fn taken(fh: &Freehold, old: u32) -> u32 {
    let begun = std::time::Instant::now();
    loop {
        // Looked at without a rest: a moment later it serves.
        match lease_holder(fh) {
            Some(pid) if pid != old => return pid,
            holder => assert!(begun.elapsed() < secs(60), "{holder:?} has the lease"),
        }
    }
}

fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// One daemon, which has the lease and the place, and acts.
fn until_settled(place: &Place) {
    until("one daemon, which acts", secs(120), || {
        let all = (daemons(&place.fh), lease_holder(&place.fh), place.fh.pid());
        match all {
            (1, Some(holder), pid) if holder == pid => Ok(()),
            _ => Err(format!("{all:?}\n{}", place.fh.log_tail())),
        }
    });
    place.fh.wait_until_up();
    place.until_serving(2);
}

#[test]
fn n4_whoever_is_told_to_stop_during_a_handover_nothing_is_lost() {
    let place = place();
    let load = place.load(MOVES, 0);
    place.goes_on(&load, WARM);
    let hangs = with_variables("FREEHOLD_SABOTAGE=hanging-start");
    let ways = [
        ("the old one while the other starts", true, false),
        ("the old one while the other has the lease", true, true),
        ("the new one while it starts", false, false),
        ("the new one once it has the lease", false, true),
    ];
    for (who, is_old, has_lease) in ways {
        load.mark(who);
        let old = place.fh.pid();
        match (is_old, has_lease) {
            (true, true) => install(&place.fh, &hangs),
            (false, true) => {}
            (_, false) => install(&place.fh, &waits(&place.fh)),
        }
        let mut asked = reload(&place.fh);
        let new = match has_lease {
            true => taken(&place.fh, old),
            false => started(&place.fh, old),
        };
        // What is started next is a good one.
        put_back(&place.fh);
        signal(if is_old { old } else { new }, "TERM");
        if is_old {
            until_true("the old one to be gone", secs(60), || !is_there(old));
        }
        asked.wait().unwrap();
        until_settled(&place);
        // One that was told to stop before it had anything leaves the old one serving.
        assert_eq!(place.fh.pid() == old, !is_old && !has_lease, "{who}");
        place.goes_on(&load, WARM / 2);
    }
    // One that has taken over is told to stop: the one before, which still serves, ends in order with it.
    load.mark("right after a handover");
    let old = place.fh.pid();
    place.fh.cli(&["reload"]);
    another_has_the_place(&place.fh, old);
    place.fh.restart();
    until_settled(&place);
    place.goes_on(&load, WARM / 2);
    let report = place.report("n4-told-to-stop", &load.finish());
    report.assert_flawless(place.scale.requests(WARM));
}

/// Follows what the engine is asked to make of this box. From the beginning: it remembers few of its events, and other tests
/// fill those.
fn makings(fh: &Freehold) -> Process {
    let label = format!("label=freehold.installation={}", fh.installation());
    let mut events = Command::new("docker");
    events.args(["-H", &engine(), "events", "--since", &now()]);
    events.args(["--filter", &label, "--filter", "event=create"]);
    events.args(["--format", "{{.Actor.Attributes.name}}"]);
    Process::start(&mut events, fh.path("makings"))
}

/// What was made since, by container, and how often.
fn made(makings: &Process) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for name in makings.log_text().lines() {
        *all.entry(name.to_owned()).or_default() += 1;
    }
    all
}

fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.unwrap();
    // To the nanosecond: what was made a moment before is not of it.
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

fn deploys(fh: &Freehold) -> usize {
    fh.json(&["deploys", "shop"]).as_array().unwrap().len()
}

/// Changes a setting, which is a row, a job and containers; the one that acts does it, once there is one.
fn change(fh: &Freehold, value: &str) -> Child {
    let setting = format!("PAUSED={value}");
    let mut command = fh.command(&["env", "shop", "set", &setting]);
    command.stdin(Stdio::null()).spawn().unwrap()
}

/// Adds whoever has the lease now to those who had it, in order.
///
/// # Errors
/// That another one has it while the one before could still act.
fn look(fh: &Freehold, holders: &mut Vec<u32>) -> Result<(), String> {
    if let Some(holder) = lease_holder(fh)
        && holders.last() != Some(&holder)
    {
        if let Some(before) = holders.last().filter(|before| is_there(**before)) {
            return Err(format!("{before} lives, and {holder} acts"));
        }
        holders.push(holder);
    }
    Ok(())
}

/// Whoever has the lease during a pause, in order. Never another one while the one before could still act.
fn watched(fh: &Freehold, seconds: u64) -> Vec<u32> {
    let mut holders: Vec<u32> = Vec::new();
    let begun = std::time::Instant::now();
    while begun.elapsed() < secs(seconds) {
        look(fh, &mut holders).unwrap_or_else(|why| panic!("{why}"));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    holders
}

/// The successor has the lease and is stopped: nobody acts until it is seen dead; waking it then is too late.
#[test]
fn n4_a_successor_that_is_paused_with_the_lease_is_dead_before_another_acts() {
    let place = place();
    let (old, before) = (place.fh.pid(), deploys(&place.fh));
    let makings = makings(&place.fh);
    let mut asked = reload(&place.fh);
    let new = taken(&place.fh, old);
    signal(new, "STOP");
    let changed = change(&place.fh, "successor");
    let holders = watched(&place.fh, PAST_ALL);
    assert_eq!(holders[0], new, "{holders:?}");
    // It was killed as it stood; a third one has the box.
    signal(new, "CONT");
    until_true("the paused one to be gone", secs(60), || !is_there(new));
    assert!(!asked.wait().unwrap().success(), "{}", place.fh.log_tail());
    settled_once(&place, changed, &makings, before);
    assert_ne!(place.fh.pid(), new);
}

/// The old one is stopped once it has said that the other may act: it does nothing any more, however late it wakes.
#[test]
fn n4_a_daemon_that_is_paused_behind_its_last_word_acts_no_more() {
    let place = place();
    let (old, before) = (place.fh.pid(), deploys(&place.fh));
    let makings = makings(&place.fh);
    let mut asked = reload(&place.fh);
    let new = taken(&place.fh, old);
    signal(old, "STOP");
    let changed = change(&place.fh, "old");
    let holders = watched(&place.fh, PAST_ALL);
    assert_eq!(holders, [new]);
    signal(old, "CONT");
    // Whether it took the silence for a failure or not: the lease went over at most once more, and from a dead one.
    watched(&place.fh, 5);
    asked.wait().unwrap();
    settled_once(&place, changed, &makings, before);
}

/// The saboteur: one that takes the lease from a daemon that is paused is seen by the look that the tests above take.
#[test]
fn n4_saboteur_a_lease_that_is_taken_from_a_paused_daemon_is_noticed() {
    let place = place();
    let fh = &place.fh;
    let old = fh.pid();
    let mut holders = Vec::new();
    look(fh, &mut holders).unwrap();
    assert_eq!(holders, [old]);
    signal(old, "STOP");
    // Beside it, on the same folder: nothing but the lease is in its way.
    let settings = std::fs::read_to_string(fh.config_file()).unwrap();
    let settings = settings
        .replace("/run\"", "/run-beside\"")
        .replace(":80\"", ":8080\"")
        .replace(":443\"", ":8443\"");
    let config = fh.path("beside.toml");
    std::fs::write(&config, settings).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["serve", "--config"]).arg(&config);
    command.env("FREEHOLD_SABOTAGE", "stolen-lease");
    let second = Process::start(&mut command, fh.path("beside.log"));
    let noticed = until("two that act to be noticed", secs(120), || {
        match look(fh, &mut holders) {
            Err(why) => Ok(why),
            Ok(()) => Err(second.log_text()),
        }
    });
    assert_eq!(
        noticed,
        format!("{old} lives, and {} acts", second.pid()),
        "{}",
        second.log_text()
    );
    // Gone before the other one wakes, which then has the box alone again.
    second.signal("KILL");
    drop(second);
    signal(old, "CONT");
    fh.wait_until_up();
}

/// All that was to be done was done, once, by whoever acts now.
fn settled_once(place: &Place, mut changed: Child, makings: &Process, before: usize) {
    assert!(changed.wait().unwrap().success(), "{}", place.fh.log_tail());
    until_settled(place);
    assert_eq!(deploys(&place.fh), before + 1);
    let made = until("what was made to be told", secs(60), || {
        let made = made(makings);
        let is_all = made.values().sum::<usize>() >= 2;
        if is_all {
            Ok(made)
        } else {
            Err(format!("{made:?}"))
        }
    });
    let is_once = made.len() == 2 && made.values().all(|times| *times == 1);
    assert!(is_once, "{made:?}\n{}", place.fh.log_tail());
}

/// It has looked at itself, and waits for the old one to let go, which is paused: told to stop, it takes nothing any more.
#[test]
fn n4_a_successor_that_is_told_to_stop_before_it_has_the_lease_takes_nothing() {
    let place = place();
    let old = place.fh.pid();
    install(&place.fh, &waits(&place.fh));
    let mut asked = reload(&place.fh);
    let new = started(&place.fh, old);
    put_back(&place.fh);
    signal(old, "STOP");
    let program = std::fs::canonicalize(BINARY).unwrap();
    let exe = format!("/proc/{new}/exe");
    until_true("the other to be the program", secs(60), || {
        std::fs::read_link(&exe).is_ok_and(|at| at == program)
    });
    // A moment later it waits; before that it is ended by the signal, which comes to the same.
    std::thread::sleep(secs(1));
    signal(new, "TERM");
    until_true("it to be over", secs(60), || {
        let state = std::fs::read_to_string(format!("/proc/{new}/stat"));
        state.map_or(true, |state| state.contains(") Z "))
    });
    assert_eq!(lease_holder(&place.fh), Some(old));
    signal(old, "CONT");
    assert!(!asked.wait().unwrap().success(), "{}", place.fh.log_tail());
    until_settled(&place);
    assert_ne!(place.fh.pid(), new);
}
