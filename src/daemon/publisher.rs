//! Keeps the edge's snapshot true: gathers, builds, publishes, retires.
//!
//! One task does it, so snapshots never overtake each other. It wakes on every
//! commit, every change of a container, a certificate or the settings, and when
//! somebody asks to be told once the newest state is published (the switch of a
//! deploy, a challenge of an order).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::base::clock::UnixMs;
use crate::base::shutdown::Tasks;
use crate::certs::{Boxed, Certs, Publish};
use crate::db::DbError;
use crate::proxy::{EdgeHandle, Target, drain};
use crate::routing;

use super::route_folders::Unread;
use super::wanted::Gather;

/// Retired targets remembered for whoever waits for their drain.
const REMEMBERED: usize = 1_024;
/// How long a caller waits for a publication.
const PUBLISH_LIMIT: Duration = Duration::from_secs(10);
/// How long a caller waits for an app's folder to be read.
const FOLDER_LIMIT: Duration = Duration::from_secs(15);
/// After a publication that was not whole.
const AGAIN: Duration = Duration::from_millis(500);
/// The snapshot is gathered anew at least this often.
const LOOK: Duration = Duration::from_secs(30);

/// The way to ask the publisher; cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    ask: mpsc::Sender<oneshot::Sender<()>>,
    edge: EdgeHandle,
    retired: Arc<Mutex<Vec<Arc<Target>>>>,
    unread: watch::Sender<Unread>,
    /// True once no older process sends requests to what was live when this one took over.
    predecessor: watch::Receiver<bool>,
}

impl Publisher {
    /// The way to ask, and what [`Pending::start`] needs: domains hold the
    /// publisher before what it gathers from them exists.
    pub fn new(edge: EdgeHandle, predecessor: watch::Receiver<bool>) -> (Self, Pending) {
        let (ask, asked) = mpsc::channel(64);
        let publisher = Self {
            ask,
            edge,
            retired: Arc::default(),
            unread: watch::Sender::default(),
            predecessor,
        };
        let pending = Pending {
            publisher: publisher.clone(),
            asked,
        };
        (publisher, pending)
    }

    /// Returns once what is committed now is what the edge serves.
    ///
    /// # Errors
    /// A sentence when it does not happen in time.
    pub async fn published(&self) -> Result<(), String> {
        let late = || "the edge did not take the new routes within 10 s".to_owned();
        let (done, answer) = oneshot::channel();
        self.ask.send(done).await.map_err(|_| late())?;
        tokio::time::timeout(PUBLISH_LIMIT, answer)
            .await
            .map_err(|_| late())?
            .map_err(|_| late())
    }

    /// [`Self::published`], and what is live of the app gets its traffic: a folder that is still being read does not.
    ///
    /// # Errors
    /// A sentence when it does not happen in time, or the folder cannot be read.
    pub async fn switched(&self, app: i64) -> Result<(), String> {
        // Before it is asked, so that nothing is missed.
        let mut unread = self.unread.subscribe();
        self.published().await?;
        let read = unread.wait_for(|unread| !matches!(unread.get(&app), Some(None)));
        let read = tokio::time::timeout(FOLDER_LIMIT, read).await;
        let late = |_| {
            format!(
                "the app's folder was not read within {} s; the one before is served on",
                FOLDER_LIMIT.as_secs()
            )
        };
        let unread = read.map_err(late)?.map_err(|e| e.to_string())?;
        match unread.get(&app) {
            Some(Some(why)) => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// Waits until the retired replicas of these rows have ended what they were
    /// answering, at most `limit`; then cuts the rest, which has a moment for its last words. Says how many were cut.
    pub async fn drained(&self, rows: &[i64], limit: Duration) -> u64 {
        let targets: Vec<Arc<Target>> = {
            let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            let keys: Vec<String> = rows.iter().map(|row| format!("replica:{row}")).collect();
            retired
                .iter()
                .filter(|t| keys.iter().any(|k| k.as_str() == &**t.key()))
                .cloned()
                .collect()
        };
        drain::drain(&targets, limit).await
    }

    /// Waits until no process before this one sends requests to anything any more: after a handover it knows of no change.
    /// It has a limit for itself.
    pub async fn alone(&self) {
        let mut predecessor = self.predecessor.clone();
        // Whoever could say so is gone: then so is what it would tell of.
        drop(predecessor.wait_for(|gone| *gone).await);
    }

    /// What the edge has apps' requests go to now.
    pub fn targets(&self, apps: &[i64]) -> Vec<Arc<Target>> {
        let groups: Vec<String> = apps.iter().map(|app| format!("app:{app}")).collect();
        let snapshot = self.edge.snapshot();
        let routes = snapshot
            .all_routes()
            .filter(|route| groups.iter().any(|group| *group == *route.spec.group));
        routes
            .flat_map(|route| route.targets().iter().cloned())
            .collect()
    }
}

/// A publisher whose task does not run yet.
pub struct Pending {
    publisher: Publisher,
    asked: mpsc::Receiver<oneshot::Sender<()>>,
}

impl Pending {
    /// Starts the task that owns publishing.
    pub fn start(self, gather: Gather, certs: Certs, tasks: &Tasks) {
        let work = Work {
            edge: self.publisher.edge,
            gather,
            certs,
            retired: self.publisher.retired,
            unread: self.publisher.unread,
            last: None,
            told: HashSet::new(),
        };
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_core("publisher", async move {
            tokio::select! {
                () = shutdown.begun() => {}
                () = work.run(self.asked) => {}
            }
        });
    }
}

impl Publish for Publisher {
    fn challenge_live<'a>(&'a self, token: &'a str) -> Boxed<'a, Result<(), String>> {
        Box::pin(async move {
            let asked = std::time::Instant::now();
            loop {
                self.published().await?;
                if self.edge.snapshot().challenges.contains_key(token) {
                    return Ok(());
                }
                if asked.elapsed() > PUBLISH_LIMIT {
                    return Err("the edge does not answer the challenge yet".into());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    }
}

/// What keeps a publication from being whole.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// Nothing new is served.
    #[error("the routes could not be gathered; the edge serves what it had: {0}")]
    Gathering(String),
    /// The routes are served.
    #[error(
        "the edge serves the newest routes, but which names need certificates could not be written down: {0}"
    )]
    Wanting(DbError),
}

struct Work {
    edge: EdgeHandle,
    gather: Gather,
    certs: Certs,
    retired: Arc<Mutex<Vec<Arc<Target>>>>,
    unread: watch::Sender<Unread>,
    last: Option<String>,
    told: HashSet<String>,
}

impl Work {
    async fn run(mut self, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            self.gather.mark_seen();
            while let Ok(more) = asked.try_recv() {
                waiting.push(more);
            }
            let published = self.publish().await;
            let look = match &published {
                Ok(Some(until)) => until.since(UnixMs::now()).min(LOOK),
                // What it was to publish is not yet: somebody waits for it.
                Err(Trouble::Gathering(_)) => Duration::ZERO,
                _ => LOOK,
            };
            if !matches!(published, Err(Trouble::Gathering(_))) {
                for done in waiting.drain(..) {
                    if done.send(()).is_err() {
                        tracing::debug!("whoever waited for a publication went away");
                    }
                }
            }
            if let Err(error) = published {
                tracing::error!("{error}");
                tokio::time::sleep(AGAIN).await;
            }
            tokio::select! {
                more = asked.recv() => match more {
                    Some(done) => waiting.push(done),
                    None => return,
                },
                () = self.gather.changed() => {}
                () = tokio::time::sleep(look) => {}
            }
        }
    }

    /// Says until when what it published is true, if that ends by itself.
    async fn publish(&mut self) -> Result<Option<UnixMs>, Trouble> {
        let gathered = self.gather.gather().await.map_err(Trouble::Gathering)?;
        let (wanted, until, over) = (gathered.wanted, gathered.until, gathered.over);
        self.serve(gathered.input, gathered.mark);
        // After it: whoever waits for a folder finds it served.
        self.unread.send_replace(gathered.unread);
        // Last, because it writes: on a full disk, too, traffic follows the containers.
        self.certs.want(wanted).await.map_err(Trouble::Wanting)?;
        if over && let Err(error) = self.gather.apps.end_pauses(UnixMs::now()).await {
            tracing::warn!(%error, "pauses that are over could not be cleared away yet");
        }
        Ok(until)
    }

    /// Lets the edge serve `input`, unless it does already.
    fn serve(&mut self, input: routing::Input, mark: String) {
        if self.last.as_ref() == Some(&mark) {
            return;
        }
        let built = routing::build(input, &self.edge.snapshot());
        self.edge.publish(Arc::new(built.snapshot));
        self.last = Some(mark);
        for target in &built.gone {
            target.retire();
        }
        for target in &built.ill {
            target.leave();
        }
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.extend(built.gone);
        let surplus = retired.len().saturating_sub(REMEMBERED);
        retired.drain(..surplus);
        drop(retired);
        for refused in built.refused {
            if self.told.insert(refused.clone()) {
                tracing::warn!(why = refused, "a route is not served");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::Apps;
    use crate::base::ids::InstallationId;
    use crate::base::secret::MasterKey;
    use crate::base::shutdown::Shutdown;
    use crate::certs;
    use crate::config::Config;
    use crate::daemon::{ports, route_folders, settings, upstreams};
    use crate::db::{Db, Kind};
    use crate::deploy::{self, Deploys};
    use crate::docker::Engine;
    use crate::git::Git;
    use crate::postgres::Databases;
    use crate::proxy::{Edge, Listeners};
    use crate::supervise::Supervisor;

    #[tokio::test]
    async fn f8_the_edge_follows_though_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let db = Db::open(&at("state.db"), Kind::State).unwrap();
        let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let config = Config {
            data_dir: folder.path().to_owned(),
            ..Config::default()
        };
        let installation = InstallationId::parse("box").unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let host = format!("unix://{}", at("none.sock").display());
        let engine = Engine::connect(&host).unwrap();
        let supervisor = Supervisor::start(
            engine.clone(),
            db.clone(),
            Arc::clone(&key),
            &installation,
            &config,
            &tasks,
        )
        .await
        .unwrap();
        let (failed, _failures) = mpsc::channel(1);
        let limits = settings::limits(&config);
        let edge =
            Edge::start_closed(Listeners::default(), Arc::default(), limits, failed).unwrap();
        let (publisher, _pending) = Publisher::new(edge.handle(), watch::channel(true).1);
        let (_settings, watched) = watch::channel(Arc::new(config.clone()));
        let reserved = settings::reserved(watched.clone());
        let apps = Apps::new(db.clone(), Arc::clone(&key), reserved);
        let (databases, _) = Databases::new(
            db.clone(),
            Arc::clone(&key),
            engine.clone(),
            supervisor.clone(),
        );
        let deploys = Deploys::open(
            db.clone(),
            Arc::clone(&key),
            deploy::Ports {
                apps: Arc::new(ports::deploy::AppsPort(apps.clone())),
                attachments: Arc::new(ports::deploy::AttachmentsPort(databases)),
                traffic: Arc::new(ports::deploy::TrafficPort(publisher)),
                images: Arc::new(engine),
                containers: Arc::new(supervisor.clone()),
            },
            Git::new(&at("git"), None).unwrap(),
            settings::deploys(&config),
            installation,
        )
        .await
        .unwrap();
        let acme = certs::Settings::new(config.acme.clone());
        let certs = Certs::open(db.clone(), key, acme).await.unwrap();
        let mut work = Work {
            edge: edge.handle(),
            gather: Gather {
                settings: watched,
                commits: db.commits(),
                live: supervisor.live(),
                certificates: certs.current(),
                apps,
                deploys,
                upstreams: upstreams::Upstreams::default(),
                folders: route_folders::RouteFolders::default(),
                edge_socket: at("edge.sock"),
                verifiers: Default::default(),
            },
            certs,
            retired: Arc::default(),
            unread: watch::Sender::default(),
            last: None,
            told: HashSet::new(),
        };
        // As on a full disk: reading goes on, writing does not.
        let taken: Result<(), DbError> = db
            .write(|tx| {
                tx.execute("ALTER TABLE certificate_names RENAME TO gone", [])?;
                Ok(())
            })
            .await;
        taken.unwrap();
        let before = edge.handle().snapshot().generation;
        let said = work.publish().await.unwrap_err();
        assert!(matches!(said, Trouble::Wanting(_)), "{said}");
        assert!(edge.handle().snapshot().generation > before, "{said}");
        tasks.finish(Duration::from_secs(5)).await;
    }
}
