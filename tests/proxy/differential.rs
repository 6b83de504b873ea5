//! The edge before three real app servers, each with a parser of its own: whatever comes, all agree where requests end.
//!
//! Every case is followed on its connection by a request that is well, and by one of somebody else on a new connection.
//! What an app read whole must be what was answered, somebody else's request may stand in no body, and the apps must have
//! read alike.
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use freehold::proxy::{Limits, RouteSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::tls;
use crate::frames::{Heard, preface, written};
use crate::rig::{Rig, World, route, target};
use crate::table::{expanded, rows};
use crate::table_http2::sent;

/// Follows a case on its connection.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
/// Asked by somebody else afterwards, over the same connections to the app.
const OTHER: &str = "GET /other HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
/// A side that says nothing for so long says nothing more.
const SILENCE: Duration = Duration::from_millis(300);
/// The same for a case that seemed wrong, asked once more: a slow machine is no disagreement.
const PATIENCE: Duration = Duration::from_secs(5);
/// Mutations of requests that are tried on each server; `FREEHOLD_MUTATIONS` says another number.
const MUTATIONS: usize = 150;

/// What a case is, and its bytes.
type Case = (String, Vec<u8>);

/// An app server of its own process.
struct Server {
    name: &'static str,
    process: Child,
    address: SocketAddr,
    seen: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Server {
    fn start(name: &'static str, folder: &Path) -> Server {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proxy/servers");
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let seen = folder.join(name);
        File::create(&seen).unwrap();
        let mut command = match name {
            "node" => {
                let mut command = Command::new("node");
                command
                    .arg(own.join("node.js"))
                    .arg(port.to_string())
                    .arg(&seen);
                command
            }
            "gunicorn" => {
                let mut command = Command::new("/usr/bin/gunicorn");
                command.args(["--worker-class=gthread", "--threads=4", "--keep-alive=60"]);
                command
                    .arg("--log-level=critical")
                    .args(["--bind", &listen]);
                command.arg("--pythonpath").arg(&own).arg("wsgi:app");
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            _ => {
                let mut command = Command::new("/usr/bin/puma");
                command.args(["--quiet", "--environment=production", "--threads=4:4"]);
                command.args(["--bind", &format!("tcp://{listen}")]);
                command.arg(own.join("puma.ru"));
                command
            }
        };
        let process = command
            .env("SEEN", &seen)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; tests/rig/apt installs it"));
        Server {
            name,
            process,
            address: listen.parse().unwrap(),
            seen,
        }
    }

    async fn ready(&self) {
        for _ in 0..300 {
            if TcpStream::connect(self.address).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} does not listen", self.name);
    }

    /// What it read whole since the last look.
    fn read(&self) -> Vec<String> {
        let text = fs::read(&self.seen).unwrap();
        File::create(&self.seen).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().map(str::to_owned).collect()
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// One request or answer after another, as bytes that somebody may send.
fn corpus() -> Vec<Case> {
    let rows = rows::table().edge;
    let mut all: Vec<_> = rows
        .iter()
        .map(|row| (row.what.clone(), expanded(&row.send)))
        .collect();
    for (at, text) in SMUGGLED.iter().enumerate() {
        all.push((format!("smuggled {at}"), expanded(text)));
    }
    let mut random = Random(0x5eed_f00d);
    for at in 0..mutations() {
        all.push((format!("mutation {at}"), mutated(&mut random)));
    }
    all
}

fn mutations() -> usize {
    let said = std::env::var("FREEHOLD_MUTATIONS").ok();
    said.and_then(|count| count.parse().ok())
        .unwrap_or(MUTATIONS)
}

/// Known ways to make two servers disagree, beside those of the table.
const SMUGGLED: &[&str] = &[
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

/// Numbers that are the same in each run (xorshift).
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

/// Sends, and returns all that comes back until the other side ends it or says nothing more.
async fn exchange<S>(mut stream: S, bytes: &[u8], silence: Duration) -> Vec<u8>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut answer = Vec::new();
    // What was refused may not be taken to its end.
    drop(stream.write_all(bytes).await);
    drop(stream.flush().await);
    let mut piece = vec![0; 16 * 1024];
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(silence, stream.read(&mut piece)).await {
        answer.extend_from_slice(&piece[..count]);
    }
    answer
}

/// How many answers of an app are in there; ours and interim ones are none.
fn served(answer: &[u8]) -> usize {
    let text = String::from_utf8_lossy(answer);
    text.matches("HTTP/1.1 200 OK").count() + text.matches("HTTP/1.0 200 OK").count()
}

/// What is wrong with what an app read, if anything is.
fn wrong(case: &[u8], read: &[String], answered: usize) -> Option<String> {
    if read.len() != answered {
        return Some(format!("{answered} answers to {read:?}"));
    }
    for line in read {
        let (head, body) = line.rsplit_once(' ').unwrap_or_default();
        let body = hex::decode(body).unwrap_or_default();
        let first = OTHER.lines().next().unwrap_or_default().as_bytes();
        if body.windows(first.len()).any(|part| part == first) {
            return Some(format!("somebody else's request is in the body of {head}"));
        }
        let target = head.rsplit(' ').next().unwrap_or_default();
        let sent = [case, NEXT.as_bytes(), OTHER.as_bytes()].concat();
        let target = target.strip_prefix("http://tasks.test").unwrap_or(target);
        if !sent
            .windows(target.len())
            .any(|part| part == target.as_bytes())
        {
            return Some(format!("nobody asked for {head}"));
        }
    }
    None
}

/// Over HTTP/2: the rows of the table, and requests with wounds in their fields.
fn corpus_http2() -> Vec<Case> {
    let rows = rows::table().edge_http2;
    let mut all: Vec<_> = rows
        .iter()
        .map(|row| (row.what.clone(), sent(row).0))
        .collect();
    let mut random = Random(0xfee1_600d);
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
        all.push((
            format!("mutation {at}"),
            [preface(), frames.concat()].concat(),
        ));
    }
    all
}

/// Sends frames and hears what comes until the other side ends it or says nothing more.
async fn heard<S>(stream: S, bytes: &[u8], silence: Duration) -> Heard
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let (mut from, mut to) = tokio::io::split(stream);
    let mut heard = Heard::default();
    // What ends the connection may not be taken to its end.
    drop(to.write_all(bytes).await);
    drop(to.flush().await);
    while !heard.closed
        && tokio::time::timeout(silence, heard.read(&mut from))
            .await
            .is_ok()
    {}
    heard
}

/// Somebody else asks after a case; then what the app read of both, or what is wrong with it.
async fn after(
    rig: &Rig,
    server: &Server,
    case: &[u8],
    answered: usize,
) -> Result<Vec<String>, String> {
    let other = TcpStream::connect(rig.http).await.unwrap();
    let other = exchange(other, OTHER.as_bytes(), PATIENCE).await;
    let read = server.read();
    if let Some(told) = wrong(case, &read, answered + served(&other)) {
        return Err(told);
    }
    if !other.ends_with(b"seen 0") {
        return Err(String::from_utf8_lossy(&other).into_owned());
    }
    if read.last().is_none_or(|last| last != "GET /other ") {
        return Err(format!("the last that was read is of {read:?}"));
    }
    Ok(read)
}

/// Asks, and once more with patience if something seemed wrong: what is, is so again.
async fn patiently(
    server: &Server,
    ask: impl AsyncFn(Duration) -> Result<Vec<String>, String>,
) -> Result<Vec<String>, String> {
    let first = ask(SILENCE).await;
    if first.is_ok() {
        return first;
    }
    // What came late is not taken for a part of what is asked now.
    tokio::time::sleep(PATIENCE).await;
    server.read();
    ask(PATIENCE).await
}

/// What each case came to at this server: a line a request that was read whole.
async fn driven(
    server: &Server,
    cases: &[Case],
    over_http2: &[Case],
) -> (Vec<Vec<String>>, Vec<String>) {
    let spec = RouteSpec {
        redirect_http: false,
        ..route("tasks.test", &[&target(server.address)])
    };
    let limits = Limits {
        workers: Some(1),
        client_header: Duration::from_millis(300),
        new_connections_per_address: u32::MAX,
        ..Limits::default()
    };
    let rig = Rig::with_limits(World::of([spec]), limits);
    let (mut all, mut report) = (Vec::new(), Vec::new());
    for (what, case) in over_http2 {
        let told = patiently(server, async |silence| {
            let stream = tls(&rig, "tasks.test", "h2").await.unwrap();
            let heard = heard(stream, case, silence).await;
            let answered = heard.streams.values().filter(|told| told.answer == "200");
            after(&rig, server, case, answered.count()).await
        });
        let told = told.await.err();
        report.extend(told.map(|told| format!("{what} over HTTP/2 ({}): {told}", server.name)));
    }
    for (at, (what, case)) in cases.iter().enumerate() {
        let bytes = [case, NEXT.as_bytes()].concat();
        let read = patiently(server, async |silence| {
            let first = if at % 2 == 0 {
                exchange(TcpStream::connect(rig.http).await.unwrap(), &bytes, silence).await
            } else {
                let stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
                exchange(stream, &bytes, silence).await
            };
            after(&rig, server, case, served(&first)).await
        });
        match read.await {
            Ok(read) => all.push(read),
            Err(told) => {
                let bytes = String::from_utf8_lossy(case).escape_debug().to_string();
                report.push(format!("{what} ({}): {told}\n    {bytes}", server.name));
                all.push(Vec::new());
            }
        }
    }
    (all, report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn e3_three_app_servers_and_the_edge_agree_where_every_request_ends() {
    let folder = tempfile::tempdir().unwrap();
    let servers = ["node", "gunicorn", "puma"].map(|name| Server::start(name, folder.path()));
    let (cases, over_http2) = (corpus(), corpus_http2());
    for server in &servers {
        server.ready().await;
        server.read();
    }
    let [node, gunicorn, puma] = &servers;
    let ((node, one), (gunicorn, two), (puma, three)) = tokio::join!(
        driven(node, &cases, &over_http2),
        driven(gunicorn, &cases, &over_http2),
        driven(puma, &cases, &over_http2)
    );
    let mut report = [one, two, three].concat();
    let mut alike = 0;
    for (at, (what, case)) in cases.iter().enumerate() {
        // Who refuses a request has misread none.
        let most = [&node, &gunicorn, &puma].map(|all| &all[at]);
        let longest = most.iter().max_by_key(|read| read.len()).unwrap();
        alike += usize::from(most.iter().all(|read| read == longest));
        if !most
            .iter()
            .all(|read| read.iter().all(|line| longest.contains(line)))
        {
            let bytes = String::from_utf8_lossy(case).escape_debug().to_string();
            report.push(format!("{what}: read differently: {most:?}\n    {bytes}"));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
    assert!(
        alike * 10 >= cases.len() * 9,
        "only {alike} of {} were read alike",
        cases.len()
    );
}

/// The saboteur: without the edge these servers do disagree over the same bytes, and `wrong` says so.
#[tokio::test]
async fn e3_without_the_edge_the_same_bytes_are_read_differently() {
    let folder = tempfile::tempdir().unwrap();
    let servers = ["node", "gunicorn", "puma"].map(|name| Server::start(name, folder.path()));
    let mut differing = 0;
    for server in &servers {
        server.ready().await;
        server.read();
    }
    for text in SMUGGLED {
        let case = expanded(text);
        let mut reads = Vec::new();
        for server in &servers {
            let stream = TcpStream::connect(server.address).await.unwrap();
            exchange(stream, &[&case, NEXT.as_bytes()].concat(), SILENCE).await;
            reads.push(server.read());
        }
        differing += usize::from(reads.iter().any(|read| *read != reads[0]));
    }
    assert!(differing >= 5, "only {differing} tell these servers apart");
}

#[test]
fn e3_what_an_app_read_wrongly_is_found() {
    let well = ["GET /next ".to_owned()];
    assert_eq!(wrong(b"", &well, 1), None);
    let inside = format!("POST / {}", hex::encode(OTHER));
    for (read, answered) in [
        (&[][..], 1),
        (&well, 0),
        (&["GET /unasked ".to_owned()], 1),
        (&[inside], 1),
    ] {
        assert!(
            wrong(b"POST / HTTP/1.1", read, answered).is_some(),
            "{read:?}"
        );
    }
}
