//! A deploy, a release and what is live, as stored.

use std::collections::BTreeMap;

use crate::base::clock::UnixMs;
use crate::base::log_share::LogShare;
use crate::base::policies::Policies;
use crate::base::protocol::Protocol;
use crate::base::secret::Secret;

use super::app_file::{AppFile, Process};
use super::source::Source;
use super::state::State;
use super::static_folder::Files;

/// Who or what asked for a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A push, told by a git host.
    Webhook,
    /// Somebody, by command line, API or dashboard.
    Person,
    /// Somebody went back to an older release.
    Rollback,
    /// Somebody restarted or started the app.
    Restart,
    /// Env, scale or an attached database changed.
    Settings,
    /// The release died soon after its switch.
    Return,
}

impl Cause {
    const ALL: [Self; 6] = [
        Self::Webhook,
        Self::Person,
        Self::Rollback,
        Self::Restart,
        Self::Settings,
        Self::Return,
    ];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Person => "person",
            Self::Rollback => "rollback",
            Self::Restart => "restart",
            Self::Settings => "settings",
            Self::Return => "return",
        }
    }

    /// Whether a deploy of this cause that has not begun gives way to a newer one of `newer`.
    /// Nothing that somebody gave is lost by it: code gives way only to newer code or to a
    /// rollback, settings to what brings the settings of its day, too.
    pub(super) fn gives_way_to(self, newer: Self) -> bool {
        match newer {
            Self::Rollback => true,
            Self::Webhook | Self::Person => !matches!(self, Self::Settings | Self::Return),
            Self::Settings => matches!(self, Self::Settings | Self::Restart),
            Self::Restart => self == Self::Restart,
            Self::Return => matches!(self, Self::Restart | Self::Return),
        }
    }

    pub(super) fn parse(word: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|c| c.as_str() == word)
            .unwrap_or(Self::Person)
    }
}

/// A deploy to be queued.
#[derive(Clone, Debug)]
pub struct NewDeploy {
    /// The app's row.
    pub app: i64,
    /// Where the code comes from.
    pub source: Source,
    /// Who or what asked.
    pub cause: Cause,
    /// By name, for the activity.
    pub by: String,
    /// The webhook's delivery id.
    pub delivery: Option<String>,
    /// What is known of the commit already.
    pub title: Option<String>,
}

/// A deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploy {
    /// Its row.
    pub id: i64,
    /// The app's row.
    pub app: i64,
    /// Where it stands.
    pub state: State,
    /// Where the code comes from.
    pub source: Source,
    /// Who or what asked.
    pub cause: Cause,
    /// By name.
    pub by: String,
    /// The commit that was fetched.
    pub commit: Option<String>,
    /// The commit's first line.
    pub title: Option<String>,
    /// The image's id, once there is one.
    pub image: Option<String>,
    /// The release's row and number, once there is one.
    pub release: Option<(i64, i64)>,
    /// The release that was live before.
    pub returns_to: Option<i64>,
    /// Whether somebody asked to stop it.
    pub cancel: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was asked for.
    pub created: UnixMs,
    /// When it began.
    pub started: Option<UnixMs>,
    /// Since when it is in its state.
    pub state_since: UnixMs,
    /// When its release became live.
    pub switched: Option<UnixMs>,
    /// When it ended.
    pub finished: Option<UnixMs>,
}

/// An immutable image with its settings. The environment that belongs to it
/// stays sealed in its row until containers are made.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its row.
    pub id: i64,
    /// The app's row.
    pub app: i64,
    /// Its number, v1, v2, ….
    pub number: i64,
    /// The engine's id of the image.
    pub image: String,
    /// Our own tag that keeps it.
    pub image_tag: String,
    /// What the app's file said; the defaults where that cannot be read.
    pub settings: AppFile,
    /// In a list: that its settings cannot be read, so that nothing can go back to it.
    pub unreadable: bool,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// The commit's first line.
    pub title: Option<String>,
    /// When it was made.
    pub created: UnixMs,
    /// When it first became live.
    pub live: Option<UnixMs>,
    /// When its image was collected.
    pub gone: Option<UnixMs>,
}

/// A release to be made.
#[derive(Clone, Debug)]
pub(super) struct NewRelease {
    pub image: String,
    pub image_tag: String,
    pub settings: AppFile,
    pub env: BTreeMap<String, Secret>,
    pub commit: Option<String>,
    pub title: Option<String>,
}

/// What runs of an app and gets its traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The app's row.
    pub app: i64,
    /// The release's row.
    pub release_id: i64,
    /// The release's number.
    pub release: i64,
    /// The deploy whose containers they are.
    pub deploy: i64,
    /// Process to the names of its containers.
    pub replicas: BTreeMap<String, Vec<String>>,
    /// The files that it is instead, where it has no containers.
    pub files: Option<Files>,
    /// Process to what the edge is to know of its replicas; what the release does not say is not there. Of a release whose
    /// policies cannot be read no process is.
    pub facing: BTreeMap<String, Facing>,
    /// Whether somebody stopped the app.
    pub stopped: bool,
    /// Whether settings were changed that it does not have, and that its next start brings.
    pub settings_changed: bool,
    /// Since when.
    pub since: UnixMs,
    /// Which of its requests its file wants in the access log.
    pub access_log: Option<LogShare>,
}

/// What a release says of a process to the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facing {
    /// Requests a replica takes at once.
    pub concurrency: Option<u32>,
    /// How its replicas are spoken to.
    pub protocol: Protocol,
    /// What its routes ask of requests and do to answers.
    pub policies: Policies,
}

impl Facing {
    /// Of each process of a release, by its settings as they are stored. Those that cannot be read say nothing, and where
    /// they hold policies no process is named: served without them, somebody could see what is not for everybody.
    pub(super) fn of(settings: &str) -> BTreeMap<String, Facing> {
        let file: AppFile = match serde_json::from_str(settings) {
            Ok(file) => file,
            Err(_) if settings.contains("\"route\":") => return BTreeMap::new(),
            Err(_) => AppFile::default(),
        };
        let facing = |process: Process| Facing {
            concurrency: process.concurrency,
            protocol: process.protocol,
            policies: process.route,
        };
        file.processes
            .into_iter()
            .map(|(name, process)| (name, facing(process)))
            .collect()
    }
}

impl Serving {
    /// Whether the container of this name is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.replicas.values().flatten().any(|n| n == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Cause;

    /// Rows: what waits; columns: what comes.
    #[test]
    #[rustfmt::skip]
    fn f4_nothing_that_was_given_gives_way_to_something_else() {
        use Cause::{Person, Restart, Return, Rollback, Settings, Webhook};
        let newer =       [Webhook, Person, Rollback, Restart, Settings, Return];
        let rows = [
            (Webhook,     [true,    true,   true,     false,   false,    false]),
            (Person,      [true,    true,   true,     false,   false,    false]),
            (Rollback,    [true,    true,   true,     false,   false,    false]),
            (Restart,     [true,    true,   true,     true,    true,     true]),
            (Settings,    [false,   false,  true,     false,   true,     false]),
            (Return,      [false,   false,  true,     false,   false,    true]),
        ];
        for (waits, expected) in rows {
            for (newer, gives_way) in newer.into_iter().zip(expected) {
                assert_eq!(waits.gives_way_to(newer), gives_way, "{waits:?} for {newer:?}");
            }
        }
    }
}
