//! What a managed database is, as rows and as seen from outside.

use crate::base::clock::UnixMs;
use crate::base::ids::DatabaseName;
use crate::base::secret::Secret;

/// Where a managed server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Image, network and volumes are being had.
    Creating,
    /// Its container is on its way to answering a query.
    Starting,
    /// It answers; version and place of its data are looked at.
    Verifying,
    /// In service.
    Ready,
    /// Its creation failed; the reason is in its row.
    Failed,
    /// On its way out, with its data.
    Removing,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Creating,
        Self::Starting,
        Self::Verifying,
        Self::Ready,
        Self::Failed,
        Self::Removing,
    ];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Verifying => "verifying",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Removing => "removing",
        }
    }

    /// The state `word` stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// The names of the lines at which the tests kill the daemon.
pub fn crash_points() -> Vec<String> {
    let states = State::ALL.iter().map(|s| ("create", s.as_str()));
    states
        .chain(LINKS.map(|link| ("link", link)))
        .flat_map(|(what, state)| {
            ["before", "after"].map(|side| format!("postgres.{what}.{state}.{side}"))
        })
        .collect()
}

/// What is written of an app's access, the wish and what came of it; a detached app's row is deleted.
const LINKS: [&str; 4] = ["attaching", "attached", "detaching", "detached"];

/// A managed server.
#[derive(Clone, Debug)]
pub struct Database {
    /// Never used twice.
    pub id: i64,
    /// Unique on the box.
    pub name: DatabaseName,
    /// Major version.
    pub version: u32,
    /// The image it runs.
    pub image: String,
    /// Its memory limit.
    pub memory_bytes: u64,
    /// Where it stands.
    pub state: State,
    /// Counts the tries to create it.
    pub attempt: u32,
    /// Why it failed or waits.
    pub reason: Option<String>,
    /// Its container's row.
    pub container_row: Option<i64>,
    /// As the server said.
    pub server_version: Option<String>,
    /// When it was first ready.
    pub ready: Option<UnixMs>,
    /// When it was asked for.
    pub created: UnixMs,
}

impl Database {
    /// Whether the work that its row asks for takes a volume away: its removal, and another try to make it, which begins
    /// with an empty one.
    pub(super) fn takes_data_away(&self) -> bool {
        self.state == State::Removing
            || self.state == State::Creating && self.ready.is_none() && self.attempt > 1
    }

    /// As events name it.
    pub fn subject(&self) -> String {
        subject(self.id)
    }

    /// Its network, as given to the supervisor.
    pub fn network(&self) -> String {
        format!("db-{}-{}", self.name, self.id)
    }

    /// The host apps find it under in that network.
    pub fn host(&self) -> String {
        format!("{}.db", self.name)
    }

    pub(super) fn container(&self) -> String {
        format!("db-{}-{}", self.name, self.id)
    }

    pub(super) fn data_volume(&self) -> String {
        format!("db-{}-{}-data", self.name, self.id)
    }

    /// The volume that holds the server's unix socket. Side containers (dumps,
    /// restores) come in through it: no password, no network.
    pub(super) fn socket_volume(&self) -> String {
        format!("db-{}-{}-socket", self.name, self.id)
    }
}

/// As events name the database with this id.
pub fn subject(id: i64) -> String {
    format!("database:{id}")
}

/// Where an attachment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Role and database are being made.
    Attaching,
    /// The app has them.
    Attached,
    /// The role is being shut out; the data stays.
    Detaching,
    /// It could not be made.
    Failed,
}

impl Link {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
            Self::Failed => "failed",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        [
            Self::Attaching,
            Self::Attached,
            Self::Detaching,
            Self::Failed,
        ]
        .into_iter()
        .find(|s| s.as_str() == word)
    }
}

/// An app's role and database on a server.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The row.
    pub id: i64,
    /// The server.
    pub database: i64,
    /// The app.
    pub app: i64,
    /// The app's name when it was attached.
    pub app_name: String,
    /// Role and database have this name.
    pub role: String,
    /// The variable that holds the URL.
    pub env_name: String,
    /// Where it stands.
    pub state: Link,
    /// Why it failed.
    pub reason: Option<String>,
}

/// What attaching led to.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The app's role and database.
    pub link: Attachment,
    /// Whether the app has them only since this.
    pub changed: bool,
}

/// What an app is given for one attached database.
#[derive(Clone, Debug)]
pub struct Given {
    /// The server's name.
    pub database: String,
    /// Such as `DATABASE_URL`.
    pub env_name: String,
    /// Its value.
    pub url: Secret,
    /// The network its containers join, as given to the supervisor.
    pub network: String,
}

/// A server seen from inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// When it said so.
    pub at: UnixMs,
    /// All its databases together.
    pub size_bytes: u64,
    /// Open connections of clients.
    pub connections: u32,
    /// The most it takes.
    pub max_connections: u32,
    /// Its databases, Postgres' own templates left out.
    pub logical: Vec<Logical>,
}

/// One database on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logical {
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// On disk.
    pub size_bytes: u64,
}

/// One database on a server, looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The database.
    pub logical: Logical,
    /// The roles beside its owner that own something in it, may do something there, or are named by a policy.
    pub roles: Vec<String>,
    /// Whether it holds a table, view, function or schema that is not Postgres' own.
    pub has_content: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_crash_points_cover_every_state() {
        let points = crash_points();
        assert_eq!(points.len(), (State::ALL.len() + LINKS.len()) * 2);
        assert!(points.contains(&"postgres.create.verifying.after".to_owned()));
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
    }
}
