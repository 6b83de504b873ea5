//! What is to be dumped and when: the loop that finds what is due, and the
//! rows it makes.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::error::BackupError;
use super::ports::Server;
use super::row::{ALL_PARTS, Backup, Cause, NewBackup, Schedule, subject};
use super::standing::Standing;
use super::state::BackupState;
use super::{
    BACKUP_JOB, Backups, PLAN_JOB, enqueue, number, schedule, store, store_standing, store_targets,
};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::retry::Backoff;
use crate::base::shutdown::Tasks;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, JobContext, Outcome};

/// The longest the loop sleeps: a database made meanwhile has its first minute soon.
const LOOK: Duration = Duration::from_secs(60);
/// Tries of one dump, the first included; after that the next day's comes.
pub(super) const TRIES: u32 = 5;
/// One minute, 5, 25, then two hours.
pub(super) const AGAIN: Backoff = Backoff {
    first: Duration::from_secs(60),
    max: Duration::from_secs(2 * 3600),
    factor: 5,
};

/// A server's schedule, and how the backups of its databases stand.
type Seen = (Schedule, Vec<Standing>);

impl Backups {
    /// Starts the loop that finds what is due and what is missing.
    pub fn start(&self, tasks: &Tasks) {
        let this = self.clone();
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_core("backup-schedule", async move {
            loop {
                let wait = match this.look(UnixMs::now()).await {
                    Ok(next) => next
                        .map_or(LOOK, |at| at.since(UnixMs::now()))
                        .clamp(Duration::from_millis(500), LOOK),
                    Err(error) => {
                        tracing::warn!(%error, "the backup schedules could not be read; trying again");
                        Duration::from_secs(10)
                    }
                };
                tokio::select! {
                    () = shutdown.begun() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        });
    }

    pub(super) fn first_schedule(&self, database: i64, now: UnixMs) -> Schedule {
        let after = self.config.borrow().database.dump_after_hour;
        let minute = schedule::minute_of(self.installation.as_str(), database, after);
        Schedule {
            minute,
            next_due: schedule::next_due(now, minute, &TimeZone::system()),
            alarm: None,
            created: now,
        }
    }

    /// Queues what is due at `now`, tells what is missing; the next due time.
    pub(super) async fn look(&self, now: UnixMs) -> Result<Option<UnixMs>, BackupError> {
        let servers = self.servers.list().await?;
        let ids: Vec<i64> = servers.iter().map(|s| s.id).collect();
        type Known = Vec<(Server, Option<Seen>)>;
        let (scheduled, known): (Vec<i64>, Known) = self
            .db
            .read(move |c| {
                let scheduled = store::scheduled(c)?;
                let known: Result<Known, DbError> = servers
                    .into_iter()
                    .map(|server| {
                        let Some(schedule) = store::schedule(c, server.id)? else {
                            return Ok((server, None));
                        };
                        let parts = store_standing::standings(c, server.id, schedule.created)?;
                        Ok::<_, DbError>((server, Some((schedule, parts))))
                    })
                    .collect();
                Ok::<_, DbError>((scheduled, known?))
            })
            .await?;
        let mut next: Option<UnixMs> = None;
        for (server, known) in known {
            let first = self.first_schedule(server.id, now);
            let Some((current, parts)) = known else {
                let id = server.id;
                self.db
                    .write(move |tx| store::set_schedule(tx, id, first.minute, first.next_due, now))
                    .await
                    .map_err(BackupError::Db)?;
                next = earlier(next, first.next_due);
                continue;
            };
            match turn(&current, &first, server.ready, now) {
                Turn::Dump => {
                    next = earlier(next, first.next_due);
                    self.queue_plan(server.id, first, now).await?;
                }
                Turn::Move => {
                    next = earlier(next, first.next_due);
                    let id = server.id;
                    self.db
                        .write(move |tx| {
                            store::set_schedule(tx, id, first.minute, first.next_due, now)
                        })
                        .await
                        .map_err(BackupError::Db)?;
                }
                Turn::Wait(until) => next = until.map_or(next, |at| earlier(next, at)),
            }
            self.tell_missing(&server, &parts, current.alarm, now)
                .await?;
        }
        // A commit wakes whoever waits for one, so nothing is written where nothing changed.
        if scheduled.iter().any(|id| !ids.contains(id)) {
            let gone: Result<(), DbError> = self
                .db
                .write(move |tx| store::keep_schedules(tx, &ids))
                .await;
            gone.map_err(BackupError::Db)?;
        }
        Ok(next)
    }

    async fn queue_plan(
        &self,
        server: i64,
        schedule: Schedule,
        now: UnixMs,
    ) -> Result<(), BackupError> {
        crash_point::hit("backup.due.before");
        let queued = self
            .db
            .write(move |tx| {
                store::set_schedule(tx, server, schedule.minute, schedule.next_due, now)?;
                let payload = serde_json::json!({ "database": server });
                enqueue(tx, PLAN_JOB, server, payload, now, now)
            })
            .await;
        crash_point::hit("backup.due.after");
        queued.map_err(BackupError::Db)
    }

    /// An event for each database of the server whose missing backup is to be told now.
    async fn tell_missing(
        &self,
        server: &Server,
        parts: &[Standing],
        told: Option<UnixMs>,
        now: UnixMs,
    ) -> Result<(), BackupError> {
        let events: Vec<NewEvent> = parts
            .iter()
            .filter(|part| schedule::alarm_due(part.known(told), now))
            .map(|part| {
                let age = schedule::missing(part.known(told), now).unwrap_or_default();
                let words = part.missing_words(&server.name, age.as_secs() / 3600);
                NewEvent::new("backup.missing", Level::Error, subject(server.id), words)
                    .with(serde_json::json!({ "logical": part.logical }))
            })
            .collect();
        if events.is_empty() {
            return Ok(());
        }
        let id = server.id;
        self.db
            .write(move |tx| {
                store::set_alarm(tx, id, now)?;
                for event in &events {
                    events::record(tx, now, event)?;
                }
                Ok(())
            })
            .await
            .map_err(BackupError::Db)
    }

    /// Dumps all databases of a server now.
    ///
    /// # Errors
    /// When there is no such server, or it does not answer.
    pub async fn now(&self, database: &str) -> Result<Vec<Backup>, BackupError> {
        let server = self.server(database).await?;
        if !server.ready {
            return Err(BackupError::Conflict(format!(
                "the database {database} is not ready: `freehold db show {database}` says why"
            )));
        }
        self.write_down(&server, Cause::Asked, None).await
    }

    /// One row and one job for each database on the server. The job that is to do so ends with that: were it begun again
    /// after a crash, everything would be dumped twice.
    async fn write_down(
        &self,
        server: &Server,
        cause: Cause,
        by: Option<i64>,
    ) -> Result<Vec<Backup>, BackupError> {
        let parts = self.servers.parts(server.id).await?;
        let server = server.clone();
        let this = self.clone();
        crash_point::hit("backup.queued.before");
        let made = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                let made_by_restores = store::restore_names(tx, server.id)?;
                let mut wanted: Vec<_> = parts
                    .iter()
                    .filter(|p| p.has_content && !made_by_restores.contains(&p.name))
                    .collect();
                if wanted.is_empty() {
                    // An empty server is dumped, too: its owner sees that it works.
                    wanted = parts.iter().filter(|p| p.name == "postgres").collect();
                }
                let mut made = Vec::new();
                for part in wanted {
                    let id = this.insert(
                        tx,
                        &NewBackup {
                            database: server.id,
                            database_name: server.name.clone(),
                            logical: part.name.clone(),
                            owner: part.owner.clone(),
                            roles: part.roles.clone(),
                            server_version: server.version,
                            expected_bytes: part.size_bytes,
                            cause,
                            attempt: 1,
                            due: now,
                        },
                        now,
                    )?;
                    made.extend(store::by_id(tx, id)?);
                }
                if let Some(job) = by {
                    jobs::done(tx, job, now)?;
                }
                Ok(made)
            })
            .await;
        crash_point::hit("backup.queued.after");
        made
    }

    /// A row with its job; it goes to the target of the moment.
    pub(super) fn insert(
        &self,
        tx: &rusqlite::Transaction<'_>,
        new: &NewBackup,
        now: UnixMs,
    ) -> Result<i64, DbError> {
        let target = store_targets::default_id(tx)?;
        let installation = self.installation.as_str();
        let id = store::insert(
            tx,
            new,
            target,
            |id| object_key(installation, &new.database_name, &new.logical, now, id),
            now,
        )?;
        let payload = serde_json::json!({ "backup": id });
        enqueue(tx, BACKUP_JOB, new.database, payload, new.due, now)?;
        Ok(id)
    }

    /// The handler of `backup.plan`.
    pub(super) async fn run_plan(
        &self,
        context: JobContext,
        payload: serde_json::Value,
    ) -> Outcome {
        let Some(id) = number(&payload, "database") else {
            return Outcome::Failed("the work names no database".into());
        };
        let servers = match self.servers.list().await {
            Ok(servers) => servers,
            Err(trouble) => return self.plan_failed(&context, None, trouble.why).await,
        };
        let Some(server) = servers.into_iter().find(|s| s.id == id) else {
            return Outcome::Done;
        };
        crash_point::hit("backup.plan.before");
        let written = self
            .write_down(&server, Cause::Schedule, Some(context.id))
            .await;
        crash_point::hit("backup.plan.after");
        match written {
            Ok(_) => Outcome::Done,
            Err(error) => {
                self.plan_failed(&context, Some(&server), error.to_string())
                    .await
            }
        }
    }

    /// A dump that could not even be begun is a failed backup, and shown as one.
    async fn plan_failed(
        &self,
        context: &JobContext,
        server: Option<&Server>,
        why: String,
    ) -> Outcome {
        if let Some(server) = server {
            match self.is_gone(server.id).await {
                Ok(true) => return Outcome::Done,
                Ok(false) => {}
                Err(error) => return super::dump::soon(&error),
            }
            let server = server.clone();
            let attempt = context.attempt;
            let reason = why.clone();
            let told: Result<(), DbError> = self
                .db
                .write(move |tx| {
                    let now = UnixMs::now();
                    let new = NewBackup {
                        database: server.id,
                        database_name: server.name.clone(),
                        logical: ALL_PARTS.into(),
                        owner: String::new(),
                        roles: Vec::new(),
                        server_version: server.version,
                        expected_bytes: 0,
                        cause: Cause::Schedule,
                        attempt,
                        due: now,
                    };
                    let id = store::insert(tx, &new, None, |_| String::new(), now)?;
                    store::set_state(tx, id, BackupState::Failed, Some(&reason), now)?;
                    let message = format!(
                        "The backup of the database {} failed: {reason}",
                        server.name
                    );
                    let event =
                        NewEvent::new("backup.failed", Level::Error, subject(server.id), message);
                    events::record(tx, now, &event).map(drop)
                })
                .await;
            if let Err(error) = told {
                tracing::error!(%error, "a failed backup could not be written down");
            }
        }
        if context.attempt >= TRIES {
            return Outcome::Failed(why);
        }
        Outcome::Again {
            at: UnixMs::now().plus(AGAIN.delay(context.attempt)),
            why,
        }
    }
}

/// What a look at a server's schedule leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Its time has come.
    Dump,
    /// The setting was changed: it has another minute. Or the clock was set back: it lies further ahead than a day.
    Move,
    /// Nothing, until then. One whose time came while it was not ready is dumped when a look finds it
    /// ready; no time can be said for that.
    Wait(Option<UnixMs>),
}

fn turn(current: &Schedule, first: &Schedule, ready: bool, now: UnixMs) -> Turn {
    match (current.next_due <= now, ready) {
        (true, true) => Turn::Dump,
        (true, false) => Turn::Wait(None),
        (false, _) if current.minute != first.minute || current.next_due > first.next_due => {
            Turn::Move
        }
        (false, _) => Turn::Wait(Some(current.next_due)),
    }
}

fn earlier(a: Option<UnixMs>, b: UnixMs) -> Option<UnixMs> {
    Some(a.map_or(b, |a| a.min(b)))
}

/// `<installation>/<server>/<database>/<time>-<number>.dump`. A database may
/// have any name; the number keeps those apart that look alike then.
fn object_key(installation: &str, server: &str, logical: &str, now: UnixMs, id: i64) -> String {
    let plain = |text: &str| -> String {
        let text: String = text
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        if text.is_empty() { "-".into() } else { text }
    };
    let time: String = now
        .iso()
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    format!(
        "{}/{}/{}/{time}-{id}.dump",
        plain(installation),
        plain(server),
        plain(logical)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f6_n7_a_schedule_waits_for_its_time_and_for_its_server() {
        let schedule = |minute, due| Schedule {
            minute,
            next_due: UnixMs(due),
            alarm: None,
            created: UnixMs(0),
        };
        let (first, now) = (schedule(120, 900), UnixMs(100));
        let turn = |current: Schedule, ready| turn(&current, &first, ready, now);
        assert_eq!(turn(schedule(120, 100), true), Turn::Dump);
        assert_eq!(turn(schedule(120, 100), false), Turn::Wait(None));
        assert_eq!(turn(schedule(130, 100), false), Turn::Wait(None));
        assert_eq!(turn(schedule(130, 500), true), Turn::Move);
        // The clock was set back: that minute comes sooner.
        assert_eq!(turn(schedule(120, 901), true), Turn::Move);
        let later = Turn::Wait(Some(UnixMs(500)));
        assert_eq!(turn(schedule(120, 500), true), later);
        assert_eq!(turn(schedule(120, 500), false), later);
    }

    #[test]
    fn f6_keys_are_plain_whatever_the_database_is_called() {
        assert_eq!(
            object_key("abc", "main", "tasks", UnixMs(1_795_227_420_000), 7),
            "abc/main/tasks/20261121T021700Z-7.dump"
        );
        assert_eq!(
            object_key("abc", "main", "../ü/x y", UnixMs(0), 7),
            "abc/main/-----x-y/19700101T000000Z-7.dump"
        );
    }
}
