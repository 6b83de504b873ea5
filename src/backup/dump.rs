//! One backup: dumped by the server's own tool beside the server, hashed and
//! stored as it comes, read back, and only then called stored.

use std::time::Duration;

use super::error::BackupError;
use super::plan::{AGAIN, TRIES};
use super::row::{Backup, Cause, NewBackup};
use super::state::BackupState;
use super::{Backups, RETAIN_JOB, archive, enqueue, number, store};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{JobContext, Outcome};
use crate::objects::{Upload, Written};
use crate::supervise::{JobEnd, Piped, SuperviseError};

/// A dump or a restore that is not over by then is stuck.
pub(super) const LIMIT: Duration = Duration::from_secs(12 * 3600);
/// The mark of what is left in a store that gives no tokens.
const NO_TOKEN: &str = "-";
/// How long an ended stream waits for the word on how its program ended.
const END_WORD: Duration = Duration::from_secs(60);

impl Backups {
    /// The handler of `backup`.
    pub(super) async fn run_backup(
        &self,
        context: JobContext,
        payload: serde_json::Value,
    ) -> Outcome {
        let Some(id) = number(&payload, "backup") else {
            return Outcome::Failed("the work names no backup".into());
        };
        loop {
            let backup = match self.find(id).await {
                Ok(backup) => backup,
                Err(BackupError::NotFound(_)) => return Outcome::Done,
                Err(error) => return soon(&error),
            };
            if backup.is_cancelled() && !backup.state.is_ended() {
                return self.end_cancelled(&backup, context.attempt).await;
            }
            let step = match backup.state {
                BackupState::Queued => match self.is_moot(&backup).await {
                    Ok(true) => return Outcome::Done,
                    Ok(false) => self.advance(&backup, BackupState::Running).await,
                    Err(error) => Err(error),
                },
                BackupState::Running => match self.dump(&backup, &context).await {
                    Ok(()) => self.advance(&backup, BackupState::Verifying).await,
                    Err(error) => return self.fail(&backup, error, context.attempt).await,
                },
                BackupState::Verifying => match self.read_back(&backup, &context).await {
                    Ok(()) => self.advance(&backup, BackupState::Stored).await,
                    Err(error) => return self.fail(&backup, error, context.attempt).await,
                },
                BackupState::Stored => return Outcome::Done,
                BackupState::Failed if backup.is_cancelled() => return Outcome::Cancelled,
                BackupState::Failed | BackupState::Expired => {
                    return Outcome::Failed(backup.reason.unwrap_or_default());
                }
            };
            if let Err(error) = step {
                return soon(&error);
            }
        }
    }

    /// Whether the server is removed, or on its way out: nobody waits for a dump of it any more.
    pub(super) async fn is_gone(&self, server: i64) -> Result<bool, BackupError> {
        let servers = self.servers.list().await?;
        Ok(servers.iter().all(|s| s.id != server))
    }

    /// A retry is not needed any more when a good backup came meanwhile, and none is when its server is
    /// gone: its row goes.
    async fn is_moot(&self, backup: &Backup) -> Result<bool, BackupError> {
        let gone = self.is_gone(backup.database).await?;
        if backup.cause != Cause::Retry && !gone {
            return Ok(false);
        }
        let backup = backup.clone();
        self.db
            .write(move |tx| {
                let newer = store::in_state(tx, backup.database, BackupState::Stored)?
                    .iter()
                    .any(|b| b.logical == backup.logical && b.id > backup.id);
                if newer || gone {
                    store::delete(tx, backup.id)?;
                }
                Ok(newer || gone)
            })
            .await
            .map_err(BackupError::Db)
    }

    /// Writes the next state down, with its event and what follows from it; nothing when it is to be
    /// cancelled, which the next turn sees.
    async fn advance(&self, backup: &Backup, to: BackupState) -> Result<(), BackupError> {
        crash_point::hit(&format!("backup.{}.before", to.as_str()));
        let (id, database) = (backup.id, backup.database);
        let event = (to == BackupState::Stored).then(|| {
            NewEvent::new(
                "backup.stored",
                Level::Info,
                backup.subject(),
                format!(
                    "The backup of {} is stored in {}.",
                    backup.what(),
                    backup.place()
                ),
            )
            .with(serde_json::json!({ "backup": id, "size_bytes": backup.size_bytes }))
        });
        if to == BackupState::Stored {
            self.note_use(backup.target, None).await;
        }
        self.db
            .write(move |tx| {
                let now = UnixMs::now();
                if store::by_id(tx, id)?.is_none_or(|b| b.is_cancelled()) {
                    return Ok(());
                }
                store::set_state(tx, id, to, None, now)?;
                if let Some(event) = event {
                    events::record(tx, now, &event)?;
                    let payload = serde_json::json!({ "database": database });
                    enqueue(tx, RETAIN_JOB, database, payload, now, now)?;
                }
                Ok::<_, DbError>(())
            })
            .await?;
        crash_point::hit(&format!("backup.{}.after", to.as_str()));
        Ok(())
    }

    async fn dump(&self, backup: &Backup, context: &JobContext) -> Result<(), BackupError> {
        let objects = self.store(backup.target).await?;
        if context.attempt > 1 {
            // What a crash cut off, if one did.
            objects
                .abort(&backup.key, backup.upload_token.as_deref())
                .await?;
            objects.delete(&backup.key).await?;
        }
        let mut upload = objects.begin(&backup.key, backup.expected_bytes).await?;
        let pumped = match self.note_token(backup.id, &upload).await {
            Ok(()) => self.pump(backup, context, &mut upload).await,
            Err(error) => Err(error),
        };
        match pumped {
            Ok(()) => {
                let written = upload.finish().await?;
                self.note_written(backup.id, written).await
            }
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    async fn note_token(&self, id: i64, upload: &Upload) -> Result<(), BackupError> {
        let token = upload.token().map(str::to_owned);
        self.db
            .write(move |tx| store::set_upload(tx, id, token.as_deref()))
            .await
            .map_err(BackupError::Db)
    }

    async fn note_written(&self, id: i64, written: Written) -> Result<(), BackupError> {
        self.db
            .write(move |tx| store::set_written(tx, id, written.size, &written.sha256))
            .await
            .map_err(BackupError::Db)
    }

    /// From the dump's output into the upload. Good only when the stream ended,
    /// the program ended with 0, and what came was an archive.
    async fn pump(
        &self,
        backup: &Backup,
        context: &JobContext,
        upload: &mut Upload,
    ) -> Result<(), BackupError> {
        let spec = self
            .servers
            .side(
                backup.database,
                format!("dump-{}-{}", backup.id, context.attempt),
                archive::dump_arguments(backup.server_version),
                backup.logical.clone(),
            )
            .await?;
        let mut piped = self
            .supervisor
            .run_piped(spec, false, LIMIT, context.cancel.clone())
            .await?;
        let mut head: Vec<u8> = Vec::with_capacity(archive::MAGIC.len());
        let mut cut = None;
        while let Some(piece) = piped.output.recv().await {
            match piece {
                Ok(piece) => {
                    let missing = archive::MAGIC.len() - head.len();
                    head.extend(piece.iter().take(missing));
                    tokio::select! {
                        written = upload.write(&piece) => written?,
                        // A store may take its time; how the container ended says the rest.
                        () = context.cancel.cancelled() => break,
                    }
                }
                Err(error) => {
                    cut = Some(error);
                    break;
                }
            }
        }
        let end = end_of(piped).await;
        if let Some(error) = cut {
            // How the program ended says more than that its output did.
            return match end {
                Ok(end) if !end.is_success() => {
                    Err(BackupError::Work(archive::why("pg_dump", &end)))
                }
                _ => Err(BackupError::Cut(error)),
            };
        }
        let end = end?;
        if !end.is_success() {
            return Err(BackupError::Work(archive::why("pg_dump", &end)));
        }
        if head != archive::MAGIC {
            return Err(BackupError::Work(
                "pg_dump ended well but what it wrote is no archive".into(),
            ));
        }
        Ok(())
    }

    /// Takes back what is in the store, writes the failure down and plans the next try. Where the server
    /// was removed meanwhile it is no failure: nothing is tried again, and nobody is told. `tries` are its job's.
    pub(super) async fn fail(&self, backup: &Backup, error: BackupError, tries: u32) -> Outcome {
        if matches!(error, BackupError::Supervise(SuperviseError::Stopping)) {
            return soon(&error);
        }
        match self.find(backup.id).await {
            Ok(now) if now.is_cancelled() => return self.end_cancelled(&now, tries).await,
            Ok(_) | Err(BackupError::NotFound(_)) => {}
            Err(error) => return soon(&error),
        }
        let gone = match self.is_gone(backup.database).await {
            Ok(gone) => gone,
            Err(error) => return soon(&error),
        };
        let why = match gone {
            true => "the database was removed before it was whole".to_owned(),
            false => error.to_string(),
        };
        self.note_use(backup.target, Some(&error)).await;
        if backup.state == BackupState::Running
            && !gone
            && let Err(error) = self.end_sessions(backup).await
        {
            tracing::warn!(%error, backup = backup.id, "what a failed dump has left in its server could not be ended");
        }
        // Of a folder's file nothing is noted while it is written, nor after it was named where that note failed.
        let begun = backup.state != BackupState::Queued;
        let left = self.take_back(backup, begun).await;
        crash_point::hit("backup.failed.before");
        let retry = (backup.attempt < TRIES && !gone).then(|| {
            let due = UnixMs::now().plus(AGAIN.delay(backup.attempt));
            NewBackup {
                database: backup.database,
                database_name: backup.database_name.clone(),
                logical: backup.logical.clone(),
                owner: backup.owner.clone(),
                roles: backup.roles.clone(),
                server_version: backup.server_version,
                expected_bytes: backup.expected_bytes,
                cause: Cause::Retry,
                attempt: backup.attempt + 1,
                due,
            }
        });
        let message = format!(
            "The backup of {} failed: {}.{}",
            backup.what(),
            why.trim_end_matches('.'),
            match &retry {
                Some(retry) => format!(" It is tried again at {}.", retry.due.iso()),
                None => " It is not tried again before its next time.".into(),
            }
        );
        let event = NewEvent::new("backup.failed", Level::Error, backup.subject(), message)
            .with(serde_json::json!({ "backup": backup.id, "attempt": backup.attempt }));
        let (id, reason, this) = (backup.id, why.clone(), self.clone());
        let written: Result<Option<Backup>, DbError> = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                let cancelled = store::by_id(tx, id)?.filter(Backup::is_cancelled);
                if cancelled.is_some() {
                    return Ok(cancelled);
                }
                store::set_state(tx, id, BackupState::Failed, Some(&reason), now)?;
                store::set_upload(tx, id, left.as_deref())?;
                if !gone {
                    events::record(tx, now, &event)?;
                }
                if let Some(retry) = &retry {
                    this.insert(tx, retry, now)?;
                }
                Ok(None)
            })
            .await;
        crash_point::hit("backup.failed.after");
        match written {
            // It was taken back between the look and the write.
            Ok(Some(cancelled)) => self.end_cancelled(&cancelled, tries).await,
            Ok(None) if gone => Outcome::Done,
            Ok(None) => Outcome::Failed(why),
            Err(error) => soon(&BackupError::Db(error)),
        }
    }

    /// Nothing of a failed backup stays in the store. What cannot be removed
    /// now (the store is away) gives a mark by which retention removes it later.
    /// `begun`: something may lie there also where no upload is noted.
    pub(super) async fn take_back(&self, backup: &Backup, begun: bool) -> Option<String> {
        let token = match self.find(backup.id).await {
            Ok(now) => now.upload_token,
            Err(_) => backup.upload_token.clone(),
        };
        if !begun && token.is_none() {
            // Nothing was begun.
            return None;
        }
        let mark = token.unwrap_or_else(|| NO_TOKEN.to_owned());
        match self.sweep(backup, &mark).await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(%error, backup = backup.id, key = backup.key, "what a failed backup left in its store could not be removed; it is tried again after the next good one");
                Some(mark)
            }
        }
    }

    /// Removes all that may lie in the store of a backup that failed.
    pub(super) async fn sweep(&self, backup: &Backup, mark: &str) -> Result<(), BackupError> {
        let objects = self.store(backup.target).await?;
        let token = Some(mark).filter(|mark| *mark != NO_TOKEN);
        objects.abort(&backup.key, token).await?;
        objects.delete(&backup.key).await?;
        objects
            .delete(&super::read_back::manifest_key(&backup.key))
            .await?;
        Ok(())
    }
}

/// How a side container ended, once its output has.
pub(super) async fn end_of(piped: Piped) -> Result<JobEnd, BackupError> {
    match tokio::time::timeout(END_WORD, piped.end).await {
        Ok(Ok(end)) => Ok(end?),
        Ok(Err(_)) | Err(_) => Err(BackupError::Work(
            "the container beside the database was lost before it said how it ended".into(),
        )),
    }
}

/// The state could not be written, or the daemon stops: the same again in a moment.
pub(super) fn soon(error: &BackupError) -> Outcome {
    Outcome::Again {
        at: UnixMs::now().plus(Duration::from_secs(5)),
        why: error.to_string(),
    }
}
