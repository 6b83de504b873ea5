//! Streams that stay open until somebody ends them, and how that was done: as the protocol has it, or broken off.

use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::ask::{get, head, key, over_shared, upgrade};
use super::door::{Connections, One};
use super::failure::{was_never_written, words};
use super::frames;
use super::ledger::{Stream, StreamEnd, StreamKind};

/// Between two messages of ours.
const EVERY: Duration = Duration::from_millis(400);

/// Opens one and follows it to its end, or until `stopping` says so.
pub async fn follow(
    connections: &Connections,
    start: Instant,
    kind: StreamKind,
    number: u64,
    stopping: &mut watch::Receiver<bool>,
) -> Stream {
    let mut stream = Stream {
        number,
        kind,
        opened: start.elapsed(),
        head: None,
        ended: start.elapsed(),
        instance: None,
        end: StreamEnd::Ours,
    };
    let end = async {
        let opened = open(connections, kind, number).await;
        // An HTTP/1.1 connection lives as long as its sender.
        let (response, _one) = opened.map_err(|why| format!("not opened: {why}"))?;
        stream.head = Some(start.elapsed());
        stream.instance = head(&response, "x-instance");
        match kind {
            StreamKind::WebSocket => messages(response, number).await,
            _ => events(response, number).await,
        }
    };
    stream.end = tokio::select! {
        end = end => end.map_or_else(StreamEnd::Broken, StreamEnd::Clean),
        _ = stopping.wait_for(|stop| *stop) => StreamEnd::Ours,
    };
    stream.ended = start.elapsed();
    stream
}

async fn open(
    connections: &Connections,
    kind: StreamKind,
    number: u64,
) -> Result<(Response<Incoming>, Option<One>), String> {
    let request = || {
        let path = kind.path(number);
        let http2 = kind == StreamKind::EventsHttp2;
        let body = Empty::new().boxed_unsync();
        let mut request = get(connections.name(), &path, http2, body);
        if kind == StreamKind::WebSocket {
            upgrade(&mut request, &key(number));
        }
        request
    };
    let (response, one) = if kind == StreamKind::EventsHttp2 {
        let sent = match over_shared(connections, number, request())
            .await
            .map_err(|e| words(&e))?
        {
            Err(error) if was_never_written(&error) => over_shared(connections, number, request())
                .await
                .map_err(|e| words(&e))?,
            sent => sent,
        };
        (sent, None)
    } else {
        let mut one = connections.fresh().await.map_err(|e| words(&e))?;
        (one.send(request()).await, Some(one))
    };
    let response = response.map_err(|e| words(&e))?;
    let wanted = match kind {
        StreamKind::WebSocket => StatusCode::SWITCHING_PROTOCOLS,
        _ => StatusCode::OK,
    };
    match response.status() == wanted {
        true => Ok((response, one)),
        false => Err(format!("status {}", response.status().as_u16())),
    }
}

/// Numbered events without a gap, whole at the end.
async fn events(response: Response<Incoming>, number: u64) -> Result<String, String> {
    let mut body = response.into_body();
    let (mut text, mut next) = (String::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|e| words(&e))?.into_data();
        text.push_str(&String::from_utf8_lossy(&data.unwrap_or_default()));
        while let Some((event, rest)) = text.split_once("\n\n") {
            let wanted = format!("id: {next}\ndata: {number}");
            if event != wanted {
                return Err(format!("{event:?} for {wanted:?}"));
            }
            next += 1;
            text = rest.to_owned();
        }
    }
    match text.as_str() {
        "" => Ok("end of the body".to_owned()),
        rest => Err(format!("ended inside an event: {rest:?}")),
    }
}

/// A message now and then, each said again; ends with a close frame.
async fn messages(response: Response<Incoming>, number: u64) -> Result<String, String> {
    let upgraded = hyper::upgrade::on(response).await.map_err(|e| words(&e))?;
    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
    let writing = async {
        for message in 0_u64.. {
            let text = format!("{number} {message}");
            let frame = frames::frame(frames::TEXT, text.as_bytes(), Some([9, 8, 7, 6]));
            // Its end is told by what is read.
            if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            tokio::time::sleep(EVERY).await;
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        for message in 0_u64.. {
            let wanted = format!("{number} {message}");
            match frames::read(&mut reader).await.map_err(|e| words(&e))? {
                (frames::CLOSE, payload) => return closed(&payload),
                (frames::TEXT, said) if said == wanted.as_bytes() => {}
                (kind, said) => {
                    let said = String::from_utf8_lossy(&said).into_owned();
                    return Err(format!("a frame {kind} {said:?} for {wanted:?}"));
                }
            }
        }
        Err("it never ends".to_owned())
    };
    tokio::select! {
        () = writing => Err("nothing more can be sent".to_owned()),
        end = reading => end,
    }
}

/// Nobody but the edge has a reason to end one, and then says "service restart".
fn closed(payload: &[u8]) -> Result<String, String> {
    match payload {
        [0x03, 0xf4, ..] => Ok("close 1012".to_owned()),
        [high, low, ..] => Err(format!("close {}", u16::from_be_bytes([*high, *low]))),
        _ => Err("a close frame without a code".to_owned()),
    }
}
