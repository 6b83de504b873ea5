//! What backups need of their siblings, given by the daemon.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::supervise::Spec;

/// Why a sibling could not help.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Trouble {
    /// A sentence.
    pub why: String,
    /// Whether the same may succeed later by itself.
    pub passing: bool,
}

/// What a port answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Trouble>>;

/// A managed server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Major version.
    pub version: u32,
    /// Whether it can be dumped now.
    pub ready: bool,
}

/// One database on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name there.
    pub name: String,
    /// The role it belongs to.
    pub owner: String,
    /// The other roles that what is in it belongs to, or names.
    pub roles: Vec<String>,
    /// On disk.
    pub size_bytes: u64,
    /// Whether there is anything in it.
    pub has_content: bool,
}

/// What a restored database is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Tables.
    pub tables: u64,
    /// Rows, by the server's statistics.
    pub rows: u64,
}

/// The managed servers.
pub trait Servers: Send + Sync {
    /// All of them.
    fn list(&self) -> Answer<'_, Vec<Server>>;
    /// The databases of one.
    fn parts(&self, server: i64) -> Answer<'_, Vec<Part>>;
    /// The container that runs `argv` beside a server, with `part` as its database.
    fn side(&self, server: i64, name: String, argv: Vec<String>, part: String) -> Answer<'_, Spec>;
    /// What `tool` in side containers whose names begin with `name` has left in the server is ended.
    fn end_sessions(&self, server: i64, tool: &'static str, name: String) -> Answer<'_, ()>;
    /// `--dbname=…` for one of the server's own tools.
    fn dbname(&self, part: &str) -> String;
    /// `base` with `suffix`, short enough for the server.
    fn derived(&self, base: &str, suffix: &str) -> String;
    /// An empty database for the first role, alike to `like` where that is there; one
    /// of the same name goes first. Each of the roles is there afterwards.
    fn make_fresh(
        &self,
        server: i64,
        fresh: String,
        like: String,
        roles: (String, Vec<String>),
    ) -> Answer<'_, ()>;
    /// What is in a database.
    fn found(&self, server: i64, part: String) -> Answer<'_, Found>;
    /// `fresh` takes the name of `live`, which is kept as `kept`. May be called again.
    fn swap(&self, server: i64, live: String, fresh: String, kept: String) -> Answer<'_, ()>;
    /// Lets connections into a database again that a swap may have closed.
    fn open_doors(&self, server: i64, part: String) -> Answer<'_, ()>;
    /// Drops a database; none there is no error.
    fn drop_part(&self, server: i64, part: String) -> Answer<'_, ()>;
    /// The apps that use a database.
    fn apps(&self, server: i64, part: String) -> Answer<'_, Vec<i64>>;
}

/// The requests on their way to apps.
pub trait Traffic: Send + Sync {
    /// Holds the requests of these apps for at most `limit`, because `owner` needs it, and lets those that run end, for a
    /// few seconds of it.
    fn pause(&self, owner: String, apps: Vec<i64>, limit: Duration) -> Answer<'_, ()>;
    /// Lets all through again that nobody but `owner` held.
    fn resume(&self, owner: String) -> Answer<'_, ()>;
}
