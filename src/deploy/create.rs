//! Asking for a deploy, and taking it back.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::base::clock::UnixMs;
use crate::base::sabotage::Sabotage;
use crate::base::secret::random_id;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, NewJob, Owed};

use super::error::DeployError;
use super::release::{self, Mark};
use super::row::{Cause, Deploy, NewDeploy};
use super::source::Source;
use super::state::State;
use super::store::{self, Change};
use super::{Deploys, JOB, job_key};

/// Records `new` and queues its work, in `tx`. Older deploys of the app that
/// have not begun give way to it, as [`Cause::gives_way_to`] says.
pub(super) fn insert(
    tx: &rusqlite::Transaction<'_>,
    new: &NewDeploy,
    now: UnixMs,
) -> Result<i64, DbError> {
    let older = store::queued(tx, new.app)?;
    let runs = store::live(tx, new.app)?.is_some_and(|live| !live.stopped);
    let id = store::insert(tx, new, now)?;
    for (old, cause) in &older {
        // Changed settings alone start nothing: the start of a stopped app goes before them.
        let starts = *cause == Cause::Restart && !runs;
        if !cause.gives_way_to(new.cause) || (starts && new.cause == Cause::Settings) {
            continue;
        }
        let change = Change {
            error: Some(format!("deploy {id} is newer and took its place")),
            ..Change::default()
        };
        State::Superseded.crash_before();
        store::enter(tx, *old, State::Queued, State::Superseded, &change, now)?;
        State::Superseded.crash_after();
    }
    let job = NewJob {
        kind: JOB,
        key: job_key(new.app),
        payload: json!({ "deploy": id }),
        run_at: now,
    };
    jobs::enqueue(tx, now, &job)?;
    if new.cause == Cause::Settings {
        Owed::Settings.settle(tx, new.app, now)?;
    }
    let message = format!(
        "Deploy {id} of {} was asked for by {}.",
        new.source.describe(),
        new.by
    );
    let event = NewEvent::new("deploy.queued", Level::Info, job_key(new.app), message)
        .with(json!({ "deploy": id, "cause": new.cause.as_str() }));
    events::record(tx, now, &event)?;
    Ok(id)
}

impl Deploys {
    /// Queues a deploy; gives its id.
    ///
    /// # Errors
    /// When the app is being removed, its image cannot be one of its own, or the database refuses.
    pub async fn create(&self, new: NewDeploy, now: UnixMs) -> Result<i64, DeployError> {
        let upload = match &new.source {
            Source::Upload { file, .. } => Some(self.folder().join(file)),
            _ => None,
        };
        let created = self.record(new, now).await;
        // Nothing will ever come for it.
        if let (Err(_), Some(upload)) = (&created, upload) {
            remove_file(&upload);
        }
        created
    }

    async fn record(&self, new: NewDeploy, now: UnixMs) -> Result<i64, DeployError> {
        let facts = self.facts_to_deploy(new.app).await?;
        if let Source::Image { reference } = &new.source {
            let own = self.own_images(&facts.name);
            own.allows(reference).map_err(DeployError::Invalid)?;
        }
        State::Queued.crash_before();
        let id = self.0.db.write(move |tx| insert(tx, &new, now)).await?;
        self.0.logs.open(id);
        State::Queued.crash_after();
        Ok(id)
    }

    /// Keeps an uploaded tar for a deploy, as it comes.
    ///
    /// # Errors
    /// When it is too large, the disk is nearly full, or the sender breaks off.
    pub async fn spool<S, B, E>(&self, mut body: S) -> Result<Source, DeployError>
    where
        S: futures_util::Stream<Item = Result<B, E>> + Unpin,
        B: AsRef<[u8]>,
        E: std::fmt::Display,
    {
        use futures_util::StreamExt;
        let refused = |e: std::io::Error| {
            DeployError::Unavailable(format!("the upload could not be kept: {e}"))
        };
        let id = random_id(16).map_err(DbError::from)?;
        let file = format!("upload-{id}.tar");
        let path = self.folder().join(&file);
        let limits = self.0.limits();
        let (floor, largest) = (limits.free_disk, limits.largest_upload);
        let mut out = tokio::fs::File::create(&path).await.map_err(refused)?;
        // Whoever sends it may go away, and with them all that is done here.
        let mut half = Half(Some(path));
        let mut size = 0u64;
        let mut looked = 0u64;
        let kept = async {
            while let Some(part) = body.next().await {
                let part = part.map_err(|e| {
                    DeployError::Invalid(format!("the upload broke off before its end: {e}"))
                })?;
                size += part.as_ref().len() as u64;
                if size > largest {
                    return Err(DeployError::TooLarge(largest));
                }
                if size - looked > 16 << 20 || looked == 0 {
                    // What comes itself takes of what has to be free at the beginning.
                    let floor = if looked == 0 { floor } else { floor / 2 };
                    looked = size;
                    super::room::disk(&self.folder(), floor).map_err(DeployError::Unavailable)?;
                }
                out.write_all(part.as_ref()).await.map_err(refused)?;
            }
            out.flush().await.map_err(refused)?;
            out.sync_data().await.map_err(refused)
        }
        .await;
        kept?;
        half.0 = None;
        Ok(Source::Upload { file, site: None })
    }

    /// Goes back to release `number`, or to the one that was live before.
    ///
    /// # Errors
    /// [`DeployError::NoRelease`] naming those that are kept.
    pub async fn rollback(
        &self,
        app: i64,
        number: Option<i64>,
        by: &str,
        now: UnixMs,
    ) -> Result<i64, DeployError> {
        let mark = self
            .0
            .db
            .read(move |c| {
                let number = match number {
                    Some(number) => number,
                    None => release::store::before_live(c, app)?
                        .map(|(_, number)| number)
                        .ok_or_else(|| {
                            DeployError::NoRelease(
                                "there is no earlier release to go back to".into(),
                            )
                        })?,
                };
                let all: Vec<Mark> = release::store::of_app(c, app)?
                    .iter()
                    .map(Mark::from)
                    .collect();
                release::choose(&all, number)
            })
            .await?;
        self.stop_unswitched(app, "a rollback was asked for")
            .await?;
        let source = Source::Release {
            id: mark.id,
            number: mark.number,
        };
        self.create(by_person(app, source, Cause::Rollback, by), now)
            .await
    }

    /// Starts the live release's containers anew, one set beside the other.
    ///
    /// # Errors
    /// [`DeployError::Conflict`] when nothing was deployed yet.
    pub async fn restart(&self, app: i64, by: &str, now: UnixMs) -> Result<i64, DeployError> {
        let live = self.live_or_refuse(app).await?;
        let source = Source::Release {
            id: live.release_id,
            number: live.release,
        };
        self.create(by_person(app, source, Cause::Restart, by), now)
            .await
    }

    /// Asks a deploy to stop. A queued one is cancelled at once; one in work is
    /// `Cancelled` only when its work was seen dead.
    ///
    /// # Errors
    /// [`DeployError::Conflict`] when it is too late.
    pub async fn cancel(&self, id: i64, by: &str, now: UnixMs) -> Result<(), DeployError> {
        let by = by.to_owned();
        let found = self.0.db.read(move |c| store::by_id(c, id)).await?;
        let waits = found.is_some_and(|d| d.state == State::Queued);
        if waits {
            State::Cancelled.crash_before();
        }
        let at_once = self
            .0
            .db
            .write(move |tx| {
                let deploy = store::by_id(tx, id)?.ok_or(DeployError::NotFound(id))?;
                if deploy.state == State::Queued {
                    let change = Change {
                        error: Some(format!("cancelled by {by}")),
                        ..Change::default()
                    };
                    store::enter(tx, id, State::Queued, State::Cancelled, &change, now)?;
                    return Ok(true);
                }
                if !deploy.state.is_before_switch() {
                    return Err(too_late(&deploy));
                }
                store::ask_cancel(tx, id)?;
                Ok(false)
            })
            .await?;
        if at_once {
            State::Cancelled.crash_after();
            self.0.logs.close(id);
        } else {
            self.token(id).cancel();
        }
        Ok(())
    }

    /// Cancels what is in work for the app and has not switched.
    pub(super) async fn stop_unswitched(&self, app: i64, why: &str) -> Result<(), DeployError> {
        let open = self.0.db.read(store::unsettled).await?;
        for deploy in open.into_iter().filter(|d| d.app == app) {
            match self.cancel(deploy.id, why, UnixMs::now()).await {
                Err(DeployError::Conflict(_) | DeployError::NotFound(_)) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) async fn live_or_refuse(
        &self,
        app: i64,
    ) -> Result<super::row::Serving, DeployError> {
        let live = self.0.db.read(move |c| store::live(c, app)).await?;
        live.ok_or_else(|| {
            DeployError::Conflict("nothing was deployed yet: push, or use `freehold deploy`".into())
        })
    }

    pub(super) async fn facts(&self, app: i64) -> Result<super::ports::AppFacts, DeployError> {
        let facts = self.0.ports.apps.facts(app).await;
        facts
            .map_err(DeployError::Unavailable)?
            .ok_or_else(|| DeployError::Conflict("the app is gone".into()))
    }

    /// The facts of an app that may be deployed: one that is being removed may not.
    pub(super) async fn facts_to_deploy(
        &self,
        app: i64,
    ) -> Result<super::ports::AppFacts, DeployError> {
        let facts = self.facts(app).await?;
        match facts.removing {
            true => Err(DeployError::Conflict(format!(
                "the app {} is being removed",
                facts.name
            ))),
            false => Ok(facts),
        }
    }

    /// Removes uploads and trees whose deploy is over; what a crash left.
    pub(super) fn sweep_uploads(&self, open: &[Deploy]) {
        let needed: Vec<String> = open
            .iter()
            .map(|d| match &d.source {
                Source::Upload { file, .. } => file.clone(),
                _ => format!("{}.tar", d.id),
            })
            .collect();
        let Ok(entries) = std::fs::read_dir(self.folder()) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".tar") && !needed.contains(&name) {
                remove_file(&entry.path());
            }
        }
    }
}

fn too_late(deploy: &Deploy) -> DeployError {
    let id = deploy.id;
    DeployError::Conflict(match deploy.state {
        State::Switching | State::Draining | State::Watching | State::Live => {
            format!("deploy {id} is already live: go back with `freehold rollback`")
        }
        state => format!("deploy {id} has already ended: it is {state}"),
    })
}

pub(super) fn by_person(app: i64, source: Source, cause: Cause, by: &str) -> NewDeploy {
    NewDeploy {
        app,
        source,
        cause,
        by: by.to_owned(),
        delivery: None,
        title: None,
    }
}

/// A file that is not whole yet; it goes with this value.
struct Half(Option<std::path::PathBuf>);

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            remove_file(path);
        }
    }
}

/// Removes a file of ours; one that is not there is well.
pub(super) fn remove_file(path: &std::path::Path) {
    if Sabotage::LeftFile.is_on() {
        return;
    }
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file could not be removed");
    }
}
