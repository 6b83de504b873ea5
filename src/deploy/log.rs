//! A deploy's log: a file that grows line by line and that many may follow
//! while it does.
//!
//! Each line is `<unix ms>\t<text>\n`, appended in one write. A reader at the
//! end of an open log waits for the next line; at the end of a closed one it is
//! done. A log is open from the deploy's creation until its job is settled.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader};
use tokio::sync::watch;

use crate::base::clock::UnixMs;

use super::mask::Mask;

/// No log grows beyond this; the rest is counted, not kept.
const LARGEST: u64 = 16 << 20;
/// A longer line is cut.
const LONGEST_LINE: usize = 8_000;

/// One line, with where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub at: UnixMs,
    /// The text, without secrets.
    pub text: String,
    /// Byte offset after it; give it to [`Logs::follow`] to go on from here.
    pub next: u64,
}

/// All logs, in one folder.
#[derive(Clone)]
pub struct Logs {
    folder: PathBuf,
    open: Arc<Mutex<HashMap<i64, watch::Sender<u64>>>>,
}

impl Logs {
    /// The logs in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            open: Arc::default(),
        }
    }

    /// The file of one log.
    pub fn path(&self, deploy: i64) -> PathBuf {
        self.folder.join(format!("{deploy}.log"))
    }

    /// Says that lines are to be expected.
    pub fn open(&self, deploy: i64) {
        self.lock()
            .entry(deploy)
            .or_insert_with(|| watch::Sender::new(0));
    }

    /// Says that no more lines come; followers end when they have read all.
    pub fn close(&self, deploy: i64) {
        self.lock().remove(&deploy);
    }

    /// The end that writes, hiding what `mask` names.
    pub fn writer(&self, deploy: i64, mask: Mask) -> Log {
        Log {
            logs: self.clone(),
            deploy,
            mask: Arc::new(mask),
        }
    }

    /// The lines from byte `from` on, and those that are still to come.
    pub fn follow(&self, deploy: i64, from: u64) -> impl Stream<Item = Line> + Send + use<> {
        let changes = self.lock().get(&deploy).map(watch::Sender::subscribe);
        let reader = Reader {
            path: self.path(deploy),
            file: None,
            at: from,
            partial: Vec::new(),
            changes,
        };
        futures_util::stream::unfold(reader, |mut reader| async move {
            let line = reader.next().await?;
            Some((line, reader))
        })
    }

    /// Deletes one log.
    pub fn remove(&self, deploy: i64) {
        self.close(deploy);
        if let Err(error) = std::fs::remove_file(self.path(deploy))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(deploy, %error, "a deploy's log could not be removed");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, watch::Sender<u64>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    at: u64,
    partial: Vec<u8>,
    changes: Option<watch::Receiver<u64>>,
}

impl Reader {
    async fn next(&mut self) -> Option<Line> {
        loop {
            // Seen before the read, so that a line written in between wakes us.
            let open = match &mut self.changes {
                Some(changes) => {
                    changes.borrow_and_update();
                    changes.has_changed().is_ok()
                }
                None => false,
            };
            if let Some(line) = self.read().await {
                return Some(line);
            }
            if !open {
                return None;
            }
            let changes = self.changes.as_mut()?;
            // An error is the log's closing: what was written before it is read once more.
            let _closed = changes.changed().await.is_err();
        }
    }

    async fn read(&mut self) -> Option<Line> {
        if self.file.is_none() {
            let mut file = File::open(&self.path).await.ok()?;
            file.seek(std::io::SeekFrom::Start(self.at)).await.ok()?;
            self.file = Some(BufReader::new(file));
        }
        let file = self.file.as_mut()?;
        let read = file.read_until(b'\n', &mut self.partial).await.ok()?;
        self.at += read as u64;
        if self.partial.last() != Some(&b'\n') {
            return None;
        }
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        let (at, text) = text.trim_end_matches('\n').split_once('\t')?;
        Some(Line {
            at: UnixMs(at.parse().unwrap_or(0)),
            text: text.to_owned(),
            next: self.at,
        })
    }
}

/// The writing end of one log.
#[derive(Clone)]
pub struct Log {
    logs: Logs,
    deploy: i64,
    mask: Arc<Mask>,
}

impl Log {
    /// Appends what `text` says, line by line.
    pub fn line(&self, text: &str) {
        let now = UnixMs::now().0;
        let mut bytes = String::new();
        for part in text.split('\n') {
            let shown = self.mask.apply(part.trim_end_matches('\r'));
            let mut cut: String = shown.chars().take(LONGEST_LINE).collect();
            if cut.len() < shown.len() {
                cut.push_str(" …");
            }
            bytes.push_str(&format!("{now}\t{cut}\n"));
        }
        if let Err(error) = append(&self.logs.path(self.deploy), bytes.as_bytes()) {
            tracing::warn!(deploy = self.deploy, %error, "a line of a deploy's log was lost");
        }
        if let Some(changes) = self.logs.lock().get(&self.deploy) {
            changes.send_modify(|n| *n += 1);
        }
    }

    /// Whether the log has a line of this text.
    pub fn holds(&self, text: &str) -> bool {
        let wanted = format!("\t{}", self.mask.apply(text));
        let Ok(file) = std::fs::File::open(self.logs.path(self.deploy)) else {
            return false;
        };
        let lines = std::io::BufRead::lines(std::io::BufReader::new(file));
        lines.map_while(Result::ok).any(|l| l.ends_with(&wanted))
    }

    /// Appends a step's headline.
    pub fn step(&self, title: &str) {
        self.line(&format!("==> {title}"));
    }

    /// `text` as it would stand in the log.
    pub fn masked(&self, text: &str) -> String {
        self.mask.apply(text)
    }
}

fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let size = file.metadata()?.len();
    if size > LARGEST {
        return Ok(());
    }
    if size + bytes.len() as u64 > LARGEST {
        let now = UnixMs::now().0;
        file.write_all(
            format!("{now}\tThe log is full; further lines are not kept.\n").as_bytes(),
        )?;
        // Sparse: marks the file as full without taking space.
        return file.set_len(LARGEST + 1);
    }
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use std::time::Duration;

    fn logs() -> (tempfile::TempDir, Logs) {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path().to_owned());
        (folder, logs)
    }

    #[tokio::test]
    async fn f4_a_line_is_seen_before_the_next_one_is_written() {
        let (_folder, logs) = logs();
        logs.open(7);
        let mut first = Box::pin(logs.follow(7, 0));
        let mut second = Box::pin(logs.follow(7, 0));
        let log = logs.writer(7, Mask::default());
        log.step("Building");
        log.line("one\ntwo");
        for follower in [&mut first, &mut second] {
            for wanted in ["==> Building", "one", "two"] {
                let line = tokio::time::timeout(Duration::from_secs(20), follower.next());
                assert_eq!(line.await.unwrap().unwrap().text, wanted);
            }
        }
        let waiting = tokio::time::timeout(Duration::from_millis(50), first.next());
        assert!(waiting.await.is_err(), "an open log is not at its end");
        log.line("last");
        logs.close(7);
        let last = first.next().await.unwrap();
        assert_eq!(last.text, "last");
        assert!(first.next().await.is_none());
        let all: Vec<_> = logs.follow(7, 0).collect().await;
        assert_eq!(all.len(), 4);
        let again: Vec<_> = logs.follow(7, all[2].next).collect().await;
        assert_eq!(again, [last], "a follower goes on where it was");
    }

    #[tokio::test]
    async fn f4_a_log_that_is_not_there_ends_at_once_unless_it_is_open() {
        let (_folder, logs) = logs();
        assert_eq!(logs.follow(1, 0).count().await, 0);
        logs.open(1);
        let mut early = Box::pin(logs.follow(1, 0));
        let waiting = tokio::time::timeout(Duration::from_millis(50), early.next());
        assert!(waiting.await.is_err());
        logs.writer(1, Mask::default()).line("x");
        assert_eq!(early.next().await.unwrap().text, "x");
        logs.close(1);
        assert!(early.next().await.is_none());
    }

    #[tokio::test]
    async fn f9_a_log_has_a_largest_size() {
        let (_folder, logs) = logs();
        let log = logs.writer(1, Mask::default());
        let chunk = format!("{}\n", "x".repeat(7_000)).repeat(200);
        for _ in 0..20 {
            log.line(&chunk);
        }
        let size = std::fs::metadata(logs.path(1)).unwrap().len();
        assert!(size < LARGEST + (4 << 20), "{size}");
    }
}
