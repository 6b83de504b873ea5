//! A stored object, read back to its last byte: the same size, the same hash,
//! and an archive that Postgres' own tool can read.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::archive::{self, Contents};
use super::dump::{LIMIT, end_of, soon};
use super::error::BackupError;
use super::row::Backup;
use super::{Backups, number, store};
use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::docker::{EngineError, Input};
use crate::events::{self, Level, NewEvent};
use crate::jobs::{JobContext, Outcome};
use crate::objects::{Store, StoreError};

/// What a table of contents may be long.
const LIST_LIMIT: usize = 16 * 1024 * 1024;
/// A tool that takes no more bytes without ending is stuck.
const FEED_STALL: Duration = Duration::from_secs(600);

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
        let mut piped = self
            .supervisor
            .run_piped(spec, true, LIMIT, context.cancel.clone())
            .await?;
        let input = piped.input.take();
        let (same, printed) = tokio::join!(
            feed_and_compare(backup, objects, input),
            collect(&mut piped.output)
        );
        same?;
        let end = end_of(piped).await?;
        if !end.is_success() {
            return Err(BackupError::Work(format!(
                "the archive that came back cannot be read: {}",
                archive::why(&tool, &end)
            )));
        }
        printed
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
        let (state, note) = match &checked {
            Ok(_) => ("good", None),
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
}

/// Streams the object into `input` and compares its size and hash with what
/// went up. The tool may close its input early (it wants the head only): the
/// rest is read and hashed all the same.
pub(super) async fn feed_and_compare(
    backup: &Backup,
    objects: &Store,
    mut input: Option<Input>,
) -> Result<(), BackupError> {
    let mut reading = objects.read(&backup.key).await?;
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut size = 0u64;
    while let Some(piece) = reading.next().await? {
        hash.update(&piece);
        size += piece.len() as u64;
        if let Some(open) = &mut input {
            match tokio::time::timeout(FEED_STALL, open.write_all(&piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => input = None,
                Err(_) => {
                    return Err(BackupError::Work(
                        "pg_restore took no more of the archive for ten minutes".into(),
                    ));
                }
            }
        }
    }
    if let Some(mut open) = input
        && let Err(error) = open.shutdown().await
    {
        tracing::debug!(%error, "the tool had closed its input already");
    }
    let expected = backup.size_bytes.unwrap_or(0);
    let sha256 = hex::encode(hash.finish());
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

/// What a tool prints, to its end.
pub(super) async fn collect(
    output: &mut mpsc::Receiver<Result<Bytes, EngineError>>,
) -> Result<Vec<u8>, BackupError> {
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
