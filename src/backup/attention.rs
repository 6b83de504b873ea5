//! What about backups wants to be looked at, with what to do.

use super::error::BackupError;
use super::state::BackupState;
use super::{Backups, schedule, store, store_targets};
use crate::base::clock::UnixMs;
use crate::db::{DbError, Slice};
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
                    let known = store::schedule(c, server.id)?.map(|s| schedule::Known {
                        since: s.created,
                        newest: None,
                        told: s.alarm,
                    });
                    let newest = store::newest_stored(c, server.id)?;
                    let missing = known.and_then(|k| {
                        schedule::missing(schedule::Known { newest, ..k }, now)
                    });
                    let last = store::list(c, Some(server.id), &Slice::from(20))?
                        .into_iter()
                        .find(|b| matches!(b.state, BackupState::Stored | BackupState::Failed));
                    let subject = super::row::subject(server.id);
                    let remedy = format!(
                        "`freehold backup list {0}` says why; `freehold backup now {0}` tries again.",
                        server.name
                    );
                    if let Some(age) = missing {
                        found.push(Attention {
                            level: Level::Error,
                            subject,
                            what: match newest {
                                Some(_) => format!(
                                    "The database {} has had no good backup for {} hours.",
                                    server.name,
                                    age.as_secs() / 3600
                                ),
                                None => format!(
                                    "The database {} has never had a good backup.",
                                    server.name
                                ),
                            },
                            remedy,
                        });
                    } else if let Some(failed) = last.filter(|b| b.state == BackupState::Failed) {
                        found.push(Attention {
                            level: Level::Warning,
                            subject,
                            what: format!(
                                "The last backup of {} failed: {}",
                                failed.what(),
                                failed.reason.unwrap_or_default()
                            ),
                            remedy,
                        });
                    }
                }
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
