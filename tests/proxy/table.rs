//! The edge's rows of the table of bad inputs, byte by byte, on both doors: the exact answer, and what the app was asked.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use freehold::proxy::{Limits, Refusal, RouteSpec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, raw};
use crate::client::tls;
use crate::policies::policed;
use crate::rig::{Rig, World, route, target};

#[allow(dead_code)]
#[path = "../bad_input/table.rs"]
pub mod rows;

use rows::{Edge, has};

/// What every row is followed by on its connection: a request that is well, and never part of another one.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";

/// How much of a body the route takes.
const BODY: u64 = 1_000;

/// The first lines of the requests that reached the app whole.
pub type Seen = Arc<Mutex<Vec<String>>>;

/// An app that reads for itself, strictly, keeps a list of what it read and answers with it.
pub async fn witness() -> (App, Seen) {
    let seen = Seen::default();
    let list = seen.clone();
    let app = raw(move |mut stream, _| {
        let list = list.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                let line = request.lines().next().unwrap_or_default().to_owned();
                list.lock().unwrap().push(line);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    request.len()
                );
                let answer = [head.as_bytes(), request.as_bytes()].concat();
                stream.write_all(&answer).await.unwrap();
            }
        }
    })
    .await;
    (app, seen)
}

/// The next request with its body, `None` when the connection ends before its end.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = read_until(stream, b"\r\n\r\n").await?;
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let of = |name: &str| {
        let lines = head.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(str::trim).map(str::to_owned).collect::<Vec<_>>()
    };
    let (lengths, codings) = (of("content-length:"), of("transfer-encoding:"));
    assert!(lengths.len() + codings.len() <= 1, "two ends: {head}");
    for length in lengths {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.ok()?;
        bytes.extend(body);
    }
    for coding in codings {
        assert_eq!(coding, "chunked");
        loop {
            let line = read_until(stream, b"\r\n").await?;
            let digits = std::str::from_utf8(&line).unwrap().trim_end();
            let size = usize::from_str_radix(digits, 16).unwrap();
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            assert!(chunk.ends_with(b"\r\n"));
            bytes.extend(&chunk[..size]);
        }
        loop {
            let line = read_until(stream, b"\r\n").await?;
            if line == b"\r\n" {
                break;
            }
            bytes.extend(line);
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(bytes)
}

/// What a text of the table stands for: `{a*9}` is nine times `a`.
pub fn expanded(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        let (inner, after) = after.split_once('}').unwrap();
        let (text, times) = inner.rsplit_once('*').unwrap();
        bytes.extend(before.as_bytes());
        bytes.extend(text.repeat(times.parse().unwrap()).as_bytes());
        rest = after;
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// Sends in pieces of this size and returns all that comes back; `Err` with it if the other side does not end it.
async fn exchange<S>(stream: S, bytes: &[u8], piece: usize) -> Result<String, String>
where
    S: AsyncRead + AsyncWrite,
{
    let (mut from, mut to) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let sending = async {
        for piece in bytes.chunks(piece) {
            // What was refused may not be taken to its end.
            if to.write_all(piece).await.is_err() || to.flush().await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let reading = tokio::time::timeout(Duration::from_secs(40), from.read_to_end(&mut answer));
    let (ended, ()) = tokio::join!(reading, sending);
    let text = String::from_utf8_lossy(&answer).into_owned();
    match ended {
        // Closing without close_notify is an error of reading, and an end all the same.
        Ok(_) => Ok(text),
        Err(_) => Err(text),
    }
}

/// The answers in what came back, interim ones apart: status and text.
fn answers(text: &str) -> Vec<(&str, &str)> {
    let begins = |at: usize| match text.as_bytes()[at..].get(8..12) {
        Some([b' ', status @ ..]) => status.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let starts = text.match_indices("HTTP/1.").map(|(at, _)| at);
    let starts = starts.filter(|at| begins(*at));
    let starts: Vec<usize> = starts.chain([text.len()]).collect();
    let answers = starts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
    answers
        .map(|answer| (answer.get(9..12).unwrap_or_default(), answer))
        .filter(|(status, _)| *status != "100")
        .collect()
}

/// What is wrong with the answer to a row, if anything is.
fn wrong(row: &Edge, text: &str, seen: &[String], counted: u64) -> Option<String> {
    let got = answers(text);
    let statuses: Vec<&str> = got.iter().map(|(status, _)| *status).collect();
    let mut expected: Vec<&str> = row.answer.split(' ').filter(|s| *s != "closed").collect();
    if row.goes_on {
        expected.push("200");
    }
    if statuses != expected {
        return Some(format!("answered {statuses:?}: {text}"));
    }
    let served = expected.iter().filter(|status| **status == "200").count();
    if seen.len() != served || row.goes_on != seen.contains(&"GET /next HTTP/1.1".to_owned()) {
        return Some(format!("the app was asked {seen:?}"));
    }
    let last = got[..got.len() - usize::from(row.goes_on)].last();
    let said = last.map_or("", |(_, answer)| answer);
    if !has(said, &row.says) {
        return Some(format!("said {said}"));
    }
    if let Some(never) = row.never.iter().find(|never| said.contains(never.as_str())) {
        return Some(format!("said {never:?}: {said}"));
    }
    let refusals = expected.len() - served;
    if counted != refusals as u64 {
        return Some(format!("counted {counted} refusals"));
    }
    // Each of ours can be asked about, and says so where the connection ends with it.
    let id = |said: &str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("x-request-id: "));
        line.map(str::to_owned)
    };
    let ours = match (refusals, id(said)) {
        (0, _) => true,
        (_, Some(id)) => {
            let body = said.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            body.contains(&id) && (row.goes_on || said.contains("connection: close\r\n"))
        }
        (_, None) => false,
    };
    (!ours).then(|| format!("is no page of ours: {said}"))
}

/// One that takes all, and below it some with policies. Of each `turn` the rates begin anew.
pub fn world(app: &App, turn: usize) -> World {
    let all = RouteSpec {
        redirect_http: false,
        body_bytes: Some(BODY),
        ..route("tasks.test", &[&target(app.address)])
    };
    let staff =
        "basic_auth = { realm = \"Staff\", users = [{ name = \"ana\", password = \"hunter2\" }] }";
    let often = "rate_limit = { requests = 1, per = \"day\" }";
    let often = RouteSpec {
        key: format!("often:{turn}").into(),
        ..policed("tasks.test/often", app, often)
    };
    World::of([
        all,
        policed("tasks.test/staff", app, staff),
        policed("tasks.test/inside", app, "allow = [\"192.0.2.0/24\"]"),
        policed("tasks.test/strip", app, "strip_prefix = true"),
        often,
    ])
}

/// Refused for what they are, whose policy it was.
fn refused(rig: &Rig) -> u64 {
    let refusals = rig.edge.stats().refusals;
    refusals.of(Refusal::BadRequest)
        + refusals.of(Refusal::NotServed)
        + refusals.of(Refusal::Denied)
        + refusals.of(Refusal::RateLimited)
}

#[tokio::test]
async fn e3_every_row_of_the_table_is_answered_exactly() {
    let (app, seen) = witness().await;
    let limits = Limits {
        workers: Some(2),
        // Hundreds of them, as quickly as they come.
        new_connections_per_address: u32::MAX,
        ..Limits::default()
    };
    let rig = Rig::with_limits(world(&app, 0), limits);
    let (mut report, mut turn) = (Vec::new(), 0);
    for row in rows::table().edge {
        let bytes = [expanded(&row.send), NEXT.into()].concat();
        // In one piece, byte by byte, and cut in the middle of things.
        for (door, piece) in [
            ("https", bytes.len()),
            ("http", 1),
            ("https", 37),
            ("http", 700),
        ] {
            let piece = match bytes.len() {
                3_000.. => piece.max(700),
                _ => piece,
            };
            seen.lock().unwrap().clear();
            if row.answer.contains("429") {
                turn += 1;
                rig.publish(world(&app, turn));
            }
            let before = refused(&rig);
            let answer = match door {
                "http" => {
                    let stream = TcpStream::connect(rig.http).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    exchange(stream, &bytes, piece).await
                }
                _ => {
                    let stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
                    exchange(stream, &bytes, piece).await
                }
            };
            let counted = refused(&rig) - before;
            let told = match answer {
                Ok(text) => wrong(&row, &text, &seen.lock().unwrap(), counted),
                Err(text) => Some(format!("was kept open after: {text}")),
            };
            report.extend(told.map(|told| format!("{} ({door}, by {piece}): {told}", row.what)));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n\n"));
}

/// The saboteur: a row whose answer is another, whose request reached the app, or that was not counted is found.
#[test]
fn e3_a_row_that_is_answered_in_another_way_is_found() {
    let row = |answer: &str, says: &str, goes_on: bool| Edge {
        what: String::new(),
        send: String::new(),
        answer: answer.to_owned(),
        says: says.to_owned(),
        never: vec!["secret".into()],
        goes_on,
        next: String::new(),
    };
    let page = "HTTP/1.1 400 Bad Request\r\nx-request-id: 7\r\nconnection: close\r\n\r\nno: 7\n";
    let next = "HTTP/1.1 200 OK\r\n\r\nGET /next HTTP/1.1\r\n";
    let asked = ["GET /next HTTP/1.1".to_owned()];
    assert_eq!(wrong(&row("400", "no", false), page, &[], 1), None);
    assert_eq!(wrong(&row("closed", "", false), "", &[], 0), None);
    let both = [page, next].concat();
    assert_eq!(wrong(&row("400", "no", true), &both, &asked, 1), None);
    for (row, text, seen, counted) in [
        (row("413", "no", false), page, &[][..], 1),
        (row("400", "yes", false), page, &[], 1),
        (row("400", "no", false), page, &asked, 1),
        (row("400", "no", false), page, &[], 0),
        (row("400", "no", false), &both, &asked, 1),
        (row("400", "no", true), &both, &[], 1),
        (
            row("400", "no", false),
            &page.replace("close", "keep"),
            &[],
            1,
        ),
        (
            row("400", "no", false),
            &page.replace("-id: 7", "-id: 8"),
            &[],
            1,
        ),
        (
            row("400", "no", false),
            &page.replace("no", "no secret"),
            &[],
            1,
        ),
        (row("closed", "", false), page, &[], 1),
    ] {
        assert!(wrong(&row, text, seen, counted).is_some(), "{text}");
    }
}
