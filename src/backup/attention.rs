//! What about backups wants to be looked at, with what to do.

use super::error::BackupError;
use super::ports::Server;
use super::row::Unremoved;
use super::standing::Standing;
use super::{Backups, row, schedule, store, store_open, store_standing, store_targets};
use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::events::Level;

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attention {
    /// How much it matters.
    pub level: Level,
    /// `database:3` or `box`.
    pub subject: String,
    /// What is so, and what it means.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Backups {
    /// Everything there is to look at now, the worst first.
    ///
    /// # Errors
    /// When the state database refuses.
    pub async fn attention(&self, now: UnixMs) -> Result<Vec<Attention>, BackupError> {
        let servers = self.servers.list().await?;
        if servers.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self
            .db
            .read(move |c| {
                let mut found = Vec::new();
                for server in &servers {
                    let Some(schedule) = store::schedule(c, server.id)? else {
                        continue;
                    };
                    for part in store_standing::standings(c, server.id, schedule.created)? {
                        found.extend(look_at(server, part, now));
                    }
                }
                found.extend(store_open::unremoved(c)?.iter().map(stays));
                if store_targets::default_id(c)?.is_none() {
                    found.push(Attention {
                        level: Level::Warning,
                        subject: "box".into(),
                        what: "Backups lie on this box's own disk: if the disk or the box is lost, the databases and their backups are lost together.".into(),
                        remedy: "Add a bucket or another machine's folder with `freehold target add`.".into(),
                    });
                }
                Ok::<_, DbError>(found)
            })
            .await?;
        found.sort_by_key(|a| a.level != Level::Error);
        Ok(found)
    }
}

impl Backups {
    /// What retention tries in vain to remove, by target.
    ///
    /// # Errors
    /// When the state database refuses.
    pub async fn unremoved(&self) -> Result<Vec<Unremoved>, BackupError> {
        let found = self.db.read(store_open::unremoved).await;
        found.map_err(BackupError::Db)
    }
}

/// What should be gone from a target and is not.
fn stays(left: &Unremoved) -> Attention {
    let place = left.target.as_deref().unwrap_or("this box's disk");
    let why = left.why.as_deref().unwrap_or("the daemon's log says why");
    let objects = match left.count {
        1 => "1 object".to_owned(),
        count => format!("{count} objects"),
    };
    Attention {
        level: Level::Warning,
        subject: "box".into(),
        what: format!(
            "{objects} in {place} could not be removed since {}: {why}",
            left.since.iso()
        ),
        remedy: match &left.target {
            Some(name) => format!(
                "`freehold target test {name}` says whether it answers; what is there is removed after the next good backup. A target that is gone for good: `freehold target rm {name} --forget`."
            ),
            None => "See who may write in the folder `backups` of Freehold's data folder; what is there is removed after the next good backup.".into(),
        },
    }
}

/// What is to be said of one database's backups: a missing good one, or else
/// that the last one failed.
fn look_at(server: &Server, part: Standing, now: UnixMs) -> Option<Attention> {
    let (level, what) = match (schedule::missing(part.known(None), now), &part.failed) {
        (Some(age), _) => (
            Level::Error,
            part.missing_words(&server.name, age.as_secs() / 3600),
        ),
        (None, Some(failed)) => (
            Level::Warning,
            format!(
                "The last backup of {} failed: {}",
                part.what(&server.name),
                failed.reason.as_deref().unwrap_or_default()
            ),
        ),
        (None, None) => return None,
    };
    Some(Attention {
        level,
        subject: row::subject(server.id),
        what,
        remedy: format!(
            "`freehold backup list {0}` says why; `freehold backup now {0}` tries again.",
            server.name
        ),
    })
}
