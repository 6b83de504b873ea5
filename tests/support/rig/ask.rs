//! One request from its due time to its record: sent once, read to its last byte, every byte compared.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::door::{Body, Connections};
use super::failure;
use super::frames;
use super::ledger::{Kind, Outcome, Record};
use super::pattern;

/// Whoever has no answer by then gets none.
pub const NEVER: Duration = Duration::from_secs(180);
/// An upload comes in so many pieces of this size, so far apart.
const PIECES: u64 = 6;
const PIECE: usize = 4_000;
const APART: Duration = Duration::from_millis(40);

/// Asks once; `start` is the run's, and so is its patience.
pub async fn ask(
    connections: &Connections,
    (start, patience): (Instant, Duration),
    kind: Kind,
    number: u64,
    due: Duration,
) -> Record {
    let mut record = Record {
        number,
        kind,
        due,
        left: start.elapsed(),
        sent: None,
        head: None,
        end: due,
        status: None,
        bytes: 0,
        id: None,
        instance: None,
        outcome: Outcome::Never,
    };
    let outcome = tokio::time::timeout(patience, attempt(connections, start, &mut record)).await;
    record.outcome = outcome.unwrap_or(Outcome::Never);
    record.end = start.elapsed();
    record
}

async fn attempt(connections: &Connections, start: Instant, record: &mut Record) -> Outcome {
    if matches!(record.kind, Kind::Http2 | Kind::SlowHttp2) {
        record.sent = Some(start.elapsed());
        let once = || {
            let request = request(connections, record, true);
            over_shared(connections, record.number, request)
        };
        let sent = match once().await {
            Ok(Err(error)) if failure::was_never_written(&error) => once().await,
            sent => sent,
        };
        return match sent {
            Ok(Ok(response)) => judge(response, start, record).await,
            Ok(Err(error)) => failure::sending(&error),
            Err(error) => failure::connecting(&error),
        };
    }
    let (one, response) = loop {
        let (one, is_kept) = match record.kind {
            Kind::Fresh | Kind::WebSocket => (connections.fresh().await, false),
            _ => connections.kept().await,
        };
        let mut one = match one {
            Ok(one) => one,
            Err(error) => return failure::connecting(&error),
        };
        let request = request(connections, record, false);
        record.sent = Some(start.elapsed());
        match one.send(request).await {
            Ok(response) => break (one, response),
            // Found closed a moment later than by a look: nothing of it was sent.
            Err(error) if is_kept && failure::was_never_written(&error) => {
                connections.found_closed();
            }
            Err(error) => return failure::sending(&error),
        }
    };
    let outcome = judge(response, start, record).await;
    if outcome == Outcome::Good && !matches!(record.kind, Kind::Fresh | Kind::WebSocket) {
        connections.keep(one).await;
    }
    outcome
}

/// Over one of the connections that are shared; one that takes no request any more is left for the next.
pub async fn over_shared(
    connections: &Connections,
    number: u64,
    request: Request<Body>,
) -> std::io::Result<hyper::Result<Response<Incoming>>> {
    let mut shared = connections.shared(number).await?;
    let sent = match shared.sender.ready().await {
        Ok(()) => shared.sender.send_request(request).await,
        Err(error) => Err(error),
    };
    if sent.as_ref().is_err_and(failure::was_never_written) {
        connections.moves(number, &shared).await;
    }
    Ok(sent)
}

fn request(connections: &Connections, record: &Record, http2: bool) -> Request<Body> {
    let path = record.kind.path(record.number);
    let body = match record.kind {
        Kind::Upload => upload(record.number),
        _ => Empty::new().boxed_unsync(),
    };
    let mut request = get(connections.name(), &path, http2, body);
    match record.kind {
        Kind::Upload => *request.method_mut() = Method::POST,
        Kind::WebSocket => upgrade(&mut request, &key(record.number)),
        _ => {}
    }
    request
}

/// A GET of `path` under `name`, as either protocol has it.
pub fn get(name: &str, path: &str, http2: bool, body: Body) -> Request<Body> {
    let request = match http2 {
        true => Request::get(format!("https://{name}{path}")),
        false => Request::get(path).header("host", name),
    };
    request.body(body).unwrap()
}

/// Makes a WebSocket's request of it.
pub fn upgrade(request: &mut Request<Body>, key: &str) {
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", key),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
}

/// A key of its own for each number.
pub fn key(number: u64) -> String {
    let bytes = [number.to_be_bytes(), number.to_le_bytes()].concat();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn piece(number: u64, at: u64) -> Vec<u8> {
    pattern::bytes(number, at * PIECE as u64, PIECE)
}

fn upload(number: u64) -> Body {
    let pieces = futures_util::stream::unfold(0, move |at| async move {
        if at == PIECES {
            return None;
        }
        tokio::time::sleep(APART).await;
        let frame = Frame::data(Bytes::from(piece(number, at)));
        Some((Ok::<_, Infallible>(frame), at + 1))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// What the app answers to an upload.
fn receipt(number: u64) -> String {
    let sum = (0..PIECES).fold(pattern::SUM, |sum, at| {
        pattern::sum(sum, &piece(number, at))
    });
    format!("{} {sum:016x}", PIECES * PIECE as u64)
}

/// Notes what the head says.
pub fn head(response: &Response<Incoming>, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

async fn judge(response: Response<Incoming>, start: Instant, record: &mut Record) -> Outcome {
    record.head = Some(start.elapsed());
    record.status = Some(response.status().as_u16());
    record.id = head(&response, "x-request-id");
    record.instance = head(&response, "x-instance");
    if record.kind == Kind::WebSocket {
        return match websocket(response, record).await {
            Ok(()) => Outcome::Good,
            Err(outcome) => outcome,
        };
    }
    let status = response.status();
    let mut body = response.into_body();
    let mut got = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => got.extend(frame.into_data().unwrap_or_default()),
            Err(error) => {
                record.bytes = got.len() as u64;
                return failure::reading(&error, record.bytes);
            }
        }
    }
    record.bytes = got.len() as u64;
    if status != StatusCode::OK {
        return Outcome::Status(status.as_u16());
    }
    compare(&got, &expected(record.kind, record.number))
}

/// The whole body that the app answers with.
pub fn expected(kind: Kind, number: u64) -> Vec<u8> {
    match kind {
        Kind::KeepAlive | Kind::Fresh | Kind::Http2 => pattern::bytes(number, 0, 1_000),
        Kind::Slow | Kind::SlowHttp2 => pattern::bytes(number, 0, 2_000),
        Kind::Download => pattern::bytes(number, 0, 65_536),
        Kind::Upload => receipt(number).into_bytes(),
        Kind::Events => (0..5)
            .map(|event| format!("id: {event}\ndata: {number}\n\n"))
            .collect::<String>()
            .into_bytes(),
        Kind::WebSocket => Vec::new(),
    }
}

fn compare(got: &[u8], wanted: &[u8]) -> Outcome {
    if got == wanted {
        return Outcome::Good;
    }
    let differs = got.iter().zip(wanted).position(|(a, b)| a != b);
    let at = differs.unwrap_or(got.len().min(wanted.len()));
    let seen = String::from_utf8_lossy(&got[at..got.len().min(at + 40)]).into_owned();
    let (had, due) = (got.len(), wanted.len());
    Outcome::Wrong(format!(
        "{had} bytes for {due}, another from byte {at} on: {seen:?}"
    ))
}

async fn websocket(response: Response<Incoming>, record: &mut Record) -> Result<(), Outcome> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Outcome::Status(response.status().as_u16()));
    }
    if head(&response, "sec-websocket-accept") != Some(key(record.number)) {
        return Err(Outcome::Wrong("another's handshake".to_owned()));
    }
    let upgraded = hyper::upgrade::on(response).await;
    let mut io = TokioIo::new(upgraded.map_err(|e| failure::sending(&e))?);
    let broken = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Outcome::Eof,
        _ => Outcome::Reset(e.to_string()),
    };
    for message in 0..3 {
        let text = format!("{} {message}", record.number);
        let frame = frames::frame(frames::TEXT, text.as_bytes(), Some([1, 2, 3, 4]));
        io.write_all(&frame).await.map_err(broken)?;
        io.flush().await.map_err(broken)?;
        let (kind, said) = frames::read(&mut io).await.map_err(broken)?;
        record.bytes += said.len() as u64;
        if (kind, said.as_slice()) != (frames::TEXT, text.as_bytes()) {
            let said = String::from_utf8_lossy(&said).into_owned();
            return Err(Outcome::Wrong(format!("message {message}: {said:?}")));
        }
    }
    let close = frames::frame(frames::CLOSE, &1000_u16.to_be_bytes(), Some([4, 3, 2, 1]));
    io.write_all(&close).await.map_err(broken)?;
    io.flush().await.map_err(broken)?;
    match frames::read(&mut io).await.map_err(broken)? {
        (frames::CLOSE, _) => Ok(()),
        (kind, _) => Err(Outcome::Wrong(format!(
            "a frame of kind {kind} for our close"
        ))),
    }
}
