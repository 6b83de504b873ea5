//! Follows edits of the settings files.
//!
//! The folders are watched, not the files, because editors put a new file in
//! the old one's place. A good edit is published whole; a bad one changes
//! nothing and is told. Whatever happens is sent as a [`Change`]: the daemon
//! records it as an event, so that settings need not know of events. Missed
//! notices are made up for by a look every half minute.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc, watch};

use crate::base::shutdown::Tasks;

use super::edits::{self, Edit};
use super::error::ConfigError;
use super::kept;
use super::load::Sources;
use super::settings::{Config, Listen};
use super::waiting::{self, Waiting};

/// Writes that follow each other closely are one edit.
const SETTLE: Duration = Duration::from_millis(200);
/// Edits that never settle are read all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// A look without a notice.
const LOOK: Duration = Duration::from_secs(30);

/// What an edit led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// New settings are in force; event `config.reloaded`.
    Reloaded {
        /// Settings among them that only a start takes up.
        waiting: Vec<Waiting>,
        /// What the files say otherwise than before.
        edits: Vec<Edit>,
    },
    /// The old settings stay; event `config.refused`.
    Refused(ConfigError),
}

impl Change {
    /// The event's kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Reloaded { .. } => "config.reloaded",
            Self::Refused(_) => "config.refused",
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reloaded { waiting, .. } if waiting.is_empty() => {
                f.write_str("The settings were edited and are in force.")
            }
            Self::Reloaded { waiting, .. } => {
                f.write_str("The settings were edited and are in force, but not all of them.")?;
                for Waiting {
                    setting,
                    why,
                    remedy,
                } in waiting
                {
                    write!(f, " {setting}: {why} {remedy}")?;
                }
                Ok(())
            }
            Self::Refused(error) => {
                write!(
                    f,
                    "The settings stay as they were, the edit has a mistake: {error}"
                )
            }
        }
    }
}

/// What the watcher offers.
pub struct ConfigWatch {
    /// The settings in force.
    pub settings: watch::Receiver<Arc<Config>>,
    /// The mistake in the files as they lie there now, if there is one.
    pub refused: watch::Receiver<Option<ConfigError>>,
    /// What the files say that only a start takes up.
    pub waiting: watch::Receiver<Vec<Waiting>>,
    /// Each edit, once.
    pub changes: mpsc::Receiver<Change>,
}

struct Watched {
    file: PathBuf,
    routes_d: PathBuf,
    touched: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
}

/// Starts to follow `file` and `routes_d`; `running` is what was loaded from
/// them, `held` the sockets that somebody else holds for the daemon. What only
/// a start takes up stays as it is in `running`; its data folder is no
/// difference as long as the files name the same, because the command line may
/// have named another.
pub fn watch(
    file: &Path,
    routes_d: &Path,
    running: Arc<Config>,
    held: Option<Listen>,
    tasks: &Tasks,
) -> ConfigWatch {
    let at_start = waiting::waiting(&running, &running, held.as_ref());
    let (waits, waiting_seen) = watch::channel(at_start);
    let (settings, settings_seen) = watch::channel(running.clone());
    let (refused, refused_seen) = watch::channel(None);
    let (told, changes) = mpsc::channel(16);
    let mut watched = Watched {
        file: file.to_owned(),
        routes_d: routes_d.to_owned(),
        touched: Arc::new(Notify::new()),
        watcher: None,
    };
    watched.look_at_folders();
    // What the next edit is told against.
    let mut good = Sources::read(file, routes_d).ok();
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_core("config-watch", async move {
        let mut last: Option<Result<Sources, ConfigError>> = None;
        let mut named: Option<PathBuf> = None;
        loop {
            let (file, routes_d) = (watched.file.clone(), watched.routes_d.clone());
            let read = tokio::task::spawn_blocking(move || Sources::read(&file, &routes_d)).await;
            let read = match read {
                Ok(read) => read,
                // The settings in force stay; another look may be luckier.
                Err(error) => {
                    tracing::error!(%error, "reading the settings panicked; they stay as they are");
                    tokio::select! {
                        () = shutdown.begun() => return,
                        () = tokio::time::sleep(LOOK) => continue,
                    }
                }
            };
            if last.as_ref() != Some(&read) {
                let first = last.is_none();
                match read.clone().and_then(|sources| sources.parse()) {
                    Ok(mut new) => {
                        refused.send_replace(None);
                        if let Ok(sources) = read.clone() {
                            let data_dir = running.data_dir.clone();
                            let kept = move || kept::keep(&data_dir, &sources);
                            if let Err(error) = tokio::task::spawn_blocking(kept).await {
                                tracing::warn!(%error, "keeping the settings panicked");
                            }
                        }
                        if *named.get_or_insert_with(|| new.data_dir.clone()) == new.data_dir {
                            new.data_dir.clone_from(&running.data_dir);
                        }
                        let waiting = waiting::waiting(&new, &running, held.as_ref());
                        let news = waits.send_if_modified(|old| {
                            let differs = *old != waiting;
                            old.clone_from(&waiting);
                            differs
                        });
                        let new = waiting::in_force(new, &running);
                        let changed = settings.send_if_modified(|old| {
                            let differs = **old != new;
                            if differs {
                                *old = Arc::new(new);
                            }
                            differs
                        });
                        let edits = match (&good, &read) {
                            (Some(old), Ok(new)) => edits::edits(old, new),
                            _ => Vec::new(),
                        };
                        good = read.clone().ok();
                        if changed || news || !first {
                            tell(&told, Change::Reloaded { waiting, edits });
                        }
                    }
                    Err(error) => {
                        if refused.borrow().as_ref() != Some(&error) {
                            refused.send_replace(Some(error.clone()));
                            tell(&told, Change::Refused(error));
                        }
                    }
                }
                last = Some(read);
            }
            tokio::select! {
                () = shutdown.begun() => return,
                () = tokio::time::sleep(LOOK) => {}
                () = watched.touched.notified() => settle(&watched.touched).await,
            }
            watched.look_at_folders();
        }
    });
    ConfigWatch {
        settings: settings_seen,
        refused: refused_seen,
        waiting: waiting_seen,
        changes,
    }
}

fn tell(told: &mpsc::Sender<Change>, change: Change) {
    match &change {
        Change::Reloaded { .. } => tracing::info!("{change}"),
        Change::Refused(_) => tracing::warn!("{change}"),
    }
    if told.try_send(change).is_err() {
        tracing::debug!("nobody takes the changes of the settings");
    }
}

async fn settle(touched: &Notify) {
    let quiet = async {
        while tokio::time::timeout(SETTLE, touched.notified())
            .await
            .is_ok()
        {}
    };
    if tokio::time::timeout(PATIENCE, quiet).await.is_err() {
        tracing::debug!("the settings files are still being written; reading them as they are");
    }
}

impl Watched {
    /// Watches both folders; one that is missing, or was put in another's place, at the next look.
    fn look_at_folders(&mut self) {
        let touched = Arc::clone(&self.touched);
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files is itself an event; only changes count.
            if event.is_ok_and(|e| !e.kind.is_access() || ended_a_write(&e)) {
                touched.notify_one();
            }
        });
        let mut watcher = match made {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::debug!(%error, "settings files are looked at every 30 s only");
                return;
            }
        };
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        for folder in [folder, &self.routes_d] {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::trace!(%error, folder = %folder.display(), "a settings folder is not watched yet");
            }
        }
        self.watcher = Some(watcher);
    }
}

fn ended_a_write(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}
