//! The box's clock, held against the one that nobody sets: a jump is told, and what is stored is set right.
//!
//! Waits in memory go by the monotonic clock and do not notice. What lies in rows is by the box's clock: after an hour
//! back, work that waits a second for its next try would wait that hour, and a pause would hold requests for it. What
//! happened while no daemon ran is seen by what lies in the future. Backup schedules and retention bear a jump by
//! themselves (`backup/plan`, `backup/retention`), links end by the clock as it is, and sessions, which end as well when they
//! began in a time to come (`users/store_sessions`).

use std::time::Duration;

use crate::apps::Apps;
use crate::base::clock::UnixMs;
use crate::base::mono::Mono;
use crate::base::sabotage::Sabotage;
use crate::base::shutdown::Tasks;
use crate::certs::Certs;
use crate::db::{Db, DbError};
use crate::events::{self, Level, NewEvent};
use crate::jobs;

/// Between looks.
const LOOK: Duration = Duration::from_secs(1);
/// What a clock is corrected by without a word: a second of a leap, a slow look, an ordinary correction.
const USUAL_MS: i64 = 30_000;

/// What is set right.
#[derive(Clone)]
pub struct ClockWatch {
    pub db: Db,
    pub apps: Apps,
    pub certs: Certs,
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
struct Reading {
    wall: UnixMs,
    mono: Mono,
}

impl Reading {
    fn now() -> Self {
        Self {
            wall: UnixMs::now(),
            mono: Mono::now(),
        }
    }
}

/// By how many milliseconds the clock was set between two readings, if it was.
fn jump(before: Reading, now: Reading) -> Option<i64> {
    let passed = now.mono.since(before.mono);
    let by = now.wall.0.saturating_sub(before.wall.plus(passed).0);
    (by.abs() > USUAL_MS).then_some(by)
}

impl ClockWatch {
    /// Sets right what lies in the future now, and looks at the clock until shutdown.
    pub async fn start(self, tasks: &Tasks) {
        let before = Reading::now();
        self.at_start(before.wall).await;
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_core("clock", async move {
            let mut before = before;
            loop {
                tokio::select! {
                    () = shutdown.begun() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                let now = Reading::now();
                if let Some(by) = jump(before, now) {
                    self.tell(sentence(by, now.wall), now.wall).await;
                    self.set_right(Some(by), now.wall).await;
                }
                before = now;
            }
        });
    }

    async fn at_start(&self, now: UnixMs) {
        let newest: Result<Option<UnixMs>, DbError> = self.db.read(events::newest_time).await;
        match newest {
            Ok(Some(last)) if last.0.saturating_sub(now.0) > USUAL_MS => {
                self.tell(behind(last, now), now).await;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the last event's time could not be read"),
        }
        self.set_right(None, now).await;
    }

    async fn set_right(&self, by_ms: Option<i64>, now: UnixMs) {
        if Sabotage::UnseenClock.is_on() {
            return;
        }
        let waiting: Result<(), DbError> = self
            .db
            .write(move |tx| jobs::clock_set(tx, by_ms, now))
            .await;
        let results = [
            ("work that waits", waiting.map_err(|e| e.to_string())),
            (
                "pauses of apps",
                self.apps
                    .clock_set(by_ms, now)
                    .await
                    .map_err(|e| e.to_string()),
            ),
            (
                "tries for certificates",
                self.certs
                    .clock_set(by_ms, now)
                    .await
                    .map_err(|e| e.to_string()),
            ),
        ];
        for (what, result) in results {
            if let Err(error) = result {
                tracing::error!(
                    error,
                    "{what} could not be set by the clock as it is now; a restart of the daemon tries again"
                );
            }
        }
    }

    async fn tell(&self, words: String, now: UnixMs) {
        tracing::warn!("{words}");
        let event = NewEvent::new("clock.jumped", Level::Warning, "box", words);
        let written: Result<i64, DbError> = self
            .db
            .write(move |tx| events::record(tx, now, &event))
            .await;
        if let Err(error) = written {
            tracing::warn!(%error, "an event about the clock could not be recorded");
        }
    }
}

fn sentence(by_ms: i64, now: UnixMs) -> String {
    let length = length(by_ms.unsigned_abs());
    match by_ms < 0 {
        true => format!(
            "The box's clock was set back by {length}, to {}: what waited goes on by the new time. See that the box keeps time (`timedatectl`).",
            now.iso()
        ),
        false => format!(
            "The box's clock went forward by {length} at once, to {}: what was due meanwhile is done now. If that was wrong, set it back (`timedatectl`): certificates and sessions end by it.",
            now.iso()
        ),
    }
}

fn behind(last: UnixMs, now: UnixMs) -> String {
    format!(
        "The box's clock says {}, and when Freehold last ran it said {}: it was set back by {} or more. What waited goes on by the time as it is now.",
        now.iso(),
        last.iso(),
        length(last.0.abs_diff(now.0))
    )
}

/// `59 s`, `1 h 0 min`, `365 d 0 h`.
fn length(ms: u64) -> String {
    let seconds = ms.saturating_add(500) / 1_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=3_599 => format!("{} min", seconds / 60),
        3_600..=172_799 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn n7_a_jump_is_what_the_other_clock_did_not_do() {
        let at = |wall, mono| Reading {
            wall: UnixMs(wall),
            mono: Mono(mono),
        };
        let before = at(10 * HOUR, 5_000);
        for (wall, mono, by) in [
            (10 * HOUR + 1_000, 6_000, None),
            // The machine was too busy to look for ten minutes; the clock was right all the time.
            (10 * HOUR + 600_000, 605_000, None),
            (10 * HOUR + 31_000, 6_000, None),
            (10 * HOUR - 29_000, 6_000, None),
            (11 * HOUR + 1_000, 6_000, Some(HOUR)),
            (9 * HOUR + 1_000, 6_000, Some(-HOUR)),
            (8_770 * HOUR + 1_000, 6_000, Some(8_760 * HOUR)),
        ] {
            assert_eq!(jump(before, at(wall, mono)), by, "{wall} {mono}");
        }
    }

    #[test]
    fn n7_a_jump_is_told_with_its_length() {
        let now = UnixMs(1_795_227_420_000);
        let back = sentence(-HOUR, now);
        assert!(
            back.contains("set back by 1 h 0 min, to 2026-11-21T"),
            "{back}"
        );
        assert!(sentence(8_760 * HOUR, now).contains("forward by 365 d 0 h"));
        assert!(behind(now.plus(Duration::from_secs(90)), now).contains("by 90 s or more"));
    }
}
