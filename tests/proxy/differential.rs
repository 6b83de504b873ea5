//! The edge before real app servers, each with a parser of its own, three of HTTP/1.1 and two of HTTP/2: whatever comes over
//! either protocol, all agree where requests end.
//!
//! Every case is followed on its connection by a request that is well, and by one of somebody else on a new connection.
//! What an app read whole must be what was answered, somebody else's request may stand in no body, and the apps must have
//! read alike.
mod corpus;
mod servers;

use std::time::Duration;

use futures_util::future::join_all;

use freehold::proxy::{Limits, RouteSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::tls;
use crate::frames::Heard;
use crate::rig::{Rig, World, route};
use crate::table::expanded;

use corpus::{Case, SMUGGLED, corpus, corpus_http2};
use servers::{H2C, HTTP1, Server};

/// Follows a case on its connection.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
/// Asked by somebody else afterwards, over the same connections to the app.
const OTHER: &str = "GET /other HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
/// A side that says nothing for so long says nothing more.
const SILENCE: Duration = Duration::from_millis(300);
/// The same for a case that seemed wrong, asked again: a slow machine is no disagreement.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whoever has got so many wrong is asked no more: each takes its time.
const ENOUGH: usize = 20;

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
fn wrong(case: &Case, read: &[String], answered: usize) -> Option<String> {
    let unanswered = case
        .before
        .iter()
        .filter(|line| read.iter().any(|read| read == *line));
    if !(answered..=answered + unanswered.count()).contains(&read.len()) {
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
        let sent = [&case.bytes, NEXT.as_bytes(), OTHER.as_bytes()].concat();
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
    case: &Case,
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

/// Asks, and twice more with patience if something seemed wrong: what is, is so again.
async fn patiently(
    server: &Server,
    ask: impl AsyncFn(Duration) -> Result<Vec<String>, String>,
) -> Result<Vec<String>, String> {
    let mut told = ask(SILENCE).await;
    for _ in 0..2 {
        if told.is_ok() {
            break;
        }
        // What came late is not taken for a part of what is asked now.
        tokio::time::sleep(PATIENCE).await;
        server.read();
        told = ask(PATIENCE).await;
    }
    told
}

/// A connection over TLS. Its handshake has no more time here than a head has, which a busy machine may need for itself.
async fn secured(rig: &Rig, protocol: &str) -> TlsStream<TcpStream> {
    let mut tries = 0;
    loop {
        match tls(rig, "tasks.test", protocol).await {
            Ok(stream) => return stream,
            Err(error) => assert!(tries < 100, "no handshake is in time: {error}"),
        }
        tries += 1;
    }
}

/// What each case came to at this server, those over HTTP/2 first: a line a request that was read whole.
async fn driven(
    server: &Server,
    cases: &[Case],
    over_http2: &[Case],
) -> (Vec<Vec<String>>, Vec<String>) {
    let spec = RouteSpec {
        redirect_http: false,
        ..route("tasks.test", &[&server.target()])
    };
    let limits = Limits {
        workers: Some(1),
        client_header: Duration::from_millis(300),
        new_connections_per_address: u32::MAX,
        ..Limits::default()
    };
    let rig = Rig::with_limits(World::of([spec]), limits);
    let (mut all, mut report) = (Vec::new(), Vec::new());
    for case in over_http2 {
        if report.len() > ENOUGH {
            break;
        }
        let read = patiently(server, async |silence| {
            let stream = secured(&rig, "h2").await;
            let heard = heard(stream, &case.bytes, silence).await;
            let answered = heard.streams.values().filter(|told| told.answer == "200");
            after(&rig, server, case, answered.count()).await
        });
        match read.await {
            Ok(mut read) => {
                // Of several streams each may be the first.
                read.sort();
                all.push(read);
            }
            Err(told) => {
                let (what, name) = (&case.what, server.name);
                report.push(format!("{what} over HTTP/2 ({name}): {told}"));
                all.push(Vec::new());
            }
        }
    }
    for (at, case) in cases.iter().enumerate() {
        if report.len() > ENOUGH {
            break;
        }
        let bytes = [&case.bytes, NEXT.as_bytes()].concat();
        let read = patiently(server, async |silence| {
            let first = if at % 2 == 0 {
                exchange(TcpStream::connect(rig.http).await.unwrap(), &bytes, silence).await
            } else {
                exchange(secured(&rig, "http/1.1").await, &bytes, silence).await
            };
            after(&rig, server, case, served(&first)).await
        });
        match read.await {
            Ok(read) => all.push(read),
            Err(told) => {
                let bytes = String::from_utf8_lossy(&case.bytes);
                let (what, bytes) = (&case.what, bytes.escape_debug());
                report.push(format!("{what} ({}): {told}\n    {bytes}", server.name));
                all.push(Vec::new());
            }
        }
    }
    (all, report)
}

/// Drives these servers, and holds what they read against each other.
async fn agree(names: &[&'static str]) {
    let folder = tempfile::tempdir().unwrap();
    let servers: Vec<_> = names
        .iter()
        .map(|name| Server::start(name, folder.path()))
        .collect();
    let (cases, over_http2) = (corpus(), corpus_http2());
    for server in &servers {
        server.ready().await;
        server.read();
    }
    let all = servers
        .iter()
        .map(|server| driven(server, &cases, &over_http2));
    let (all, report): (Vec<_>, Vec<_>) = join_all(all).await.into_iter().unzip();
    let report = report.concat();
    assert!(report.is_empty(), "{}", report.join("\n"));
    let (mut report, mut alike) = (Vec::new(), 0);
    for (at, case) in over_http2.iter().chain(&cases).enumerate() {
        // Who refuses a request has misread none.
        let most: Vec<_> = all.iter().map(|all| &all[at]).collect();
        let longest = most.iter().max_by_key(|read| read.len()).unwrap();
        alike += usize::from(most.iter().all(|read| read == longest));
        if !most
            .iter()
            .all(|read| read.iter().all(|line| longest.contains(line)))
        {
            let bytes = String::from_utf8_lossy(&case.bytes);
            let (what, bytes) = (&case.what, bytes.escape_debug());
            report.push(format!("{what}: read differently: {most:?}\n    {bytes}"));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
    let cases = cases.len() + over_http2.len();
    assert!(
        alike * 10 >= cases * 9,
        "only {alike} of {cases} were read alike"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn e3_three_app_servers_and_the_edge_agree_where_every_request_ends() {
    agree(&HTTP1).await;
}

/// What is told to them is framed anew: beside one of HTTP/1.1, so that all three must have read the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn e3_app_servers_of_http2_and_the_edge_agree_where_every_request_ends() {
    agree(&[H2C[0], H2C[1], HTTP1[0]]).await;
}

/// The saboteur: without the edge these servers do disagree over the same bytes, and `wrong` says so.
#[tokio::test]
async fn e3_without_the_edge_the_same_bytes_are_read_differently() {
    let folder = tempfile::tempdir().unwrap();
    let servers = HTTP1.map(|name| Server::start(name, folder.path()));
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

/// The same of those of HTTP/2: one takes what the other calls malformed.
#[tokio::test]
async fn e3_without_the_edge_the_same_frames_are_read_differently() {
    let folder = tempfile::tempdir().unwrap();
    let servers = H2C.map(|name| Server::start(name, folder.path()));
    for server in &servers {
        server.ready().await;
        server.read();
    }
    let mut differing = Vec::new();
    for case in corpus_http2() {
        let mut reads = Vec::new();
        for server in &servers {
            let stream = TcpStream::connect(server.address).await.unwrap();
            heard(stream, &case.bytes, SILENCE).await;
            let mut read = server.read();
            read.sort();
            reads.push(read);
        }
        if reads[0] != reads[1] {
            differing.push(case.what);
        }
        if differing.len() == 5 {
            return;
        }
    }
    panic!("only {differing:?} tell these servers apart");
}

#[test]
fn e3_what_an_app_read_wrongly_is_found() {
    let case = |before: &'static [&'static str]| Case {
        what: String::new(),
        bytes: b"POST / HTTP/1.1".to_vec(),
        before,
    };
    let well = ["GET /next ".to_owned()];
    assert_eq!(wrong(&case(&[]), &well, 1), None);
    assert_eq!(wrong(&case(&["GET /next "]), &well, 0), None);
    assert!(wrong(&case(&["POST / "]), &well, 0).is_some());
    let inside = format!("POST / {}", hex::encode(OTHER));
    for (read, answered) in [
        (&[][..], 1),
        (&well, 0),
        (&["GET /unasked ".to_owned()], 1),
        (&[inside], 1),
    ] {
        assert!(wrong(&case(&[]), read, answered).is_some(), "{read:?}");
    }
}
