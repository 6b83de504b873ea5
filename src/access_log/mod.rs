//! Access log: what the edge tells of requests, as lines of JSON in files that follow each other.
//!
//! Invariants: the request path never waits for a disk; the files together have a bound; what could not be written is
//! counted, and the next line that can be written says how much. Which requests are told is the edge's and the settings'
//! decision. What a person reads of routes are figures, not this.

mod file;
mod line;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::base::clock::UnixMs;
use crate::base::shutdown::{Shutdown, Tasks};
use crate::proxy::{Entries, Entry};

use file::Files;

/// The newest file; older ones are `access.jsonl.1` and on.
pub const FILE: &str = "access.jsonl";
/// After the first entry, how long others are waited for: so often is the edge's ring emptied at most.
const TOGETHER: Duration = Duration::from_millis(20);
/// Entries that are written in one go.
const BATCH: usize = 4_096;
/// Bytes that are written at once, and by which a file may be shorter than it could be.
const PIECE: usize = 64 * 1024;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a file.
    pub size: u64,
    /// Files in all, from 1.
    pub files: u32,
}

/// The handle on the task that writes.
#[derive(Clone)]
pub struct AccessLog(watch::Sender<Settings>);

impl AccessLog {
    /// Writes what `entries` gives below `folder` until the daemon stops. Made at the first entry, for its owner alone.
    pub fn start(entries: Entries, folder: &Path, settings: Settings, tasks: &Tasks) -> AccessLog {
        let (sender, settings) = watch::channel(settings);
        let writer = Writer {
            files: Files::new(folder.join(FILE)),
            told: 0,
            failing: false,
        };
        let path = folder.join(FILE);
        let shutdown = tasks.shutdown().clone();
        tasks.spawn("access-log", run(entries, writer, path, settings, shutdown));
        AccessLog(sender)
    }

    /// Keeps so much from the next write on.
    pub fn configure(&self, settings: Settings) {
        self.0.send_replace(settings);
    }
}

async fn run(
    mut entries: Entries,
    mut writer: Writer,
    path: PathBuf,
    settings: watch::Receiver<Settings>,
    shutdown: Shutdown,
) {
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            () = shutdown.begun() => {}
            entry = entries.next() => match entry {
                Some(entry) => batch.push(entry),
                None => return,
            },
        }
        if !shutdown.is_begun() {
            tokio::time::sleep(TOGETHER).await;
        }
        while batch.len() < BATCH
            && let Some(entry) = entries.try_next()
        {
            batch.push(entry);
        }
        if batch.is_empty() {
            // Told to stop, and all is written.
            return;
        }
        let kept = *settings.borrow();
        let (dropped, taken) = (entries.dropped(), batch.len() as u64);
        let written = tokio::task::spawn_blocking(move || {
            let unwritten = writer.write(&batch, dropped, kept, UnixMs::now());
            (writer, unwritten)
        });
        match written.await {
            Ok((returned, unwritten)) => {
                writer = returned;
                entries.drop_unwritten(unwritten);
            }
            Err(error) => {
                tracing::error!(%error, "writing the access log panicked; it goes on with the next requests");
                entries.drop_unwritten(taken);
                writer = Writer {
                    files: Files::new(path.clone()),
                    told: dropped,
                    failing: true,
                };
            }
        }
    }
}

/// Writes entries, and remembers what it has told of those that were dropped.
struct Writer {
    files: Files,
    told: u64,
    failing: bool,
}

impl Writer {
    /// Says how many of the entries could not be written. `dropped` so far, by whomever, is told in front of them.
    fn write(&mut self, batch: &[Box<Entry>], dropped: u64, kept: Settings, now: UnixMs) -> u64 {
        let mut piece = Vec::with_capacity(PIECE + 4_096);
        let (mut waiting, mut unwritten) = (0, 0);
        let mut tells = dropped > self.told;
        if tells {
            line::dropped(&mut piece, now, dropped - self.told);
        }
        for (at, entry) in batch.iter().enumerate() {
            line::of(&mut piece, entry, now);
            waiting += 1;
            if piece.len() < PIECE && at + 1 < batch.len() {
                continue;
            }
            match self.files.write(&piece, kept) {
                Ok(()) => {
                    if std::mem::take(&mut tells) {
                        self.told = dropped;
                    }
                    self.well();
                }
                Err(error) => {
                    unwritten += waiting;
                    self.ill(&error);
                }
            }
            waiting = 0;
            piece.clear();
            if tells {
                line::dropped(&mut piece, now, dropped - self.told);
            }
        }
        unwritten
    }

    fn well(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("the access log can be written again");
        }
    }

    /// Said once, not for every request.
    fn ill(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                %error,
                path = %self.files.path().display(),
                "the access log cannot be written; requests go on, those meanwhile are counted as dropped. Free space on its disk or set `share = \"off\"` in [access_log]"
            );
        }
    }
}

#[cfg(test)]
mod tests;
