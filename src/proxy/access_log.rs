//! Access log: what is told of a request when it is over, handed to whoever writes it down.
//!
//! Decided by the route's share when the route is found: what is not taken costs a comparison. What is taken is copied
//! into one piece of memory, so that no entry keeps a buffer of its connection, and handed over by a ring without a lock:
//! where the writer is behind, entries are counted and lost, and no request waits. The ring is bounded in entries and in
//! bytes. Writing is left to `access_log` of the crate.
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use http::Version;
use http::header::{self, HeaderValue};
use http::request::Parts;
use tokio::sync::mpsc;

use super::meter::Outcome;
use super::routes::Route;
use crate::base::log_share::LogShare;

/// Entries that wait for the writer at most.
const MOST: usize = 8_192;
/// Bytes that they may hold, beside 200 each.
const MOST_BYTES: usize = 4 << 20;
const PATH: usize = 2_048;
const AGENT: usize = 256;
const HOST: usize = 255;
const METHOD: usize = 32;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// The answer was handed whole to the client's connection, or both sides of a tunnel ended it.
    Whole,
    /// The client went away before that.
    #[default]
    ClientGone,
    /// The client's body came too slowly.
    ClientSlow,
    /// The file that was served changed, or could not be read any more.
    FileChanged,
    /// The upstream closed the connection inside its answer.
    UpstreamCut,
    /// What the upstream sent inside its answer cannot be passed on.
    UpstreamMalformed,
    /// One side of a tunnel broke it off.
    TunnelBroken,
    /// The edge ended a tunnel or a stream, in its own way, because its target or itself went away.
    Restart,
    /// It broke an answer off because of that.
    CutAtLimit,
    /// A panic while the answer was passed on.
    Panicked,
}

impl Ending {
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Whole => "whole",
            Ending::ClientGone => "client gone",
            Ending::ClientSlow => "client slow",
            Ending::FileChanged => "file changed",
            Ending::UpstreamCut => "upstream cut",
            Ending::UpstreamMalformed => "upstream malformed",
            Ending::TunnelBroken => "tunnel broken off",
            Ending::Restart => "restart",
            Ending::CutAtLimit => "cut at the drain's limit",
            Ending::Panicked => "panicked",
        }
    }
}

/// One request that is over.
pub struct Entry {
    pub started: Instant,
    /// From the request's head to the end of its answer, in microseconds.
    pub micros: u64,
    /// From the request's head to the answer's.
    pub head_micros: u64,
    /// Without one the client left before an answer.
    pub status: Option<u16>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub protocol: &'static str,
    pub ending: Ending,
    /// Why the edge itself answered, where it did.
    pub refused: Option<&'static str>,
    /// Targets that failed it before the one that answered.
    pub retries: u32,
    /// How long it waited because its route was paused or had no target, in microseconds.
    pub held_micros: u64,
    /// The key of the target that answered.
    pub target: Option<Arc<str>>,
    route: Option<Arc<Route>>,
    /// All the texts, one behind another, and where each ends.
    text: String,
    ends: [u16; 6],
}

impl Entry {
    /// Of a request that goes on; how it ends is told by [`Entry::over`].
    pub(super) fn of(
        parts: &Parts,
        id: &HeaderValue,
        client: &str,
        host: &str,
        started: Instant,
        query: bool,
    ) -> Box<Entry> {
        let path = match parts.uri.path_and_query() {
            Some(both) if query => both.as_str(),
            Some(both) => both.path(),
            None => "/",
        };
        let agent = parts.headers.get(header::USER_AGENT);
        let agent = agent.map_or(&b""[..], HeaderValue::as_bytes);
        let room = 64 + client.len() + host.len() + path.len().min(PATH) + agent.len().min(AGENT);
        let mut text = String::with_capacity(room);
        let mut ends = [0; 6];
        let mut end = 0;
        let mut put = |text: &mut String, piece: &str| {
            text.push_str(piece);
            ends[end] = text.len() as u16;
            end += 1;
        };
        put(&mut text, id.to_str().unwrap_or_default());
        put(&mut text, client);
        put(&mut text, cut(parts.method.as_str(), METHOD));
        put(&mut text, cut(host, HOST));
        put(&mut text, cut(path, PATH));
        match std::str::from_utf8(agent) {
            Ok(agent) => put(&mut text, cut(agent, AGENT)),
            Err(_) => put(&mut text, &escaped(agent)),
        }
        Box::new(Entry {
            started,
            micros: 0,
            head_micros: 0,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
            protocol: protocol(parts.version),
            ending: Ending::default(),
            refused: None,
            retries: 0,
            held_micros: 0,
            target: None,
            route: None,
            text,
            ends,
        })
    }

    /// The request is over.
    pub(super) fn over(&mut self, outcome: &Outcome, route: Option<Arc<Route>>) {
        self.micros = self.started.elapsed().as_micros() as u64;
        self.head_micros = outcome.head_micros;
        self.status = outcome.status;
        self.bytes_in = outcome.bytes_in;
        self.bytes_out = outcome.bytes_out;
        self.route = route;
    }

    pub fn id(&self) -> &str {
        self.piece(0)
    }

    /// The client's address.
    pub fn client(&self) -> &str {
        self.piece(1)
    }

    pub fn method(&self) -> &str {
        self.piece(2)
    }

    /// As the client wrote it, at most 255 bytes.
    pub fn host(&self) -> &str {
        self.piece(3)
    }

    /// At most 2 KB; with the query only if that is asked for.
    pub fn path(&self) -> &str {
        self.piece(4)
    }

    /// At most 256 bytes.
    pub fn user_agent(&self) -> &str {
        self.piece(5)
    }

    /// None where no route was found.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_deref()
    }

    fn piece(&self, index: usize) -> &str {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text
            .get(usize::from(begin)..usize::from(self.ends[index]))
            .unwrap_or_default()
    }
}

/// The beginning of a text, of at most this many bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Bytes that are no text, so that they can be read and do no harm to a terminal.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(AGENT / 4) {
        if byte.is_ascii_graphic() || *byte == b' ' {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            write!(text, "\\x{byte:02x}").unwrap_or_default();
        }
    }
    text
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP",
    }
}

/// The workers' end of the ring, and what holds for every request.
pub(super) struct AccessLog {
    ring: mpsc::Sender<Box<Entry>>,
    counts: Arc<Counts>,
    /// The share of requests that no route is found for, in millionths.
    unrouted: AtomicU32,
    query: AtomicBool,
}

#[derive(Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
}

/// The writer's end: entries in the order in which the requests ended.
pub struct Entries {
    ring: mpsc::Receiver<Box<Entry>>,
    counts: Arc<Counts>,
}

impl AccessLog {
    pub(super) fn new() -> (AccessLog, Entries) {
        let (sender, ring) = mpsc::channel(MOST);
        let counts = Arc::new(Counts::default());
        let log = AccessLog {
            ring: sender,
            counts: counts.clone(),
            unrouted: AtomicU32::new(0),
            query: AtomicBool::new(false),
        };
        (log, Entries { ring, counts })
    }

    pub(super) fn set(&self, unrouted: LogShare, query: bool) {
        self.unrouted.store(unrouted.millionths(), Relaxed);
        self.query.store(query, Relaxed);
    }

    pub(super) fn unrouted(&self) -> LogShare {
        LogShare::of_millionths(self.unrouted.load(Relaxed))
    }

    pub(super) fn query(&self) -> bool {
        self.query.load(Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }

    pub(super) fn hand_over(&self, entry: Box<Entry>) {
        let bytes = entry.text.len();
        let waiting = self.counts.waiting_bytes.fetch_add(bytes, Relaxed);
        if waiting > MOST_BYTES || self.ring.try_send(entry).is_err() {
            self.counts.waiting_bytes.fetch_sub(bytes, Relaxed);
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl Entries {
    /// The next entry; `None` when the edge is gone.
    pub async fn next(&mut self) -> Option<Box<Entry>> {
        let entry = self.ring.recv().await?;
        Some(self.taken(entry))
    }

    /// The next entry, if one waits.
    pub fn try_next(&mut self) -> Option<Box<Entry>> {
        let entry = self.ring.try_recv().ok()?;
        Some(self.taken(entry))
    }

    /// Entries that were never written: the ring was full, or the writer said so.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }

    /// So many could not be written.
    pub fn drop_unwritten(&self, entries: u64) {
        self.counts.dropped.fetch_add(entries, Relaxed);
    }

    fn taken(&self, entry: Box<Entry>) -> Box<Entry> {
        self.counts
            .waiting_bytes
            .fetch_sub(entry.text.len(), Relaxed);
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, agent: &[u8], query: bool) -> Box<Entry> {
        let request = http::Request::get(path)
            .header("user-agent", HeaderValue::from_bytes(agent).unwrap())
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let id = HeaderValue::from_static("id1");
        Entry::of(&parts, &id, "192.0.2.1", "a.test", Instant::now(), query)
    }

    #[test]
    fn e7_an_entry_has_its_texts_cut_to_their_limits_and_no_query_unasked() {
        let one = entry("/a/b?token=secret", b"curl/8", false);
        let texts = |e: &Entry| {
            [
                e.id(),
                e.client(),
                e.method(),
                e.host(),
                e.path(),
                e.user_agent(),
            ]
            .map(str::to_owned)
        };
        assert_eq!(
            texts(&one),
            ["id1", "192.0.2.1", "GET", "a.test", "/a/b", "curl/8"]
        );
        assert_eq!(entry("/a?b=c", b"", true).path(), "/a?b=c");
        let long = entry(&format!("/{}", "a".repeat(9_000)), &[b'x'; 9_000], true);
        assert_eq!((long.path().len(), long.user_agent().len()), (PATH, AGENT));
        let umlauts = entry("/", "ü".repeat(300).as_bytes(), true);
        assert_eq!(umlauts.user_agent(), "ü".repeat(128));
        assert_eq!(entry("/", b"a\xff\tb", true).user_agent(), "a\\xff\\x09b");
    }

    #[test]
    fn e7_a_full_ring_loses_entries_and_counts_them() {
        let (log, mut entries) = AccessLog::new();
        for _ in 0..MOST + 3 {
            log.hand_over(entry("/", b"", false));
        }
        assert_eq!((log.dropped(), entries.dropped()), (3, 3));
        let taken = std::iter::from_fn(|| entries.try_next()).count();
        assert_eq!(taken, MOST);
        // Long ones fill it before they are so many.
        let path = format!("/{}", "a".repeat(2_000));
        for _ in 0..MOST {
            log.hand_over(entry(&path, b"", false));
        }
        let taken = std::iter::from_fn(|| entries.try_next()).count();
        assert!((2_000..2_200).contains(&taken), "{taken}");
        assert_eq!(entries.dropped(), (3 + MOST - taken) as u64);
        log.hand_over(entry("/", b"", false));
        assert!(entries.try_next().is_some(), "there is room again");
        assert_eq!(log.counts.waiting_bytes.load(Relaxed), 0);
    }
}
