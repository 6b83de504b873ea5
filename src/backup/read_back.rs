//! A stored object, read back to its last byte: the same size, the same hash,
//! and an archive that Postgres' own tool can read.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::archive::{self, Contents};
use super::dump::{LIMIT, end_of, soon};
use super::error::BackupError;
use super::restore::{AGAIN, TRIES};
use super::row::Backup;
use super::{Backups, number, store};
use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::docker::{EngineError, Input};
use crate::events::{self, Level, NewEvent};
use crate::jobs::{JobContext, Outcome};
use crate::objects::{Store, StoreError};
use crate::supervise::{JobEnd, Spec, SuperviseError};

/// What a table of contents may be long.
const LIST_LIMIT: usize = 16 * 1024 * 1024;
/// A tool that takes no more bytes without ending is stuck.
const FEED_STALL: Duration = Duration::from_secs(600);

/// What a tool printed, or why that is not whole.
type Printed = Result<Vec<u8>, BackupError>;

/// What is stored beside every dump, for whoever finds it without this box.
pub(super) fn manifest_key(key: &str) -> String {
    format!("{key}.json")
}

impl Backups {
    /// The last step before "stored".
    pub(super) async fn read_back(
        &self,
        backup: &Backup,
        context: &JobContext,
    ) -> Result<(), BackupError> {
        let objects = self.store(backup.target).await?;
        let name = format!("list-{}-{}", backup.id, context.attempt);
        let listed = self
            .through(backup, context, &objects, name, archive::list_arguments())
            .await?;
        let listed = String::from_utf8_lossy(&listed);
        // An empty database has no entries, but every archive says when it was made.
        if !listed.contains("Archive created at") {
            return Err(BackupError::Work(
                "the archive that came back says nothing of what it holds".into(),
            ));
        }
        let contents = archive::read_list(&listed);
        self.write_manifest(backup, &objects, contents).await?;
        let id = backup.id;
        self.db
            .write(move |tx| store::set_contents(tx, id, contents))
            .await
            .map_err(BackupError::Db)
    }

    async fn write_manifest(
        &self,
        backup: &Backup,
        objects: &Store,
        contents: Contents,
    ) -> Result<(), BackupError> {
        let manifest = serde_json::json!({
            "made_by": "freehold",
            "installation": self.installation.as_str(),
            "server": backup.database_name,
            "database": backup.logical,
            "owner": backup.owner,
            "roles": backup.roles,
            "postgres": backup.server_version,
            "at_ms": backup.created,
            "size_bytes": backup.size_bytes,
            "sha256": backup.sha256,
            "contents": contents,
            "open_with": "pg_restore --list FILE; pg_restore --dbname=NAME FILE",
        });
        let text = serde_json::to_vec_pretty(&manifest).map_err(DbError::from)?;
        objects
            .put(&manifest_key(&backup.key), Bytes::from(text))
            .await?;
        Ok(())
    }

    /// Reads the object through one of the server's tools; what that printed.
    async fn through(
        &self,
        backup: &Backup,
        context: &JobContext,
        objects: &Store,
        name: String,
        argv: Vec<String>,
    ) -> Result<Vec<u8>, BackupError> {
        let tool = argv.join(" ");
        let spec = self
            .servers
            .side(backup.database, name, argv, backup.logical.clone())
            .await?;
        let (end, printed) = self.pour(backup, objects, spec, context).await?;
        if !end.is_success() {
            return Err(BackupError::Work(format!(
                "the archive that came back cannot be read: {}",
                archive::why(&tool, &end)
            )));
        }
        printed
    }

    /// Pours the object through a side container: how its tool ended and what
    /// it printed. When one side breaks off, the tool is ended at once: it
    /// would wait for the rest as long as it may live, and keep the server's
    /// key all that time.
    pub(super) async fn pour(
        &self,
        backup: &Backup,
        objects: &Store,
        spec: Spec,
        context: &JobContext,
    ) -> Result<(JobEnd, Printed), BackupError> {
        let (stop, name) = (context.cancel.child_token(), spec.name.clone());
        let mut piped = self
            .supervisor
            .run_piped(spec, true, LIMIT, stop.clone())
            .await?;
        let input = piped.input.take();
        let fed = async {
            let same = tokio::select! {
                same = feed_and_compare(backup, objects, input) => same,
                // Nobody wants the rest of it any more, which may be long, or never come.
                () = context.cancel.cancelled() => Err(SuperviseError::Cancelled(name).into()),
            };
            if same.is_err() {
                stop.cancel();
            }
            same
        };
        let printed = async {
            let printed = collect(&mut piped.output).await;
            if printed.is_err() {
                stop.cancel();
            }
            printed
        };
        let (same, printed) = tokio::join!(fed, printed);
        // Gone before anything is tried again: a restore drops what it loaded.
        let end = end_of(piped).await;
        same?;
        match (end, printed) {
            // It was ended because of this, and "cancelled" would hide it.
            (Err(_), Err(why)) => Err(why),
            (end, printed) => Ok((end?, printed)),
        }
    }

    /// The handler of `backup.check`: [`Backups::verify`]'s work.
    pub(super) async fn run_check(
        &self,
        context: JobContext,
        payload: serde_json::Value,
    ) -> Outcome {
        let Some(id) = number(&payload, "backup") else {
            return Outcome::Failed("the work names no backup".into());
        };
        let backup = match self.find(id).await {
            Ok(backup) => backup,
            Err(BackupError::NotFound(_)) => return Outcome::Done,
            Err(error) => return soon(&error),
        };
        if backup.check_is_cancelled() {
            return self.end_cancelled_check(&backup).await;
        }
        // Written down already, before a crash kept the queue from it.
        match backup.check_state.as_deref() {
            Some("running") => {}
            Some("bad") => return Outcome::Failed(backup.check_note.unwrap_or_default()),
            Some(_) => return Outcome::Done,
            None => return Outcome::Cancelled,
        }
        let checked = async {
            let objects = self.store(backup.target).await?;
            let name = format!("check-{id}-{}-{}", context.id, context.attempt);
            self.through(
                &backup,
                &context,
                &objects,
                name,
                archive::decode_arguments(),
            )
            .await
        }
        .await;
        match self.find(id).await {
            Ok(now) if now.check_is_cancelled() => return self.end_cancelled_check(&now).await,
            Ok(_) | Err(BackupError::NotFound(_)) => {}
            Err(error) => return soon(&error),
        }
        let (state, note) = match &checked {
            Ok(_) => ("good", None),
            // Ended from outside: it says nothing of the backup.
            Err(error) if context.cancel.is_cancelled() => return soon(error),
            Err(error) if !error.is_damage() => {
                return self.check_again(&backup, &context, error).await;
            }
            Err(error) => ("bad", Some(error.to_string())),
        };
        let event = note.as_ref().map(|why| {
            NewEvent::new(
                "backup.damaged",
                Level::Error,
                backup.subject(),
                format!("Backup {id} of {} cannot be used: {why}", backup.what()),
            )
        });
        let reason = note.clone();
        let written: Result<(), DbError> = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                store::set_check(tx, id, state, note.as_deref(), now)?;
                if let Some(event) = event {
                    events::record(tx, now, &event)?;
                }
                Ok(())
            })
            .await;
        match (written, reason) {
            (Err(error), _) => soon(&BackupError::Db(error)),
            (Ok(()), None) => Outcome::Done,
            (Ok(()), Some(why)) => Outcome::Failed(why),
        }
    }

    /// The store or the engine is away or refuses, which is no damage of the backup: some tries later the check is given
    /// up, and nothing is said of the backup by it.
    async fn check_again(
        &self,
        backup: &Backup,
        context: &JobContext,
        error: &BackupError,
    ) -> Outcome {
        let why = error.to_string();
        if context.attempt < TRIES {
            return Outcome::Again {
                at: UnixMs::now().plus(AGAIN.delay(context.attempt)),
                why,
            };
        }
        let event = NewEvent::new(
            "backup.check_failed",
            Level::Warning,
            backup.subject(),
            format!(
                "Backup {} of {} could not be checked: {why}",
                backup.id,
                backup.what()
            ),
        );
        match self.forget_check(backup.id, event).await {
            Ok(()) => Outcome::Failed(why),
            Err(error) => soon(&BackupError::Db(error)),
        }
    }
}

/// Streams the object into `input` and compares its size and hash with what
/// went up. The tool may close its input early (it wants the head only): the
/// rest is read and hashed all the same. However this ends, the tool's input
/// ends with it: a dropped one stays open in the engine.
async fn feed_and_compare(
    backup: &Backup,
    objects: &Store,
    mut input: Option<Input>,
) -> Result<(), BackupError> {
    let fed = feed(backup, objects, &mut input).await;
    if let Some(mut open) = input
        && let Err(error) = open.shutdown().await
    {
        tracing::debug!(%error, "the tool had closed its input already");
    }
    let (size, sha256) = fed?;
    let expected = backup.size_bytes.unwrap_or(0);
    let what = if size != expected {
        format!("{size} bytes came back, {expected} went up")
    } else if backup.sha256.as_deref() != Some(sha256.as_str()) {
        let wanted = backup.sha256.as_deref().unwrap_or_default();
        format!("its SHA-256 is {sha256}, what went up has {wanted}")
    } else {
        return Ok(());
    };
    Err(StoreError::Changed {
        place: objects.place(),
        key: backup.key.clone(),
        what,
    }
    .into())
}

/// The object into `input`; the size and the hash of what came. An input that
/// takes no more is dropped.
async fn feed(
    backup: &Backup,
    objects: &Store,
    input: &mut Option<Input>,
) -> Result<(u64, String), BackupError> {
    let mut reading = objects.read(&backup.key).await?;
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut size = 0u64;
    while let Some(piece) = reading.next().await? {
        hash.update(&piece);
        size += piece.len() as u64;
        if let Some(open) = input {
            match tokio::time::timeout(FEED_STALL, open.write_all(&piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => *input = None,
                Err(_) => {
                    return Err(BackupError::Work(
                        "pg_restore took no more of the archive for ten minutes".into(),
                    ));
                }
            }
        }
    }
    Ok((size, hex::encode(hash.finish())))
}

/// What a tool prints, to its end.
async fn collect(output: &mut mpsc::Receiver<Result<Bytes, EngineError>>) -> Printed {
    let mut all = Vec::new();
    while let Some(piece) = output.recv().await {
        let piece = piece.map_err(BackupError::Cut)?;
        if all.len() + piece.len() > LIST_LIMIT {
            return Err(BackupError::Work(
                "the archive's table of contents is longer than 16 MB".into(),
            ));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::backup::row::Cause;
    use crate::backup::state::BackupState;

    #[tokio::test]
    async fn f6_the_tools_input_ends_when_the_store_does() {
        let folder = tempfile::tempdir().unwrap();
        let backup = Backup {
            id: 1,
            database: 3,
            database_name: "main".into(),
            logical: "shop".into(),
            owner: "shop".into(),
            roles: Vec::new(),
            server_version: 17,
            expected_bytes: 0,
            target: None,
            target_name: None,
            key: "a.dump".into(),
            upload_token: None,
            state: BackupState::Verifying,
            cause: Cause::Asked,
            attempt: 1,
            reason: None,
            size_bytes: Some(1),
            sha256: None,
            contents: None,
            created: UnixMs(0),
            due: UnixMs(0),
            started: None,
            finished: None,
            check_state: None,
            check_note: None,
            checked: None,
        };
        let (ours, tools) = tokio::io::duplex(64);
        // As the engine's connection is kept: the other half holds it open.
        let (_kept, write) = tokio::io::split(ours);
        let objects = Store::folder(folder.path().to_owned());
        let fed = feed_and_compare(&backup, &objects, Some(Box::pin(write))).await;
        assert!(fed.unwrap_err().to_string().contains("a.dump"));
        let mut rest = Vec::new();
        let (mut tools, _) = tokio::io::split(tools);
        let read = tools.read_to_end(&mut rest);
        let ended = tokio::time::timeout(Duration::from_secs(60), read).await;
        assert_eq!(ended.unwrap().unwrap(), 0);
    }
}
