//! Apps and their settings: where the code comes from, env, domains and their policies, scale.
//!
//! Invariants: every secret is sealed in its row; a route (host and path)
//! belongs to one app; ids are never used twice. Every change is one
//! transaction with its line on the app's activity.
//! Left to others: what runs (deploy), what is routed (routing), certificates.

mod app;
mod domain;
pub mod env;
mod error;
#[cfg(freehold_fuzz)]
pub mod fuzz;
pub mod maintenance;
pub mod pause;
mod policies;
mod scale;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::base::ids::{AppName, HostName, ProcessName};
use crate::base::marked;
use crate::base::sabotage::Sabotage;
use crate::base::secret::{MasterKey, Secret};
use crate::db::{Db, DbError};
use crate::events::{self, Level, NewEvent};
use crate::git::{Credentials, Remote};
use crate::jobs::{self, Owed};

pub use app::{App, DOCKER_HUB, GitSource, NewApp, RegistryLogin, SourceChange, registry_host};
pub use domain::{Domain, Route};
pub use env::EnvName;
pub use error::AppError;
pub use scale::{Scale, ScaleChange, parse_bytes};

/// What the one who asks has to do with an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They may not even know that it is there.
    Hidden,
    /// They see it.
    Sees,
    /// They are in charge of it.
    Changes,
}

/// How the one who asks stands to the app of that name.
pub type Over = Arc<dyn Fn(&str) -> Standing + Send + Sync>;

/// Says whose a host is when it cannot be an app's, such as the dashboard's.
pub type Reserved = Arc<dyn Fn(&HostName) -> Option<String> + Send + Sync>;

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Apps {
    db: Db,
    key: Arc<MasterKey>,
    reserved: Reserved,
}

impl Apps {
    /// A handle on the apps in `db`.
    pub fn new(db: Db, key: Arc<MasterKey>, reserved: Reserved) -> Self {
        Self { db, key, reserved }
    }

    /// Makes an app.
    ///
    /// # Errors
    /// [`AppError::NameTaken`], or why the database refused.
    pub async fn create(&self, new: NewApp, by: &str, now: UnixMs) -> Result<App, AppError> {
        let secret = marked::new(marked::WEBHOOK).map_err(DbError::from)?;
        let key = Arc::clone(&self.key);
        let message = format!("{} was created by {by}.", new.name);
        self.db
            .write(move |tx| {
                let id = store::insert(tx, &key, &new, &secret, now)?;
                record(tx, now, id, "app.created", message)?;
                store::by_id(tx, id)?.ok_or_else(|| AppError::NotFound(new.name.to_string()))
            })
            .await
    }

    /// All apps, by name.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list(&self) -> Result<Vec<App>, AppError> {
        self.db.read(|c| Ok(store::all(c)?)).await
    }

    /// The app called `name`.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is none.
    pub async fn find(&self, name: &str) -> Result<App, AppError> {
        let wanted = AppName::parse(name).map_err(|_| AppError::NotFound(name.to_owned()))?;
        self.db
            .read(move |c| {
                store::by_name(c, &wanted)?.ok_or_else(|| AppError::NotFound(wanted.to_string()))
            })
            .await
    }

    /// The app with this id, if it still is.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn by_id(&self, id: i64) -> Result<Option<App>, AppError> {
        self.db.read(move |c| Ok(store::by_id(c, id)?)).await
    }

    /// Changes where code and images come from; what is `None` stays.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn change_source(
        &self,
        app: i64,
        change: SourceChange,
        by: &str,
        now: UnixMs,
    ) -> Result<(), AppError> {
        let key = Arc::clone(&self.key);
        let message = format!("Where the code comes from was changed by {by}.");
        self.db
            .write(move |tx| {
                store::change_source(tx, &key, app, &change)?;
                record(tx, now, app, "app.source", message)
            })
            .await
    }

    /// Where to fetch this app from, with credentials.
    ///
    /// # Errors
    /// Only the database's, or a seal that does not open.
    pub async fn git(&self, app: i64) -> Result<Option<GitSource>, AppError> {
        let key = Arc::clone(&self.key);
        self.db
            .read(move |c| Ok(store::git_source(c, &key, app)?))
            .await
    }

    /// Where `url` is to be fetched from: with this app's credentials when it is
    /// the app's own repository, else without any.
    ///
    /// # Errors
    /// Only the database's, or a seal that does not open.
    pub async fn remote_for(&self, app: i64, url: &crate::git::GitUrl) -> Result<Remote, AppError> {
        let own = self.git(app).await?;
        Ok(match own {
            Some(own) if own.remote.url == *url => own.remote,
            _ => Remote {
                url: url.clone(),
                credentials: Credentials::None,
            },
        })
    }

    /// How to sign in where this app's image is pulled from.
    ///
    /// # Errors
    /// Only the database's, or a seal that does not open.
    pub async fn registry(&self, app: i64) -> Result<Option<RegistryLogin>, AppError> {
        let key = Arc::clone(&self.key);
        self.db
            .read(move |c| Ok(store::registry(c, &key, app)?))
            .await
    }

    /// What the git host signs its events with.
    ///
    /// # Errors
    /// Only the database's, or a seal that does not open.
    pub async fn webhook_secret(&self, app: i64) -> Result<Secret, AppError> {
        let key = Arc::clone(&self.key);
        self.db
            .read(move |c| Ok(store::webhook_secret(c, &key, app)?))
            .await
    }

    /// Makes another secret for the git host's events. Those signed with the old
    /// one are refused from then on.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn replace_webhook_secret(
        &self,
        app: i64,
        by: &str,
        now: UnixMs,
    ) -> Result<Secret, AppError> {
        let secret = marked::new(marked::WEBHOOK).map_err(DbError::from)?;
        let (key, new) = (Arc::clone(&self.key), secret.clone());
        let message = format!(
            "The webhook's secret was replaced by {by}; events signed with the old one are refused."
        );
        self.db
            .write(move |tx| {
                store::set_webhook_secret(tx, &key, app, &new)?;
                record(tx, now, app, "app.webhook_secret", message)
            })
            .await?;
        Ok(secret)
    }

    /// The app's own environment.
    ///
    /// # Errors
    /// Only the database's, or a seal that does not open.
    pub async fn env(&self, app: i64) -> Result<BTreeMap<String, Secret>, AppError> {
        let key = Arc::clone(&self.key);
        self.db.read(move |c| Ok(store::env(c, &key, app)?)).await
    }

    /// The names that are set, and when each was.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn env_names(&self, app: i64) -> Result<Vec<(String, UnixMs)>, AppError> {
        self.db.read(move |c| Ok(store::env_names(c, app)?)).await
    }

    /// Sets (`Some`) and unsets (`None`) in one step. Says whether anything changed.
    ///
    /// # Errors
    /// [`AppError::Invalid`] for a value a process cannot be given.
    pub async fn change_env(
        &self,
        app: i64,
        changes: BTreeMap<EnvName, Option<Secret>>,
        by: &str,
        now: UnixMs,
    ) -> Result<bool, AppError> {
        for (name, value) in &changes {
            if let Some(value) = value {
                env::check_value(name, value)?;
            }
        }
        let (db, key, by) = (self.db.clone(), Arc::clone(&self.key), by.to_owned());
        let written = async move {
            db.write(move |tx| {
                let current = store::env(tx, &key, app)?;
                let (mut set, mut unset) = (Vec::new(), Vec::new());
                for (name, value) in &changes {
                    match (value, current.get(name.as_str())) {
                        (Some(new), old) if old != Some(new) => {
                            store::set_env(tx, &key, app, name.as_str(), new, now)?;
                            set.push(name.as_str());
                        }
                        (None, Some(_)) => {
                            store::unset_env(tx, app, name.as_str())?;
                            unset.push(name.as_str());
                        }
                        _ => {}
                    }
                }
                if set.is_empty() && unset.is_empty() {
                    return Ok(false);
                }
                let part = |what: &str, names: &[&str]| match names {
                    [] => String::new(),
                    names => format!("{what} {}", names.join(", ")),
                };
                let both = [part("set", &set), part("unset", &unset)];
                let what: Vec<String> = both.into_iter().filter(|p| !p.is_empty()).collect();
                let message = format!("Environment changed by {by}: {}.", what.join("; "));
                record(tx, now, app, "app.env", message)?;
                Owed::Settings.note(tx, app, &by, now)?;
                Ok(true)
            })
            .await
        };
        if Sabotage::EarlyAnswer.is_on() {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                written.await.is_ok_and(|changed: bool| changed)
            });
            return Ok(true);
        }
        written.await
    }

    /// Gives the app a domain. The same one twice is no error.
    ///
    /// A path of a host is cut out of what its other apps answer, so a host with routes of
    /// another app takes one only from who is in charge of that app too.
    ///
    /// # Errors
    /// [`AppError::DomainTaken`] when it is another app's or Freehold's own;
    /// [`AppError::HostTaken`] when it would take a path from another app.
    pub async fn add_domain(
        &self,
        app: i64,
        domain: Domain,
        process: ProcessName,
        (by, over): (&str, Over),
        now: UnixMs,
    ) -> Result<(), AppError> {
        if let Some(owner) = (self.reserved)(&domain.host) {
            return Err(AppError::DomainTaken {
                domain: domain.to_string(),
                owner,
            });
        }
        let by = by.to_owned();
        self.db
            .write(move |tx| {
                match store::route_owner(tx, &domain)? {
                    Some((owner, _)) if owner == app => {
                        return Ok(store::set_route_process(tx, &domain, &process)?);
                    }
                    Some((_, name)) => {
                        return Err(AppError::DomainTaken {
                            domain: domain.to_string(),
                            owner: named(&name, &over),
                        });
                    }
                    None => {}
                }
                let others = store::others_on_host(tx, app, &domain.host)?;
                if let Some(other) = others.iter().find(|o| over(o) != Standing::Changes) {
                    return Err(AppError::HostTaken {
                        host: domain.host.to_string(),
                        other: named(other, &over),
                    });
                }
                store::insert_route(tx, app, &domain, &process, now)?;
                let message = format!("The domain {domain} was added by {by}.");
                record(tx, now, app, "app.domain_added", message)
            })
            .await
    }

    /// Takes a domain from the app.
    ///
    /// # Errors
    /// [`AppError::NoDomain`] when it has none such.
    pub async fn remove_domain(
        &self,
        app: i64,
        domain: Domain,
        by: &str,
        now: UnixMs,
    ) -> Result<(), AppError> {
        let by = by.to_owned();
        self.db
            .write(move |tx| {
                if !store::delete_route(tx, app, &domain)? {
                    return Err(AppError::NoDomain(domain.to_string()));
                }
                let message = format!("The domain {domain} was removed by {by}.");
                record(tx, now, app, "app.domain_removed", message)
            })
            .await
    }

    /// The routes of `app`, or of all apps.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn routes(&self, app: Option<i64>) -> Result<Vec<Route>, AppError> {
        self.db.read(move |c| Ok(store::routes(c, app)?)).await
    }

    /// What was set beside freehold.toml, by process.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn scale(&self, app: i64) -> Result<BTreeMap<String, Scale>, AppError> {
        self.db.read(move |c| Ok(store::scale(c, app)?)).await
    }

    /// Sets replicas, memory or processor share of one process; what is `None` stays. What that owes to
    /// the containers; nothing when all of it was so already, as where a form sends back what it showed.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn set_scale(
        &self,
        app: i64,
        process: ProcessName,
        change: ScaleChange,
        by: &str,
        now: UnixMs,
    ) -> Result<Option<Owed>, AppError> {
        let by = by.to_owned();
        self.db
            .write(move |tx| {
                let known = store::scale(tx, app)?;
                let change = change.but(&known.get(process.as_str()).copied().unwrap_or_default());
                if change == ScaleChange::default() {
                    return Ok(None);
                }
                store::set_scale(tx, app, &process, &change)?;
                let owed = change.owes();
                owed.note(tx, app, &by, now)?;
                let message = format!("{process} was scaled by {by}: {change}.");
                record(tx, now, app, "app.scaled", message)?;
                Ok(Some(owed))
            })
            .await
    }

    /// Marks the app as going away, and queues its removal: nothing new is started for it, and what is in work for it
    /// and has not switched does not go on. Volumes go only `with_volumes`.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn begin_removal(
        &self,
        app: i64,
        with_volumes: bool,
        by: &str,
        now: UnixMs,
    ) -> Result<(), AppError> {
        let message = format!("Removal was asked for by {by}.");
        self.db
            .write(move |tx| {
                store::begin_removal(tx, app)?;
                jobs::queue_removal(tx, app, with_volumes, now)?;
                record(tx, now, app, "app.removing", message)
            })
            .await
    }

    /// Deletes the app's row with all that hangs on it. What runs must be gone before.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn delete(&self, app: i64, name: String, now: UnixMs) -> Result<(), AppError> {
        self.db
            .write(move |tx| {
                store::delete(tx, app)?;
                record(tx, now, app, "app.removed", format!("{name} was removed."))
            })
            .await
    }
}

/// The app, in words for somebody who stands to it like this: who may not know of it is not told its name.
fn named(app: &str, over: &Over) -> String {
    match over(app) {
        Standing::Hidden => "another app of this box".to_owned(),
        Standing::Sees | Standing::Changes => format!("the app {app}"),
    }
}

fn record(
    tx: &rusqlite::Transaction<'_>,
    now: UnixMs,
    app: i64,
    kind: &'static str,
    message: String,
) -> Result<(), AppError> {
    let event = NewEvent::new(kind, Level::Info, format!("app:{app}"), message);
    events::record(tx, now, &event)?;
    Ok(())
}

#[cfg(test)]
mod tests;
