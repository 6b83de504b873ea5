//! Where the API asks for a handover, and hears how it stands; the daemon, which alone can do it, has the other end.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::base::clock::UnixMs;
use crate::wire::handover::{Handover, HandoverState};

/// For one that was asked for to begin.
const BEGINS_WITHIN: Duration = Duration::from_secs(5);

/// The API's end; cheap to clone.
#[derive(Clone)]
pub struct Handovers {
    ask: mpsc::Sender<()>,
    standing: watch::Receiver<Handover>,
    is_followed: bool,
}

/// Why none begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHandover {
    /// Whoever keeps this daemon would take its end for a crash.
    NotFollowed,
    /// One is running, or the daemon is on its way down.
    Busy,
}

/// The daemon's end.
pub struct Desk {
    asked: mpsc::Receiver<()>,
    standing: watch::Sender<Handover>,
}

impl Handovers {
    /// Both ends. `is_followed`: whoever keeps this daemon hears when another process has its place.
    pub fn new(is_followed: bool) -> (Self, Desk) {
        let (ask, asked) = mpsc::channel(1);
        let standing = watch::Sender::new(Handover {
            state: HandoverState::None,
            began_ms: None,
            ended_ms: None,
            why: None,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
        });
        let handovers = Self {
            ask,
            standing: standing.subscribe(),
            is_followed,
        };
        (handovers, Desk { asked, standing })
    }

    /// How the last one stands.
    pub fn standing(&self) -> Handover {
        self.standing.borrow().clone()
    }

    /// Asks for one, and returns how it stands once it has begun.
    ///
    /// # Errors
    /// Why none begins.
    pub async fn ask(&self) -> Result<Handover, NoHandover> {
        if !self.is_followed {
            return Err(NoHandover::NotFollowed);
        }
        let mut standing = self.standing.clone();
        standing.mark_unchanged();
        if self.standing().state == HandoverState::Running || self.ask.try_send(()).is_err() {
            return Err(NoHandover::Busy);
        }
        let begun = standing.changed();
        // It begins at once, or the daemon is on its way down.
        match tokio::time::timeout(BEGINS_WITHIN, begun).await {
            Ok(Ok(())) => Ok(self.standing()),
            _ => Err(NoHandover::Busy),
        }
    }
}

impl Desk {
    /// Waits until one is asked for.
    pub async fn asked(&mut self) {
        if self.asked.recv().await.is_none() {
            // Nobody can ask any more.
            std::future::pending().await
        }
    }

    /// One runs.
    pub fn begins(&self, at: UnixMs) {
        self.set(HandoverState::Running, Some(at), None, None);
    }

    /// It is over, and this process has the box: as it was to be, or because another one could not.
    pub fn ended(&self, began: UnixMs, failed: Option<String>) {
        let state = match failed {
            Some(_) => HandoverState::Failed,
            None => HandoverState::Done,
        };
        self.set(state, Some(began), Some(UnixMs::now()), failed);
    }

    fn set(
        &self,
        state: HandoverState,
        began_ms: Option<UnixMs>,
        ended_ms: Option<UnixMs>,
        why: Option<String>,
    ) {
        self.standing.send_modify(|standing| {
            *standing = Handover {
                state,
                began_ms,
                ended_ms,
                why,
                ..standing.clone()
            };
        });
    }
}
