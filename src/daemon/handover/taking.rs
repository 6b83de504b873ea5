//! The side that comes: takes the sockets, looks at itself, waits for the box to be free, and tells when it serves.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::wire::{Reply, Serving, Wire, Word, take};
use super::{counted, leads};
use crate::base::clock::UnixMs;
use crate::config::Config;
use crate::daemon::sockets::Kept;
use crate::db;
use crate::proxy::EdgeHandle;

/// The one whose place this process takes.
pub struct Predecessor {
    wire: Wire,
    /// The file that the next successor is started from.
    pub program: PathBuf,
    /// What it keeps everything in.
    data_dir: Option<PathBuf>,
}

/// What goes on beside whoever leaves.
pub struct Beside {
    /// Ours, which the other one's follows, and which counts for it.
    pub edge: EdgeHandle,
    /// Becomes true once it is gone.
    pub gone: watch::Sender<bool>,
    /// How long it has, once this one is to stop.
    pub hurry: watch::Receiver<Option<Duration>>,
    /// It is not waited for longer.
    pub within: Duration,
}

/// What the predecessor said when it let go.
#[derive(Clone, Debug)]
pub struct Begun {
    pub at: UnixMs,
    /// Why another one could not take over, whose place this one takes.
    pub failed: Option<String>,
    /// How many serve on what they have, beside this one.
    pub leaving: u32,
}

/// Takes the sockets from standard input.
///
/// # Errors
/// That nobody hands over there.
pub fn arrive() -> Result<(Predecessor, Kept), String> {
    let words = |e: std::io::Error| {
        format!(
            "nobody hands over to this process ({e}): --takes-over is for `freehold reload`, which starts it itself"
        )
    };
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let stream = UnixStream::from(stdin.map_err(words)?);
    let (given, sockets) = take(&stream).map_err(words)?;
    let mut sockets = sockets.into_iter();
    let mut tcp = |count: usize| -> Vec<TcpListener> {
        let some: Vec<OwnedFd> = sockets.by_ref().take(count).collect();
        some.into_iter().map(TcpListener::from).collect()
    };
    let (http, https) = (tcp(given.http), tcp(given.https));
    let missing = || "a socket is missing".to_owned();
    let edge = UnixListener::from(sockets.next().ok_or_else(missing)?);
    let local = UnixListener::from(sockets.next().ok_or_else(missing)?);
    let kept = Kept {
        http,
        https,
        held: given.held,
        run_dir: given.run_dir,
        edge,
        local,
    };
    let wire = Wire::new(stream).map_err(words)?;
    let predecessor = Predecessor {
        wire,
        program: given.program,
        data_dir: given.data_dir,
    };
    Ok((predecessor, kept))
}

/// What can be seen without the lease: the state is of a version that this program knows, and can be read.
///
/// # Errors
/// A sentence.
pub async fn look(config: &Config) -> Result<(), String> {
    let state = config.data_dir.join("state.db");
    let looked = tokio::task::spawn_blocking(move || db::look(&state));
    looked
        .await
        .map_err(|_| "looking at the state panicked".to_owned())?
        .map_err(|e| e.to_string())
}

impl Predecessor {
    /// Whether this one would go on with what that one has.
    ///
    /// # Errors
    /// That the settings name another data folder by now.
    pub fn keeps_in(&self, config: &Config) -> Result<(), String> {
        match &self.data_dir {
            Some(before) if *before != config.data_dir => Err(format!(
                "the settings name the data folder {}, and the one that runs keeps everything in {}: another would begin with an empty box. `freehold status` says how it is moved",
                config.data_dir.display(),
                before.display()
            )),
            _ => Ok(()),
        }
    }

    /// Says that this process could take over, and waits until the box is free.
    ///
    /// # Errors
    /// That it is not to be: the predecessor is gone, or went on without us.
    pub async fn let_go(&mut self) -> Result<Begun, String> {
        let gone = "the Freehold that was to hand over is gone".to_owned();
        if self.wire.say(&Reply::Checked).await.is_err() {
            return Err(gone);
        }
        match self.wire.hear().await {
            Ok(Some(Word::Take {
                began,
                failed,
                leaving,
            })) => Ok(Begun {
                at: began,
                failed,
                leaving,
            }),
            _ => Err(gone),
        }
    }

    /// Why this process cannot take over; it ends after it.
    pub async fn failed(&mut self, why: &str) {
        if let Err(error) = self.wire.say(&Reply::Failed(why.to_owned())).await {
            tracing::debug!(%error, "the predecessor does not listen");
        }
    }

    /// Says that this process takes connections, and waits until it is confirmed. Then the predecessor only serves what it
    /// has, and both say what there is to know for the other, until that has ended.
    ///
    /// # Errors
    /// That the predecessor is gone without a word: whoever keeps it starts it anew, and this process is in the way.
    pub async fn serving(mut self, at: Serving, beside: Beside) -> Result<(), String> {
        let lost = "the Freehold that was handing over is gone before it was done; this one ends, so that whoever keeps Freehold starts it anew";
        if self.wire.say(&Reply::Serving(at)).await.is_err() {
            return Err(lost.into());
        }
        let Ok(Some(Word::Confirmed)) = self.wire.hear().await else {
            return Err(lost.into());
        };
        let Beside {
            edge,
            gone,
            hurry,
            within,
        } = beside;
        let Wire { mut ear, mouth } = self.wire;
        let telling = tokio::spawn(leads::tell(mouth, edge.clone(), hurry));
        tokio::spawn(async move {
            let end = async {
                while let Some(word) = ear.news().await {
                    if let Word::Counted(counted) = word {
                        counted::take_in(&edge, &counted);
                    }
                }
            };
            match tokio::time::timeout(within, end).await {
                Ok(()) => tracing::info!(
                    "the Freehold that handed over has served what it had, and is gone"
                ),
                Err(_) => tracing::warn!(
                    "the Freehold that handed over is still there past its limit, and is not waited for any more"
                ),
            }
            telling.abort();
            gone.send_replace(true);
        });
        Ok(())
    }
}
