//! How the backups of one database stand: its newest good one, and whether the
//! last one failed. Each database on a server by itself: one that is stored
//! every night says nothing of its neighbour.

use super::row::Backup;
use super::schedule::Known;
use super::{BackupError, Backups, store_standing};
use crate::base::clock::UnixMs;

/// The backups of one database on a server.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name there; `None` for the server itself, while nothing of it was
    /// ever written down to be dumped.
    pub logical: Option<String>,
    /// Since when it is to be dumped.
    pub since: UnixMs,
    /// The newest good one.
    pub newest: Option<Backup>,
    /// The last one, when it failed.
    pub failed: Option<Backup>,
}

impl Standing {
    /// As people are told of it: "shop on main".
    pub fn what(&self, server: &str) -> String {
        match &self.logical {
            Some(logical) => format!("{logical} on {server}"),
            None => server.to_owned(),
        }
    }

    /// What the alarm is decided by.
    pub(super) fn known(&self, told: Option<UnixMs>) -> Known {
        Known {
            since: self.since,
            newest: self.newest.as_ref().and_then(|b| b.finished),
            told,
        }
    }

    /// The sentence that tells of a missing one.
    pub(super) fn missing_words(&self, server: &str, hours: u64) -> String {
        let what = self.what(server);
        match self.newest {
            Some(_) => format!("The database {what} has had no good backup for {hours} hours."),
            None => format!("The database {what} has never had a good backup."),
        }
    }
}

impl Backups {
    /// How the backups of each database on a server stand.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn standings(&self, server: i64, born: UnixMs) -> Result<Vec<Standing>, BackupError> {
        self.db
            .read(move |c| store_standing::standings(c, server, born))
            .await
            .map_err(BackupError::Db)
    }
}
