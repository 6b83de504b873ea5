//! Backups, restores and targets as rows.

use crate::base::clock::UnixMs;

use super::archive::Contents;
use super::cancel::TAKEN_BACK;
use super::state::{BackupState, RestoreState};

/// Why a backup was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time had come.
    Schedule,
    /// Somebody asked.
    Asked,
    /// An earlier one failed.
    Retry,
}

impl Cause {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Asked => "asked",
            Self::Retry => "retry",
        }
    }

    pub(super) fn parse(word: &str) -> Self {
        match word {
            "asked" => Self::Asked,
            "retry" => Self::Retry,
            _ => Self::Schedule,
        }
    }
}

/// In the place of a database's name: all of a server's, when not even their
/// names could be read.
pub(super) const ALL_PARTS: &str = "*";

/// One dump of one database on a server.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Its number.
    pub id: i64,
    /// The server's row, which may be gone.
    pub database: i64,
    /// The server's name.
    pub database_name: String,
    /// The database's name on the server.
    pub logical: String,
    /// The role it belongs to there.
    pub owner: String,
    /// The other roles it names; none are known of the first dumps there were.
    pub roles: Vec<String>,
    /// The server's major version.
    pub server_version: u32,
    /// The database's size when the dump was asked for.
    pub expected_bytes: u64,
    /// The target; `None` is the box's own disk.
    pub target: Option<i64>,
    /// The target's name.
    pub target_name: Option<String>,
    /// Where in the target it lies.
    pub key: String,
    /// Of a multipart upload that is not completed.
    pub upload_token: Option<String>,
    /// Where it stands.
    pub state: BackupState,
    /// Why it was begun.
    pub cause: Cause,
    /// 1 for the first try.
    pub attempt: u32,
    /// Why it failed.
    pub reason: Option<String>,
    /// The dump's size.
    pub size_bytes: Option<u64>,
    /// The dump's SHA-256, hex.
    pub sha256: Option<String>,
    /// What it says it holds.
    pub contents: Option<Contents>,
    /// When it was asked for.
    pub created: UnixMs,
    /// Not before.
    pub due: UnixMs,
    /// When it began.
    pub started: Option<UnixMs>,
    /// When it ended.
    pub finished: Option<UnixMs>,
    /// The last `verify`: running, good, bad.
    pub check_state: Option<String>,
    /// What it found.
    pub check_note: Option<String>,
    /// When it ended.
    pub checked: Option<UnixMs>,
}

impl Backup {
    /// Whether it was taken back, or is to be: the wish stands in its row before anything is done about it.
    pub fn is_cancelled(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or_default();
        reason.starts_with(TAKEN_BACK)
    }

    /// Whether the check of it that runs is to be taken back.
    pub(super) fn check_is_cancelled(&self) -> bool {
        let note = self.check_note.as_deref().unwrap_or_default();
        self.check_state.as_deref() == Some("running") && note.starts_with(TAKEN_BACK)
    }

    /// As events name the server.
    pub fn subject(&self) -> String {
        subject(self.database)
    }

    /// "tasks on main".
    pub fn what(&self) -> String {
        match self.logical.as_str() {
            ALL_PARTS => format!("the databases on {}", self.database_name),
            logical => format!("{logical} on {}", self.database_name),
        }
    }

    /// Where it lies, in a word.
    pub fn place(&self) -> &str {
        self.target_name.as_deref().unwrap_or("this box's disk")
    }
}

/// As events name the server with this id.
pub fn subject(database: i64) -> String {
    format!("database:{database}")
}

/// A backup to be made.
#[derive(Clone, Debug)]
pub(super) struct NewBackup {
    pub database: i64,
    pub database_name: String,
    pub logical: String,
    pub owner: String,
    pub roles: Vec<String>,
    pub server_version: u32,
    pub expected_bytes: u64,
    pub cause: Cause,
    pub attempt: u32,
    pub due: UnixMs,
}

/// A backup being brought back.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Its number.
    pub id: i64,
    /// What is brought back.
    pub backup: i64,
    /// The server it goes to.
    pub database: i64,
    /// The name it takes there.
    pub logical: String,
    /// Its name until the swap.
    pub fresh: String,
    /// The old one's name after it.
    pub kept: String,
    /// Where it stands.
    pub state: RestoreState,
    /// Why it failed.
    pub reason: Option<String>,
    /// Tables found in it.
    pub tables: Option<u64>,
    /// Rows found in it, by the server's statistics.
    pub rows: Option<u64>,
    /// When it was asked for.
    pub created: UnixMs,
    /// When it ended.
    pub finished: Option<UnixMs>,
    /// When the old one was dropped.
    pub confirmed: Option<UnixMs>,
}

impl Restore {
    /// Whether it was taken back, or is to be: the wish stands in its row before anything is done about it.
    pub fn is_cancelled(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or_default();
        reason.starts_with(TAKEN_BACK)
    }
}

/// A target as it is shown: without its secret.
#[derive(Clone, Debug)]
pub struct Target {
    /// The row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `s3://bucket/prefix` or `dir:///path`.
    pub place: String,
    /// The store's address.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Path style, when it was said.
    pub path_style: Option<bool>,
    /// Whether dumps go there.
    pub is_default: bool,
    /// When it was last tried.
    pub used: Option<UnixMs>,
    /// Why the last try failed.
    pub fault: Option<String>,
    /// When it was added.
    pub created: UnixMs,
}

impl Target {
    /// Whether it is sure to be elsewhere: a folder may stand on this box.
    pub fn is_away(&self) -> bool {
        self.place.starts_with("s3://")
    }
}

/// Objects in one target that retention cannot remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unremoved {
    /// The target's name; `None` is the box's own disk.
    pub target: Option<String>,
    /// How many.
    pub count: u32,
    /// Since when.
    pub since: UnixMs,
    /// What the target said last.
    pub why: Option<String>,
}

/// When a database is dumped.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The minute of the day, box time.
    pub minute: u32,
    /// The next time.
    pub next_due: UnixMs,
    /// When a missing backup was last told.
    pub alarm: Option<UnixMs>,
    /// Since when.
    pub created: UnixMs,
}
