//! How containers died: the last few deaths of each row, with the last lines each left in its log.
//!
//! Kept in memory, for the pages and `freehold app show`; the log itself and the events outlive the daemon. The lines are
//! read right after the death, from what the engine took in until then: the next life soon writes into the same log.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;

use crate::base::clock::UnixMs;
use crate::docker::{LogLine, LogQuery};

use super::live::Exit;
use super::shared::Shared;

/// Deaths of a row that are remembered.
const KEPT: usize = 5;
/// Lines of each, and the longest of them.
const LINES: usize = 20;
const LINE: usize = 500;
/// What is read of a log: some lines may be of the next life already.
const READ: u32 = 100;
/// So much later than it was written the engine may have read a line.
const READ_LATE: Duration = Duration::from_millis(500);
/// Reading them must not take long.
const LIMIT: Duration = Duration::from_secs(15);

/// How a container's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// When.
    pub at: UnixMs,
    /// Exit code, signal, want of memory; `None` when we ended it ourselves because it gave no good answer.
    pub exit: Option<Exit>,
    /// In words that follow a name: "was killed by SIGKILL (exit code 137)".
    pub why: String,
    /// Which one in a row it was.
    pub in_a_row: u32,
    /// The last it wrote, the oldest first.
    pub lines: Vec<String>,
}

#[derive(Default)]
pub(super) struct Deaths(Mutex<HashMap<i64, VecDeque<Death>>>);

impl Deaths {
    pub(super) fn of(&self, row: i64) -> Vec<Death> {
        let all = self.lock();
        all.get(&row).into_iter().flatten().rev().cloned().collect()
    }

    pub(super) fn forget(&self, row: i64) {
        self.lock().remove(&row);
    }

    fn add(&self, row: i64, death: Death) {
        let mut all = self.lock();
        let of_row = all.entry(row).or_default();
        of_row.push_back(death);
        while of_row.len() > KEPT {
            of_row.pop_front();
        }
    }

    /// The engine told so: of a death that it has put down to nothing.
    pub(super) fn ran_out_of_memory(&self, row: i64, told: UnixMs) {
        let mut all = self.lock();
        let Some(death) = all.get_mut(&row).and_then(|of_row| of_row.back_mut()) else {
            return;
        };
        if let Some(exit) = &mut death.exit
            && exit.is_for_want_of_memory(told)
        {
            exit.oom = true;
            death.why = exit.to_string();
        }
    }

    fn add_lines(&self, row: i64, at: UnixMs, lines: Vec<String>) {
        let mut all = self.lock();
        let mut of_row = all.get_mut(&row).into_iter().flatten().rev();
        if let Some(death) = of_row.find(|d| d.at == at) {
            death.lines = lines;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, VecDeque<Death>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Remembers a death, and what its container wrote last.
pub(super) fn remember(shared: &Arc<Shared>, row: i64, container: Option<String>, death: Death) {
    let (at, of_itself) = (death.at, death.exit.is_some());
    shared.deaths.add(row, death);
    let Some(container) = container else { return };
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.spawn("last lines of a container", async move {
        let query = LogQuery {
            tail: Some(READ),
            ..LogQuery::default()
        };
        let read = shared
            .engine
            .logs(&container, query)
            .filter_map(|line| std::future::ready(line.ok()))
            .collect();
        let Ok(lines) = tokio::time::timeout(LIMIT, read).await else {
            return;
        };
        let end = of_itself.then_some(at);
        shared.deaths.add_lines(row, at, last(lines, end));
    });
}

/// The last lines that were written before `end`. The engine gives them their time when it reads them, which may be a moment
/// after the container that wrote them has ended.
fn last(lines: Vec<LogLine>, end: Option<UnixMs>) -> Vec<String> {
    let before = |line: &LogLine| end.is_none_or(|end| line.at_ms <= end.plus(READ_LATE).0);
    let mut lines: Vec<String> = lines
        .into_iter()
        .filter(before)
        .map(|line| line.text.chars().take(LINE).collect())
        .collect();
    lines.drain(..lines.len().saturating_sub(LINES));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(at: i64) -> Death {
        Death {
            at: UnixMs(at),
            exit: None,
            why: "hung".into(),
            in_a_row: 1,
            lines: Vec::new(),
        }
    }

    #[test]
    fn n3_the_last_five_deaths_are_kept_with_the_last_lines_of_each() {
        let deaths = Deaths::default();
        for at in 0..7 {
            deaths.add(3, death(at));
            deaths.add_lines(3, UnixMs(at), vec![format!("line of {at}")]);
        }
        let kept = deaths.of(3);
        let times: Vec<i64> = kept.iter().map(|d| d.at.0).collect();
        assert_eq!(times, [6, 5, 4, 3, 2]);
        assert_eq!(kept[1].lines, ["line of 5"]);
        // Of one that is forgotten meanwhile.
        deaths.add_lines(3, UnixMs(0), vec!["late".into()]);
        assert!(deaths.of(4).is_empty());
        deaths.forget(3);
        assert!(deaths.of(3).is_empty());
    }

    #[test]
    fn n3_want_of_memory_that_the_engine_tells_late_is_why_it_died() {
        let deaths = Deaths::default();
        let exit = Exit {
            code: 137,
            oom: false,
            at: UnixMs(10_000),
        };
        deaths.add(
            3,
            Death {
                why: exit.to_string(),
                exit: Some(exit),
                ..death(10_000)
            },
        );
        let why = |told| {
            deaths.ran_out_of_memory(3, UnixMs(told));
            deaths.of(3)[0].why.clone()
        };
        assert!(why(60_000).contains("SIGKILL"), "of another time");
        assert!(why(11_000).contains("ran out of its memory limit"));
    }

    #[test]
    fn n3_what_the_next_life_writes_is_not_told_of_the_death() {
        let line = |at_ms: i64| LogLine {
            at_ms,
            is_error: true,
            text: format!("at {at_ms}"),
        };
        let lines: Vec<LogLine> = (0..40).map(|second| line(second * 1_000)).collect();
        let kept = last(lines.clone(), Some(UnixMs(28_600)));
        assert_eq!(
            (kept.len(), kept[0].as_str(), kept[19].as_str()),
            (20, "at 10000", "at 29000")
        );
        assert_eq!(last(lines, None)[19], "at 39000");
    }
}
