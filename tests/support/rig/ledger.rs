//! The ledger: a record of each request, whatever became of it, and of each stream that was kept open. Pure but for the
//! clock of whoever writes into it; what a whole run amounts to is `report.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A GET over HTTP/1.1 on a connection that had others.
    KeepAlive,
    /// A GET over HTTP/1.1 on a connection of its own.
    Fresh,
    /// A GET over HTTP/2 among others.
    Http2,
    /// A GET over HTTP/1.1 that the app lets wait.
    Slow,
    /// The same over HTTP/2.
    SlowHttp2,
    /// A POST over HTTP/1.1 in chunks, slowly: not to be sent again by anybody.
    Upload,
    /// An answer of a known length that comes slowly.
    Download,
    /// A few server-sent events with an end.
    Events,
    /// A WebSocket with a few messages and an end.
    WebSocket,
}

impl Kind {
    /// Its path; the number is the request's name, and in the edge's access log.
    pub fn path(self, number: u64) -> String {
        match self {
            Kind::KeepAlive | Kind::Fresh | Kind::Http2 => format!("/ok/{number}?size=1000"),
            Kind::Slow | Kind::SlowHttp2 => format!("/slow/{number}?size=2000&ms=300"),
            Kind::Upload => format!("/upload/{number}"),
            Kind::Download => format!("/download/{number}?bytes=65536&ms=400"),
            Kind::Events => format!("/events/{number}?every=50&count=5"),
            Kind::WebSocket => format!("/ws/{number}"),
        }
    }

    /// Whether whoever stands between may send it again.
    pub fn is_safe(self) -> bool {
        !matches!(self, Kind::Upload | Kind::WebSocket)
    }
}

/// What became of a request. All but the first are failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Good,
    /// It could not be sent: no connection, or one that was gone or going.
    Refused(String),
    /// The connection was torn down, or the stream reset.
    Reset(String),
    /// The connection ended where an answer was due.
    Eof,
    /// The body ended before its end; so many bytes came.
    Short(u64),
    /// Whole, but not what was asked for.
    Wrong(String),
    Status(u16),
    /// Not even after the limit.
    Never,
    /// Anything else, in the client's words.
    Broken(String),
}

impl Outcome {
    /// In one word, for counting.
    pub fn word(&self) -> String {
        let word = match self {
            Outcome::Good => "good",
            Outcome::Refused(_) => "refused",
            Outcome::Reset(_) => "reset",
            Outcome::Eof => "eof",
            Outcome::Short(_) => "short",
            Outcome::Wrong(_) => "wrong",
            Outcome::Status(code) => return format!("status {code}"),
            Outcome::Never => "never",
            Outcome::Broken(_) => "broken",
        };
        word.to_owned()
    }

    /// Whether an answer was there, but another than the app's.
    pub fn is_wrong(&self) -> bool {
        matches!(self, Outcome::Wrong(_) | Outcome::Short(_))
    }
}

/// One request. Times are from the start of the run.
#[derive(Clone, Debug)]
pub struct Record {
    pub number: u64,
    pub kind: Kind,
    pub due: Duration,
    /// When the generator came to it: what lies between is the generator's, and no wait for a connection is in it.
    pub left: Duration,
    /// When it was handed to its connection.
    pub sent: Option<Duration>,
    /// When the answer's head was there.
    pub head: Option<Duration>,
    pub end: Duration,
    pub status: Option<u16>,
    /// Of the answer's body.
    pub bytes: u64,
    /// The edge's name for it, from its answer.
    pub id: Option<String>,
    /// Which replica answered.
    pub instance: Option<String>,
    pub outcome: Outcome,
}

impl Record {
    /// To the answer's head, from when it was due, whatever kept it: a generator that stalls hides nothing.
    pub fn waited(&self) -> Duration {
        self.head.unwrap_or(self.end).saturating_sub(self.due)
    }

    /// How late the generator came to it.
    pub fn late(&self) -> Duration {
        self.left.saturating_sub(self.due)
    }

    pub fn is_good(&self) -> bool {
        self.outcome == Outcome::Good
    }
}

/// How a stream that was kept open is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// By us, at the end of the run.
    Ours,
    /// As its protocol has it: a close frame, the last chunk, END_STREAM.
    Clean(String),
    /// In any other way.
    Broken(String),
}

/// A stream that was kept open. Times are from the start of the run.
#[derive(Clone, Debug)]
pub struct Stream {
    pub number: u64,
    pub kind: StreamKind,
    pub opened: Duration,
    /// When its answer's head was there: whoever has it then had it from its beginning.
    pub head: Option<Duration>,
    pub ended: Duration,
    pub instance: Option<String>,
    pub end: StreamEnd,
}

/// Which protocol keeps it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    WebSocket,
    Events,
    EventsHttp2,
}

impl StreamKind {
    pub fn path(self, number: u64) -> String {
        match self {
            StreamKind::WebSocket => format!("/ws/{number}"),
            StreamKind::Events | StreamKind::EventsHttp2 => format!("/events/{number}?every=100"),
        }
    }

    /// How it ends when it is told to: nobody else ends one cleanly.
    pub fn told(self) -> &'static str {
        match self {
            StreamKind::WebSocket => "close 1012",
            StreamKind::Events | StreamKind::EventsHttp2 => "end of the body",
        }
    }
}

/// All that was noted, in the order in which it ended.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub records: Vec<Record>,
    pub streams: Vec<Stream>,
    /// What was done meanwhile, and when.
    pub marks: Vec<(Duration, String)>,
    /// Connections found closed before anything was sent on them: the right of whoever holds the other end.
    pub closed_while_idle: u64,
    /// Requests that were never written to theirs, and went over a new one.
    pub moved: u64,
    /// GOAWAY frames that came, by their code.
    pub goaways: BTreeMap<String, u64>,
}

impl Ledger {
    /// Whether every stream of this kind was told to end, as its protocol has it, within `limit` after a turn; `turns` are when
    /// each began and was over, in their order. A stream that was there when a turn began is of whoever leaves in it, or of one
    /// that left before.
    ///
    /// # Errors
    /// Which one was not. Otherwise how many were, and what the last one of a turn took at most.
    pub fn told_within(
        &self,
        kind: StreamKind,
        turns: &[(Duration, Duration)],
        limit: Duration,
    ) -> Result<(usize, Duration), String> {
        let (mut told, mut longest) = (0, Duration::ZERO);
        for stream in self.streams.iter().filter(|s| s.kind == kind) {
            let Some(head) = stream.head else { continue };
            let turn = turns.iter().position(|(began, _)| *began > head);
            let Some(turn) = turn else { continue };
            let after = stream.ended.saturating_sub(turns[turn].1);
            if stream.end != StreamEnd::Clean(kind.told().to_owned()) || after > limit {
                return Err(format!(
                    "{kind:?} {} was there when turn {turn} began, and {:?} came {} ms after it, with {} ms for it",
                    kind.path(stream.number),
                    stream.end,
                    after.as_millis(),
                    limit.as_millis()
                ));
            }
            (told, longest) = (told + 1, longest.max(after));
        }
        Ok((told, longest))
    }
}

#[test]
fn n4_a_stream_that_is_not_told_or_too_late_is_named() {
    let secs = Duration::from_secs;
    let stream = |head: u64, ended: u64, end: StreamEnd| Stream {
        number: head,
        kind: StreamKind::WebSocket,
        opened: secs(head),
        head: Some(secs(head)),
        ended: secs(ended),
        instance: None,
        end,
    };
    let told = || StreamEnd::Clean("close 1012".to_owned());
    let of = |streams: Vec<Stream>| {
        let ledger = Ledger {
            streams,
            ..Ledger::default()
        };
        let turns = [(secs(10), secs(12)), (secs(20), secs(21))];
        ledger.told_within(StreamKind::WebSocket, &turns, secs(5))
    };
    // The first is of the one that leaves first, the second of either, the third of the last, which nobody ends but we.
    let all = vec![
        stream(1, 16, told()),
        stream(11, 24, told()),
        stream(20, 40, StreamEnd::Ours),
    ];
    assert_eq!(of(all), Ok((2, secs(4))));
    let named = |streams| of(streams).unwrap_err();
    let late = named(vec![stream(1, 18, told())]);
    assert!(late.contains("/ws/1 was there when turn 0"), "{late}");
    assert!(late.contains("6000 ms after it, with 5000 ms"), "{late}");
    let not = named(vec![stream(13, 40, StreamEnd::Ours)]);
    assert!(not.contains("turn 1 began, and Ours"), "{not}");
    let other = StreamEnd::Clean("close 1001".to_owned());
    named(vec![stream(1, 13, other)]);
    named(vec![stream(1, 13, StreamEnd::Broken("reset".to_owned()))]);
}
