//! What monitoring asks of the rest of the box; implemented where everything is wired.

use std::future::Future;
use std::pin::Pin;

use crate::base::clock::UnixMs;
use crate::config::Waiting;
use crate::db::Recovery;
use crate::proxy::{LeftOut, Reading};
use crate::wire::overview::{App, Certificate, Database, Engine, Trust};

/// An answer that takes a while.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The rest of the box.
pub trait World: Send + Sync + 'static {
    /// What every route of the edge has answered since this process began.
    fn readings(&self) -> Vec<RouteReading>;

    /// Everything that the edge has counted, with where its routes lead now.
    fn edge(&self) -> EdgeReading {
        EdgeReading::default()
    }

    /// Our containers that run.
    fn running(&self) -> Vec<Running> {
        Vec::new()
    }

    /// What should answer: every domain of every app that was ever live. An
    /// `Err` leaves the checks as they are.
    fn wanted(&self) -> Later<'_, Result<Vec<WantedCheck>, String>>;

    /// Issuers (DER) that checks trust beside the system's roots and the box's
    /// own CA: those a private ACME server signed the box's certificates with,
    /// whose root nobody else knows.
    fn private_issuers(&self) -> Later<'_, Result<Vec<Vec<u8>>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// How apps, databases, certificates and the engine stand.
    fn facts(&self) -> Later<'_, Result<Facts, String>>;
}

/// A route's counters; they only grow while the route lives.
#[derive(Clone, Debug)]
pub struct RouteReading {
    /// The route's own key.
    pub key: String,
    /// Whom it is counted for: `app:7`.
    pub subject: String,
    /// The counters.
    pub reading: Reading,
}

/// The edge's counters.
#[derive(Clone, Debug, Default)]
pub struct EdgeReading {
    /// Open connections of clients.
    pub connections: u64,
    /// Requests that wait for their app.
    pub held: u64,
    /// What was turned away before it reached an app: why, and how often.
    pub refused: Vec<(String, u64)>,
    /// Entries of the access log that were never written.
    pub log_dropped: u64,
    /// In no order.
    pub routes: Vec<RouteSeen>,
}

/// A route as the edge has it now.
#[derive(Clone, Debug)]
pub struct RouteSeen {
    /// The route's own key.
    pub key: String,
    /// Its host; empty for the box's address.
    pub host: String,
    /// Its prefix.
    pub path: String,
    /// The app's name.
    pub app: Option<String>,
    /// The process.
    pub process: Option<String>,
    /// Whether its requests are held on purpose.
    pub paused: bool,
    /// Its counters.
    pub reading: Reading,
    /// Where it leads, and would lead if its check did not fail.
    pub targets: Vec<TargetSeen>,
}

/// A target as the edge has it now.
#[derive(Clone, Debug)]
pub struct TargetSeen {
    /// The target's own key.
    pub key: String,
    /// The name of the container it is.
    pub container: Option<String>,
    /// Where it listens.
    pub address: String,
    /// Whether it is left out, and how often it was because of what it did to requests.
    pub left_out: LeftOut,
    /// Of one that gets nothing because its check fails: what it answered when that began, and when.
    pub fails: Option<(String, UnixMs)>,
    /// Its counters.
    pub reading: Reading,
}

/// A container of ours that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The engine's id of it.
    pub id: String,
    /// Whose it is: `app:7`.
    pub owner: String,
}

/// A domain that should answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCheck {
    /// `app:7`.
    pub subject: String,
    /// The app's name.
    pub name: String,
    /// `https://shop.example.com/healthz`: asked through the box's own edge.
    pub url: String,
    /// Whether only 200 to 399 is an answer (a health path); else anything
    /// below 500 is, because nobody said that `/` exists.
    pub strict: bool,
    /// Whether it should answer now; `false` while its app is stopped.
    pub active: bool,
}

/// Where dumps go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DumpsGo {
    /// No target is set: to the box's own disk.
    #[default]
    ToTheBox,
    /// To a folder, which may stand on this box; perhaps beside a target that stands elsewhere and gets none.
    ToFolder {
        /// The target they go to.
        name: String,
        /// One that they could go to.
        away: Option<String>,
    },
    /// To a store that is not this box.
    Away,
}

/// Objects in one backup target that should be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unremoved {
    /// The target's name; `None` is the box's own disk.
    pub target: Option<String>,
    /// How many.
    pub count: u32,
    /// Since when they are tried.
    pub since: UnixMs,
    /// What the target said last.
    pub why: Option<String>,
}

/// A deploy that moves its traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switching {
    /// The app's name.
    pub app: String,
    /// The deploy.
    pub deploy: i64,
    /// Since when.
    pub since: UnixMs,
}

/// How the rest of the box stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Every app; the figures are filled in here.
    pub apps: Vec<App>,
    /// Every database.
    pub databases: Vec<Database>,
    /// Every certificate.
    pub certificates: Vec<Certificate>,
    /// Docker.
    pub engine: Engine,
    /// The mistake in the settings files as they lie there now.
    pub config_refused: Option<String>,
    /// What the edge refused in the last minute, in a sentence, if it was more than strangers who pass by bring.
    pub attack: Option<String>,
    /// Times the state was made anew that nobody has confirmed.
    pub recoveries: Vec<Recovery>,
    /// Why there is no snapshot of the state of the last hour.
    pub unkept: Option<String>,
    /// What the settings files say that only a start takes up.
    pub settings_waiting: Vec<Waiting>,
    /// Where the dumps of its databases go.
    pub dumps: DumpsGo,
    /// The deploys that move their traffic.
    pub switching: Vec<Switching>,
    /// What retention cannot remove from backup targets.
    pub unremoved: Vec<Unremoved>,
    /// The box's own CA.
    pub trust: Option<Trust>,
    /// Where the dashboard answers.
    pub dashboard: Option<String>,
}
