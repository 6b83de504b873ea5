//! What is sent to the edge before the app servers: the rows of the table, known ways to make two servers disagree, and
//! requests with wounds; as bytes of HTTP/1.1 and as frames of HTTP/2.
use crate::frames::{preface, written};
use crate::table::expanded;
use crate::table::rows::{self, EdgeHttp2};
use crate::table_http2::sent;

/// Mutations of requests that are tried on each server; `FREEHOLD_MUTATIONS` says another number.
const MUTATIONS: usize = 150;

pub struct Case {
    pub what: String,
    pub bytes: Vec<u8>,
    /// An app may have read these whole before the client broke its own stream, so that they are not answered.
    pub before: &'static [&'static str],
}

impl Case {
    fn of(what: &str, bytes: Vec<u8>) -> Case {
        Case {
            what: what.to_owned(),
            bytes,
            before: &[],
        }
    }
}

/// One request or answer after another, as bytes that somebody may send.
pub fn corpus() -> Vec<Case> {
    let rows = rows::table().edge;
    let mut all: Vec<_> = rows
        .iter()
        .map(|row| Case::of(&row.what, expanded(&row.send)))
        .collect();
    for (at, text) in SMUGGLED.iter().enumerate() {
        all.push(Case::of(&format!("smuggled {at}"), expanded(text)));
    }
    let mut random = Random(seed());
    for at in 0..mutations() {
        all.push(Case::of(&format!("mutation {at}"), mutated(&mut random)));
    }
    all
}

/// `FREEHOLD_SEED`, which tests/soak takes from the clock; the same in every other run. It is told where a run fails.
fn seed() -> u64 {
    let said = std::env::var("FREEHOLD_SEED").ok();
    let seed = said.map(|seed| seed.parse().expect("FREEHOLD_SEED is a number"));
    let seed = seed.unwrap_or(0x5eed_f00d);
    println!("FREEHOLD_SEED={seed} makes these mutations again");
    // All numbers behind nothing are nothing.
    seed.max(1)
}

fn mutations() -> usize {
    let said = std::env::var("FREEHOLD_MUTATIONS").ok();
    said.and_then(|count| count.parse().ok())
        .unwrap_or(MUTATIONS)
}

/// Known ways to make two servers disagree, beside those of the table.
pub const SMUGGLED: &[&str] = &[
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent_Length: 30\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding:\tchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding:\u{b}chunked\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: \"chunked\"\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nX: y\rTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n03\r\nabc\r\n00\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 40\r\nHost: other.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: +3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 0x3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 3, 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 3 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 003\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length:\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 60\r\n\r\nGET /inner HTTP/1.1\r\nHost: tasks.test\r\nX-Pad: aaaaaaaaaaaaaa\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 5\r\n\r\nabcde",
    "DELETE / HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: tasks.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "GET / HTTP/1.1\r\nHost: tasks.test\r\nExpect: 200-nothing\r\nContent-Length: 3\r\n\r\nabc",
    "GET / HTTP/1.1\r\nHost: tasks.test\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: tasks.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 777\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: tasks.test\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: tasks.test\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "GET http://tasks.test/absolute HTTP/1.1\r\nHost: tasks.test\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: tasks.test\r\nConnection: keep-alive\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "GET /{a*9000} HTTP/1.1\r\nHost: tasks.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: tasks.test\r\nX: {a*40000}\r\n\r\n",
    "GET /%00%0d%0aX:%20y HTTP/1.1\r\nHost: tasks.test\r\n\r\n",
    "\r\n\r\nGET /after-empty-lines HTTP/1.1\r\nHost: tasks.test\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// Numbers that are the same for each seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// What is put where framing is decided.
const WOUNDS: [&[u8]; 22] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b";",
    b",",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"0",
    b"5",
    b"f",
    b"chunked",
    b"\r\nContent-Length: 5",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\n ",
    b"\"",
    b"\x85",
];

/// Requests that are well, with one to three small wounds where framing is decided.
fn mutated(random: &mut Random) -> Vec<u8> {
    const WELL: [&str; 5] = [
        "POST /a HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 5\r\n\r\nhello",
        "POST /b HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /c HTTP/1.1\r\nHost: tasks.test\r\nX-Y: z\r\n\r\n",
        "PUT /d HTTP/1.1\r\nHost: tasks.test\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\na;x=y\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
        "POST /e HTTP/1.1\r\nHost: tasks.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    ];
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(2) {
        bytes.extend(WELL[random.below(WELL.len())].as_bytes());
    }
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len());
        match random.below(3) {
            0 => drop(bytes.splice(at..at, WOUNDS[random.below(WOUNDS.len())].iter().copied())),
            1 => drop(bytes.remove(at)),
            _ => bytes[at] = WOUNDS[random.below(WOUNDS.len())][0],
        }
    }
    bytes
}

/// Over HTTP/2: the rows of the table, and requests with wounds in their fields.
pub fn corpus_http2() -> Vec<Case> {
    let rows = rows::table().edge_http2;
    let mut all: Vec<_> = rows
        .iter()
        .map(|row| Case::of(&row.what, sent(row).0))
        .collect();
    all.extend(SEQUENCES.iter().map(|(what, frames, before)| Case {
        before,
        ..Case::of(what, sequence(frames))
    }));
    let mut random = Random(seed().rotate_left(32));
    for at in 0..mutations() {
        let mut fields = [
            ":method",
            "POST",
            ":scheme",
            "https",
            ":authority",
            "tasks.test",
            ":path",
            "/f",
            "content-length",
            "5",
            "x-y",
            "z",
        ]
        .map(|text| text.as_bytes().to_vec());
        for _ in 0..1 + random.below(2) {
            let wounded = random.below(fields.len());
            let at = random.below(fields[wounded].len() + 1);
            let wound = WOUNDS[random.below(WOUNDS.len())].iter().copied();
            fields[wounded].splice(at..at, wound);
        }
        let frames = [
            written("HEADERS 1 eh", &fields).0,
            written("DATA 1 es", &[b"hello".to_vec()]).0,
        ];
        let bytes = [preface(), frames.concat()].concat();
        all.push(Case::of(&format!("mutation {at}"), bytes));
    }
    all
}

/// Frames as the rows of the table have them.
fn sequence(frames: &[&[&str]]) -> Vec<u8> {
    let frames = frames
        .iter()
        .map(|frame| frame.iter().map(|text| (*text).to_owned()));
    let row = EdgeHttp2 {
        what: String::new(),
        frames: frames.map(Iterator::collect).collect(),
        answer: String::new(),
        says: String::new(),
        never: Vec::new(),
        goes_on: true,
        next: String::new(),
    };
    sent(&row).0
}

/// What it is, its frames, and what of it an app may read before the client breaks it.
type Sequence = (
    &'static str,
    &'static [&'static [&'static str]],
    &'static [&'static str],
);

const INNER: &str = "0\r\n\r\nGET /inner HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
/// RST_STREAM with CANCEL.
const CANCEL: &str = "\0\0\0\u{8}";

/// Where HTTP/2 has two ways to say where a request ends, or an app of HTTP/1.1 is told in another way than we were.
const SEQUENCES: &[Sequence] = &[
    (
        "a length, and DATA in two",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "5"],
            &["DATA 1", "he"],
            &["DATA 1 es", "llo"],
        ],
        &[],
    ),
    (
        "a length, and an end of its own",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "5"],
            &["DATA 1", "hello"],
            &["DATA 1 es", ""],
        ],
        &[],
    ),
    (
        "a length, and trailers",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "5"],
            &["DATA 1", "hello"],
            &["HEADERS 1 es eh", "x", "1"],
        ],
        &[],
    ),
    (
        "a length of 0, and an end of its own",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "0"],
            &["DATA 1 es", ""],
        ],
        &[],
    ),
    (
        "no length, and nothing but trailers",
        &[&["HEADERS 1 eh", "POST /a"], &["HEADERS 1 es eh", "x", "1"]],
        &[],
    ),
    (
        "trailers that say a length",
        &[
            &["HEADERS 1 eh", "POST /a"],
            &["DATA 1", "hello"],
            &[
                "HEADERS 1 es eh",
                "content-length",
                "500",
                "host",
                "evil.test",
            ],
        ],
        &[],
    ),
    (
        "trailers with a pseudo-header",
        &[
            &["HEADERS 1 eh", "POST /a"],
            &["DATA 1", "hello"],
            &["HEADERS 1 es eh", ":path", "/admin", "x", "1"],
        ],
        &[],
    ),
    (
        "the end of chunks and a request as a body",
        &[&["HEADERS 1 eh", "POST /a"], &["DATA 1 es", INNER]],
        &[],
    ),
    (
        "the same in pieces",
        &[
            &["HEADERS 1 eh", "POST /a"],
            &["DATA 1", "0\r\n"],
            &["DATA 1", "\r\nGET /inner HTTP/1.1\r\n"],
            &["DATA 1 es", "\r\n"],
        ],
        &[],
    ),
    (
        "the same with GET",
        &[&["HEADERS 1 eh", "GET /a"], &["DATA 1 es", INNER]],
        &[],
    ),
    (
        "the same with DELETE",
        &[
            &[
                "HEADERS 1 eh",
                ":method",
                "DELETE",
                ":scheme",
                "https",
                ":authority",
                "tasks.test",
                ":path",
                "/a",
            ],
            &["DATA 1 es", INNER],
        ],
        &[],
    ),
    (
        "the same with a method that nobody knows",
        &[
            &[
                "HEADERS 1 eh",
                ":method",
                "BREW",
                ":scheme",
                "https",
                ":authority",
                "tasks.test",
                ":path",
                "/a",
            ],
            &["DATA 1 es", INNER],
        ],
        &[],
    ),
    (
        "a body that waits for leave",
        &[
            &["HEADERS 1 eh", "POST /a", "expect", "100-continue"],
            &["DATA 1 es", "hello"],
        ],
        &[],
    ),
    (
        "two bodies that take turns",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "10"],
            &["HEADERS 3 eh", "POST /b"],
            &["DATA 1", "hello"],
            &["DATA 3", "0\r\n\r\n"],
            &["DATA 1 es", "world"],
            &["DATA 3 es", "GET /inner"],
        ],
        &[],
    ),
    (
        "a body that is broken off, and another request behind",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "50"],
            &["DATA 1", "hello"],
            &["3 1", CANCEL],
            &["HEADERS 3 eh", "POST /b"],
            &["DATA 3 es", "hello"],
        ],
        &[],
    ),
    (
        "chunks that are broken off, and another request behind",
        &[
            &["HEADERS 1 eh", "POST /a"],
            &["DATA 1", "hello"],
            &["3 1", CANCEL],
            &["HEADERS 3 eh", "POST /b", "content-length", "5"],
            &["DATA 3 es", "hello"],
        ],
        &[],
    ),
    (
        "less than its length",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "50"],
            &["DATA 1 es", "hello"],
        ],
        &[],
    ),
    (
        "more than its length, in one",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "5"],
            &["DATA 1 es", "hello\r\nGET /inner HTTP/1.1"],
        ],
        &[],
    ),
    (
        "more than its length, in a frame of its own",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "5"],
            &["DATA 1", "hello"],
            &["DATA 1 es", "GET /inner HTTP/1.1\r\n\r\n"],
        ],
        &["POST /a 68656c6c6f"],
    ),
    (
        "more than a length of 0",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "0"],
            &["DATA 1 es", "GET /inner HTTP/1.1\r\n\r\n"],
        ],
        &["POST /a "],
    ),
    (
        "a request that is whole, and more of it",
        &[
            &["HEADERS 1 eh", "POST /a", "content-length", "5"],
            &["DATA 1 es", "hello"],
            &["DATA 1 es", "GET /inner HTTP/1.1\r\n\r\n"],
        ],
        &["POST /a 68656c6c6f"],
    ),
];
