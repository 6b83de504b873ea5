//! Deaths of replicas, and which requests they excuse: those that may not be sent again, had been sent by then, and were at
//! the one that died, as the edge's own log says. Of each death there are few.

use std::time::Duration;

use crate::place::{Container, Place};
use crate::rig::edge_log;
use crate::rig::ledger::{Ledger, Record};
use crate::rig::load::Load;
use crate::rig::report::Report;
use crate::support::until::{secs, until, until_true};

/// Of the clocks: ours is read a little after a run begins, and the engine's is cut to milliseconds.
const CLOCKS: Duration = Duration::from_millis(20);
/// Of the load of these tests one of so many requests may not be sent again.
const UNSAFE_ONE_OF: u64 = 9;
/// As long as an upload takes to send, and more; a slow machine adds what it lets everybody wait.
const UNDER_WAY_MS: u64 = 1_000;

/// A replica's end.
pub struct Death {
    /// The replica's name in the edge's log.
    target: String,
    /// By the engine, which notes no better one of those that end with it than when it is back.
    moment: Duration,
    /// Not before.
    from: Duration,
}

impl Death {
    /// Has a replica die, waits until the engine says so, and holds what the daemon says of it against the truth.
    pub fn of(place: &Place, load: &Load, way: &str, turn: usize) -> Self {
        let all = place.containers();
        let victim = &all[turn % all.len()];
        let target = place.target_of(victim);
        let started = victim.state()["StartedAt"].clone();
        load.mark(format!("{way} of {}", victim.id));
        // On a busy machine the engine notes an end later than whoever was at it meets that.
        let from = load.elapsed();
        match way {
            "kill -9" => victim.docker(&["kill", "-s", "KILL"]),
            "docker stop" => victim.docker(&["stop", "-t", "60"]),
            _ => victim.behave("eat"),
        }
        let dead = || {
            let state = victim.state();
            state["Running"] == false || state["StartedAt"] != started
        };
        until_true("its death", secs(120), dead);
        load.mark(format!("{} is dead", victim.id));
        let moment = load.at(victim.ended_ms());
        let death = Self {
            target,
            moment,
            from,
        };
        let why = match way {
            "kill -9" => "was killed by SIGKILL",
            "docker stop" => "ended with exit code 0",
            _ => "ran out of its memory limit",
        };
        until("why it died to be told", secs(120), || {
            let events = place.fh.cli(&["events", "shop"]);
            events.contains(why).then_some(()).ok_or(events)
        });
        death
    }

    /// The last one of this container, which lived until then at least.
    pub fn seen(load: &Load, victim: &Container, target: String, from: Duration) -> Self {
        let moment = load.at(victim.ended_ms());
        Self {
            target,
            moment,
            from,
        }
    }

    /// Whether this request was at the one that died, then or at another time.
    pub fn had(&self, place: &Place, record: &Record) -> bool {
        let lines = edge_log::lines_of(&place.log(), record);
        lines.iter().any(|l| l["target"] == self.target.as_str())
    }

    /// Whether this request was under way then, by its times.
    fn met(&self, record: &Record) -> bool {
        let sent = record.sent.is_some_and(|sent| sent <= self.moment + CLOCKS);
        sent && record.end + CLOCKS >= self.from
    }
}

/// No safe request failed; each other one that did was at a replica when it died, and of no death there are many.
pub fn assert_saved(place: &Place, ledger: &Ledger, deaths: &[Death], report: &Report) {
    assert!(report.failed_safe == 0, "safe requests failed\n{report}");
    // As many as come while one of them is under way.
    let under_way = UNDER_WAY_MS + report.waited_ms.median;
    let most = u64::from(place.scale.rate) * under_way / 1_000 / UNSAFE_ONE_OF + 1;
    let mut excused = vec![0_u64; deaths.len()];
    for record in ledger.records.iter().filter(|r| !r.is_good()) {
        let lines = edge_log::lines_of(&place.log(), record);
        let at = |death: &&Death| lines.iter().any(|l| l["target"] == death.target.as_str());
        let which = deaths.iter().position(|d| d.met(record) && at(&d));
        let told = edge_log::told(&lines);
        let which = which.unwrap_or_else(|| panic!("{record:?} met no death\n{told}\n{report}"));
        excused[which] += 1;
    }
    println!("    lost with each death: {excused:?}");
    let worst = excused.into_iter().max().unwrap_or(0);
    assert!(
        worst <= most,
        "{worst} went with one replica, {most} may\n{report}"
    );
}
