//! Targets: added only after an object went there and came back.

use super::error::BackupError;
use super::row::Target;
use super::{Backups, store_targets};
use crate::base::clock::UnixMs;
use crate::base::ids::TargetName;
use crate::base::secret::Secret;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::objects::{Location, Place, S3Location, S3Options, Store};

/// A target to be added.
#[derive(Clone, Debug)]
pub struct NewTarget {
    /// Its name.
    pub name: TargetName,
    /// `s3://bucket/prefix` or `dir:///path`.
    pub place: String,
    /// For S3: endpoint, region, style.
    pub options: S3Options,
    /// For S3.
    pub access_key: Option<String>,
    /// For S3.
    pub secret_key: Option<Secret>,
    /// Whether dumps go there from now on; the first one's do in any case.
    pub make_default: bool,
}

/// The location a target's parts make.
fn location(
    place: &str,
    options: &S3Options,
    credentials: Option<(String, Secret)>,
) -> Result<Location, BackupError> {
    match Place::parse(place)? {
        Place::Folder(path) => Ok(Location::Folder(path)),
        Place::S3 { bucket, prefix } => {
            let Some((access, secret)) = credentials else {
                return Err(BackupError::Invalid(
                    "a bucket needs an access key and its secret: give --access-key, and the secret in FREEHOLD_SECRET_KEY or on standard input.".into(),
                ));
            };
            if access.is_empty() || secret.expose().is_empty() {
                return Err(BackupError::Invalid(
                    "the access key or its secret is empty.".into(),
                ));
            }
            Ok(Location::S3(S3Location::new(
                bucket, prefix, options, access, secret,
            )?))
        }
    }
}

impl Backups {
    /// Tries a target out and adds it.
    ///
    /// # Errors
    /// What the store said to the trial; nothing is added then.
    pub async fn add_target(&self, new: NewTarget, by: &str) -> Result<Target, BackupError> {
        let credentials = new.access_key.clone().zip(new.secret_key.clone());
        let location = location(&new.place, &new.options, credentials)?;
        let name = new.name.to_string();
        let known = self
            .db
            .read(move |c| store_targets::by_name(c, &name))
            .await?;
        if known.is_some() {
            return Err(BackupError::TargetTaken(new.name.to_string()));
        }
        if let Location::Folder(path) = &location
            && path.starts_with(&self.data_dir)
        {
            return Err(BackupError::Invalid(format!(
                "{} lies in Freehold's own folder: dumps go there without a target. Give a mounted disk or a bucket.",
                path.display()
            )));
        }
        let store = Store::open(&location, self.client())?;
        store.test().await.map_err(BackupError::Trial)?;
        let key = self.key.clone();
        let message = format!("The backup target {} was added by {by}.", new.name);
        self.db
            .write(move |tx| {
                let now = UnixMs::now();
                let id = store_targets::insert(tx, &key, &new, now).map_err(|error| {
                    if error.is_constraint() {
                        BackupError::TargetTaken(new.name.to_string())
                    } else {
                        error.into()
                    }
                })?;
                events::record(
                    tx,
                    now,
                    &NewEvent::new("target.added", Level::Info, "box", message),
                )?;
                store_targets::by_id(tx, id)?
                    .ok_or_else(|| BackupError::NoTarget(new.name.to_string()))
            })
            .await
    }

    /// All targets, by name.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn targets(&self) -> Result<Vec<Target>, BackupError> {
        self.db.read(|c| Ok(store_targets::all(c)?)).await
    }

    /// The target called `name`.
    ///
    /// # Errors
    /// [`BackupError::NoTarget`] when there is none.
    pub async fn target(&self, name: &str) -> Result<Target, BackupError> {
        let wanted: String = name.chars().take(60).collect();
        self.db
            .read(move |c| store_targets::by_name(c, &wanted)?.ok_or(BackupError::NoTarget(wanted)))
            .await
    }

    /// Stores a small object there, reads it back and removes it.
    ///
    /// # Errors
    /// What the store said; it is shown at the target, too.
    pub async fn test_target(&self, name: &str) -> Result<(), BackupError> {
        let target = self.target(name).await?;
        let tried = match self.store(Some(target.id)).await {
            Ok(store) => store.test().await.map_err(BackupError::Trial),
            Err(error) => Err(error),
        };
        self.note_use(Some(target.id), tried.as_ref().err()).await;
        tried
    }

    /// From now on dumps go there.
    ///
    /// # Errors
    /// [`BackupError::NoTarget`] when there is none.
    pub async fn use_target(&self, name: &str, by: &str) -> Result<(), BackupError> {
        let target = self.target(name).await?;
        let message = format!("Dumps go to {} from now on, said {by}.", target.name);
        self.db
            .write(move |tx| {
                store_targets::make_default(tx, target.id)?;
                events::record(
                    tx,
                    UnixMs::now(),
                    &NewEvent::new("target.default", Level::Info, "box", message),
                )?;
                Ok(())
            })
            .await
    }

    /// Forgets a target and what is listed there; the objects stay in it.
    ///
    /// # Errors
    /// When backups are listed there and `forget` is not said.
    pub async fn remove_target(
        &self,
        name: &str,
        forget: bool,
        by: &str,
    ) -> Result<(), BackupError> {
        let target = self.target(name).await?;
        let message = format!(
            "The backup target {} was removed by {by}; what was stored there stays there.",
            target.name
        );
        self.db
            .write(move |tx| {
                let there = store_targets::backups_there(tx, target.id)?;
                if there > 0 && !forget {
                    return Err(BackupError::Conflict(format!(
                        "{there} backups are stored in {0}: with --forget the list of them goes with the target; the objects themselves stay in {1}",
                        target.name, target.place
                    )));
                }
                store_targets::delete(tx, target.id)?;
                events::record(
                    tx,
                    UnixMs::now(),
                    &NewEvent::new("target.removed", Level::Warning, "box", message),
                )?;
                Ok(())
            })
            .await
    }

    /// The store of a target; the box's own disk for `None`.
    pub(super) async fn store(&self, target: Option<i64>) -> Result<Store, BackupError> {
        let Some(id) = target else {
            return Ok(Store::folder(self.data_dir.join("backups")));
        };
        let key = self.key.clone();
        let (target, credentials) = self
            .db
            .read(move |c| {
                let target = store_targets::by_id(c, id)?
                    .ok_or_else(|| BackupError::NoTarget(format!("number {id}")))?;
                let credentials = store_targets::credentials(c, &key, id)?;
                Ok::<_, BackupError>((target, credentials))
            })
            .await?;
        let options = S3Options {
            endpoint: target.endpoint,
            region: target.region,
            path_style: target.path_style,
        };
        let location = location(&target.place, &options, credentials)?;
        Ok(Store::open(&location, self.client())?)
    }

    /// Shows at a target how its last use went.
    pub(super) async fn note_use(&self, target: Option<i64>, error: Option<&BackupError>) {
        let Some(id) = target else { return };
        let fault = match error {
            None => None,
            Some(BackupError::Store(error)) => Some(error.to_string()),
            Some(_) => return,
        };
        let noted: Result<(), DbError> = self
            .db
            .write(move |tx| store_targets::set_used(tx, id, fault.as_deref(), UnixMs::now()))
            .await;
        if let Err(error) = noted {
            tracing::warn!(%error, target = id, "how a target did could not be noted");
        }
    }
}
