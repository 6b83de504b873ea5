//! What is answered at each path.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::behaviour::{Behaviour, Mode};
use crate::frames;
use crate::pattern;
use crate::request::Request;

/// A download comes in so many pieces.
const PIECES: u64 = 8;

/// Answers all requests of a connection.
pub async fn connection(stream: TcpStream, behaviour: &Behaviour) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = Request::read(&mut stream).await? {
        if request.method == "POST" && request.path == "/behave" {
            behave(&mut stream, &request, behaviour).await?;
            continue;
        }
        match behaviour.mode.get() {
            Mode::Hang => std::future::pending::<()>().await,
            Mode::Fail if request.path != "/healthz" => {
                request.body(&mut stream, |_| ()).await?;
                whole(
                    &mut stream,
                    behaviour,
                    "500 Internal Server Error",
                    b"told to fail",
                )
                .await?;
            }
            mode => answer(&mut stream, &request, behaviour)
                .await
                .and_then(|()| match mode {
                    // Closes when this returns.
                    Mode::Close => Err(io::ErrorKind::ConnectionAborted.into()),
                    _ => Ok(()),
                })?,
        }
    }
    Ok(())
}

async fn behave(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    behaviour: &Behaviour,
) -> io::Result<()> {
    request.body(stream, |_| ()).await?;
    let mode = request.query.get("mode").map_or("", String::as_str);
    match behaviour.obey(mode) {
        Ok(()) => whole(stream, behaviour, "200 OK", b"").await,
        Err(why) => whole(stream, behaviour, "400 Bad Request", why.as_bytes()).await,
    }
}

async fn answer(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    behaviour: &Behaviour,
) -> io::Result<()> {
    let number = request.number();
    let seed = number + u64::from(behaviour.mode.get() == Mode::Lie);
    let kind = request.path.split('/').nth(1).unwrap_or("");
    match kind {
        "ok" | "slow" => {
            request.body(stream, |_| ()).await?;
            tokio::time::sleep(Duration::from_millis(request.asks("ms", 0))).await;
            let size = usize::try_from(request.asks("size", 1_000).min(1 << 20)).unwrap_or(0);
            let body = pattern::bytes(seed, 0, size);
            // Either framing, turn about.
            if number.is_multiple_of(2) {
                return whole(stream, behaviour, "200 OK", &body).await;
            }
            let mut out = head(behaviour, "200 OK", "Transfer-Encoding: chunked\r\n");
            for piece in body.chunks(600) {
                out.extend(chunk(piece));
            }
            out.extend(b"0\r\n\r\n");
            stream.write_all(&out).await
        }
        "upload" => {
            let (mut count, mut sum) = (0, pattern::SUM);
            let each = |piece: &[u8]| {
                count += piece.len();
                sum = pattern::sum(sum, piece);
            };
            request.body(stream, each).await?;
            let said = format!("{count} {sum:016x}");
            whole(stream, behaviour, "200 OK", said.as_bytes()).await
        }
        "download" => {
            let (bytes, ms) = (request.asks("bytes", 65_536), request.asks("ms", 0));
            let length = format!("Content-Length: {bytes}\r\n");
            stream
                .write_all(&head(behaviour, "200 OK", &length))
                .await?;
            let mut at = 0;
            for piece in 1..=PIECES {
                let end = bytes * piece / PIECES;
                let count = usize::try_from(end - at).unwrap_or(0);
                stream.write_all(&pattern::bytes(seed, at, count)).await?;
                at = end;
                tokio::time::sleep(Duration::from_millis(ms / PIECES)).await;
            }
            Ok(())
        }
        "events" => {
            let (every, count) = (request.asks("every", 100), request.asks("count", u64::MAX));
            let extra = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n";
            stream.write_all(&head(behaviour, "200 OK", extra)).await?;
            for event in 0..count {
                let text = format!("id: {event}\ndata: {number}\n\n");
                stream.write_all(&chunk(text.as_bytes())).await?;
                tokio::time::sleep(Duration::from_millis(every)).await;
            }
            stream.write_all(b"0\r\n\r\n").await
        }
        "ws" => websocket(stream, request, behaviour).await,
        "healthz" => whole(stream, behaviour, "200 OK", b"well").await,
        _ => whole(stream, behaviour, "404 Not Found", b"no such path").await,
    }
}

/// Says every message again, until either side closes.
async fn websocket(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    behaviour: &Behaviour,
) -> io::Result<()> {
    // The key itself instead of its digest: the rig's client compares it, and no SHA-1 is needed here.
    let extra = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n",
        request.header("sec-websocket-key")
    );
    let switched = head(behaviour, "101 Switching Protocols", &extra);
    stream.write_all(&switched).await?;
    loop {
        let (kind, payload) = frames::read(stream).await?;
        // Neither a ping nor a piece of a longer message is ever sent.
        if !matches!(kind, frames::TEXT | frames::CLOSE) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        stream
            .write_all(&frames::frame(kind, &payload, None))
            .await?;
        if kind == frames::CLOSE {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
}

async fn whole(
    stream: &mut BufReader<TcpStream>,
    behaviour: &Behaviour,
    status: &str,
    body: &[u8],
) -> io::Result<()> {
    let length = format!("Content-Length: {}\r\n", body.len());
    let mut out = head(behaviour, status, &length);
    out.extend(body);
    stream.write_all(&out).await
}

fn head(behaviour: &Behaviour, status: &str, extra: &str) -> Vec<u8> {
    let Behaviour {
        instance, version, ..
    } = behaviour;
    format!(
        "HTTP/1.1 {status}\r\nX-Instance: {instance}\r\nX-Version: {version}\r\nCache-Control: no-store\r\n{extra}\r\n"
    )
    .into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend(bytes);
    out.extend(b"\r\n");
    out
}
