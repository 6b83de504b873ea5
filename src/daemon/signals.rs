//! Whether this process is told to stop.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What systemd, or a terminal, says.
pub struct Signals {
    term: Signal,
    int: Signal,
    hang_up: Signal,
    /// To stop, once and for all.
    pub is_told: bool,
}

impl Signals {
    /// # Errors
    /// That the system does not let us hear them.
    pub fn listen() -> Result<Self, String> {
        let of = |kind| signal(kind).map_err(|e| format!("signals cannot be heard: {e}"));
        Ok(Self {
            term: of(SignalKind::terminate())?,
            int: of(SignalKind::interrupt())?,
            hang_up: of(SignalKind::hangup())?,
            is_told: false,
        })
    }

    /// Waits so long, or until this process is told to stop.
    pub async fn stop_within(&mut self, limit: Duration) {
        drop(tokio::time::timeout(limit, self.stop()).await);
    }

    /// Waits until this process is told to stop; it is then, for good.
    pub async fn stop(&mut self) {
        while !self.is_told {
            tokio::select! {
                _ = self.term.recv() => self.is_told = true,
                _ = self.int.recv() => self.is_told = true,
                _ = self.hang_up.recv() => tracing::info!(
                    "told to read the settings again (SIGHUP): they are read whenever they are saved, so there is nothing to do"
                ),
            }
        }
    }
}
