//! Keeps the edge's snapshot true: gathers, builds, publishes, retires.
//!
//! One task does it, so snapshots never overtake each other. It wakes on every
//! commit, every change of a container, a certificate or the settings, and when
//! somebody asks to be told once the newest state is published (the switch of a
//! deploy, a challenge of an order).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::base::shutdown::Tasks;
use crate::certs::{Boxed, Certs, Publish};
use crate::proxy::{EdgeHandle, Target};
use crate::routing;

use super::wanted::Gather;

/// Retired targets remembered for whoever waits for their drain.
const REMEMBERED: usize = 1_024;
/// How long a caller waits for a publication.
const PUBLISH_LIMIT: Duration = Duration::from_secs(10);
/// The snapshot is gathered anew at least this often.
const LOOK: Duration = Duration::from_secs(30);

/// The way to ask the publisher; cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    ask: mpsc::Sender<oneshot::Sender<()>>,
    edge: EdgeHandle,
    retired: Arc<Mutex<Vec<Arc<Target>>>>,
}

impl Publisher {
    /// The way to ask, and what [`Pending::start`] needs: domains hold the
    /// publisher before what it gathers from them exists.
    pub fn new(edge: EdgeHandle) -> (Self, Pending) {
        let (ask, asked) = mpsc::channel(64);
        let publisher = Self {
            ask,
            edge,
            retired: Arc::default(),
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

    /// Waits until the retired replicas of these rows have ended what they were
    /// answering, at most `limit`; then cuts the rest. Says how many were cut.
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
        let all = async {
            for target in &targets {
                target.drained().await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_ok() {
            return 0;
        }
        let cut = targets.iter().map(|t| t.in_flight()).sum();
        for target in &targets {
            target.cut();
        }
        cut
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

struct Work {
    edge: EdgeHandle,
    gather: Gather,
    certs: Certs,
    retired: Arc<Mutex<Vec<Arc<Target>>>>,
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
            match self.publish().await {
                Ok(()) => {
                    for done in waiting.drain(..) {
                        if done.send(()).is_err() {
                            tracing::debug!("whoever waited for a publication went away");
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the routes could not be gathered; the edge serves what it had");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
            tokio::select! {
                more = asked.recv() => match more {
                    Some(done) => waiting.push(done),
                    None => return,
                },
                () = self.gather.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn publish(&mut self) -> Result<(), String> {
        let gathered = self.gather.gather().await?;
        self.certs
            .want(gathered.wanted)
            .await
            .map_err(|e| e.to_string())?;
        if self.last.as_ref() == Some(&gathered.mark) {
            return Ok(());
        }
        let built = routing::build(gathered.input, &self.edge.snapshot());
        self.edge.publish(Arc::new(built.snapshot));
        self.last = Some(gathered.mark);
        for target in &built.gone {
            target.retire();
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
        Ok(())
    }
}
