//! Work that runs to its end once: release commands, cron, restores.
//!
//! The row says whether it was started and how it ended, so the same call after
//! a crash finds the running container, or the result, and never runs it twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::docker::{LogLine, LogQuery, Phase};

use super::act;
use super::error::SuperviseError;
use super::live::{Exit, State};
use super::plan::Desired;
use super::run::JobEnd;
use super::shared::Shared;
use super::spec::{Log, Spec};
use super::store;
use super::unit::Seen;

/// Lines of standard error kept with the result.
pub(super) const ERRORS: usize = 50;
/// Between looks while the engine is away.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn run_job(
    shared: &Arc<Shared>,
    spec: Spec,
    deadline: Duration,
    mut line: impl FnMut(LogLine) + Send,
    cancel: CancellationToken,
) -> Result<JobEnd, SuperviseError> {
    let name = spec.name.clone();
    let known = name.clone();
    if let Some(end) = shared.read(move |c| store::result(c, &known)).await? {
        return Ok(end);
    }
    let keeps_log = spec.log == Log::Capped;
    let grace = spec.stop_grace;
    let (key, wanted) = (Arc::clone(&shared.key), spec);
    let row = shared
        .write(move |tx| store::want(tx, &key, &wanted, Desired::Running, UnixMs::now()))
        .await?;
    shared.kick().await?;
    let mut errors = VecDeque::new();
    let mut take = |l: LogLine| {
        if l.is_error {
            if errors.len() == ERRORS {
                errors.pop_front();
            }
            errors.push_back(l.text.clone());
        }
        line(l);
    };
    let work = async {
        let id = started(shared, row.id, &name).await?;
        follow(shared, &id, keeps_log, &mut take).await
    };
    let exit = tokio::select! {
        exit = work => exit,
        () = cancel.cancelled() => Err(SuperviseError::Cancelled(name.clone())),
        () = tokio::time::sleep(deadline) => Err(SuperviseError::Deadline { what: name.clone(), limit: deadline }),
    };
    match exit {
        Ok(exit) => {
            let end = JobEnd {
                exit,
                errors: errors.into(),
            };
            let written = end.clone();
            crash_point::hit(act::JOB_END[0]);
            shared
                .write(move |tx| store::end(tx, row.id, &written))
                .await?;
            crash_point::hit(act::JOB_END[1]);
            shared.kick().await?;
            Ok(end)
        }
        Err(SuperviseError::Stopping) => Err(SuperviseError::Stopping),
        Err(error) => {
            shared
                .write(move |tx| store::retire(tx, row.id, grace))
                .await?;
            shared.kick().await?;
            wait_gone(shared, row.id, grace + Duration::from_secs(90)).await?;
            Err(error)
        }
    }
}

/// Waits until the row's container is removed.
pub(super) async fn wait_gone(
    shared: &Arc<Shared>,
    row: i64,
    limit: Duration,
) -> Result<(), SuperviseError> {
    let mut live = shared.live.subscribe();
    let gone = live.wait_for(|all| all.iter().all(|l| l.row != row));
    match tokio::time::timeout(limit, gone).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(SuperviseError::Stopping),
        Err(_) => Err(SuperviseError::Deadline {
            what: format!("the removal of container {row}"),
            limit,
        }),
    }
}

/// Waits until no job's container of this owner is left whose name begins so.
pub(super) async fn wait_none(
    shared: &Arc<Shared>,
    owner: &str,
    begins: &str,
    limit: Duration,
) -> Result<(), SuperviseError> {
    let mut commits = shared.db.commits();
    let none = async {
        loop {
            commits.mark_unchanged();
            let (of, name) = (owner.to_owned(), begins.to_owned());
            let left = shared.read(move |c| store::is_job_left(c, &of, &name));
            if !left.await? {
                return Ok(());
            }
            let changed = commits.changed().await;
            changed.map_err(|_| SuperviseError::Stopping)?;
        }
    };
    let timely = tokio::time::timeout(limit, none).await;
    timely.unwrap_or_else(|_| {
        Err(SuperviseError::Deadline {
            what: format!("the removal of containers {begins}…"),
            limit,
        })
    })
}

/// Waits until the job's container was started; gives its id.
async fn started(shared: &Arc<Shared>, row: i64, name: &str) -> Result<String, SuperviseError> {
    let mut live = shared.live.subscribe();
    loop {
        let present = live
            .borrow_and_update()
            .iter()
            .find(|l| l.row == row)
            .cloned();
        match present {
            None => return Err(SuperviseError::NotFound(name.to_owned())),
            Some(present) => match (present.state, present.container_id) {
                (State::Refused(why), _) => {
                    return Err(SuperviseError::BadSpec {
                        name: name.to_owned(),
                        why,
                    });
                }
                (State::Waiting(_), _) | (_, None) => {}
                (_, Some(id)) => return Ok(id),
            },
        }
        live.changed().await.map_err(|_| SuperviseError::Stopping)?;
    }
}

/// Hands on the log until the container has ended; the engine may go away and
/// come back meanwhile.
async fn follow(
    shared: &Arc<Shared>,
    id: &str,
    keeps_log: bool,
    take: &mut (impl FnMut(LogLine) + Send),
) -> Result<Exit, SuperviseError> {
    let mut given = Given::default();
    loop {
        if keeps_log {
            let query = LogQuery {
                follow: true,
                since_ms: given.last_ms(),
                tail: None,
            };
            let mut resume = given.resume();
            let mut lines = shared.engine.logs(id, query);
            while let Some(Ok(line)) = lines.next().await {
                if resume.is_new(&line) {
                    given.note(&line);
                    take(line);
                }
            }
        } else {
            match shared
                .engine
                .wait_container(id, Duration::from_secs(24 * 3600))
                .await
            {
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "waiting for a job broke off"),
            }
        }
        if let Some(exit) = ended(shared, id).await {
            return Ok(exit);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Its end, `None` while it runs, or while the engine does not say: what may well run on is not ended because nobody could
/// look; its deadline is.
async fn ended(shared: &Arc<Shared>, id: &str) -> Option<Exit> {
    match act::look(shared, id).await {
        Ok(None) => Some(act::LOST),
        Ok(Some(Seen {
            phase: Phase::Running | Phase::Created | Phase::Restarting | Phase::Paused,
            ..
        })) => None,
        Ok(Some(seen)) => Some(seen.exit()),
        Err(error) => {
            tracing::warn!(%error, "it cannot be seen whether a job has ended; it is looked at again");
            None
        }
    }
}

/// Which lines were handed on, to go on after them. Times have milliseconds
/// only, so the lines of the last one are counted.
#[derive(Default)]
struct Given {
    at_ms: i64,
    count: usize,
}

struct Resume {
    at_ms: i64,
    skip: usize,
}

impl Given {
    fn last_ms(&self) -> Option<i64> {
        (self.at_ms > 0).then_some(self.at_ms)
    }

    fn note(&mut self, line: &LogLine) {
        if line.at_ms > self.at_ms {
            self.at_ms = line.at_ms;
            self.count = 0;
        }
        if line.at_ms == self.at_ms {
            self.count += 1;
        }
    }

    fn resume(&self) -> Resume {
        Resume {
            at_ms: self.at_ms,
            skip: self.count,
        }
    }
}

impl Resume {
    fn is_new(&mut self, line: &LogLine) -> bool {
        if self.skip > 0 && line.at_ms == self.at_ms {
            self.skip -= 1;
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_a_log_taken_up_again_repeats_and_loses_nothing() {
        let line = |at_ms, text: &str| LogLine {
            at_ms,
            is_error: false,
            text: text.to_owned(),
        };
        let all = [
            line(1, "a"),
            line(2, "b"),
            line(2, "c"),
            line(2, "d"),
            line(3, "e"),
        ];
        for cut in 0..all.len() {
            let mut given = Given::default();
            let mut out = Vec::new();
            for l in &all[..cut] {
                given.note(l);
                out.push(l.clone());
            }
            let since = given.last_ms().unwrap_or(0);
            let mut resume = given.resume();
            out.extend(
                all.iter()
                    .filter(|l| l.at_ms >= since)
                    .filter(|l| resume.is_new(l))
                    .cloned(),
            );
            assert_eq!(out, all, "{cut}");
        }
    }
}
