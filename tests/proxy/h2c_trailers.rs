//! Trailers of `h2c` apps: such as belong there are passed on, also to and from clients over HTTP/1.1, and no answer is whole
//! whose trailers have pseudo-headers.
use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{App, always, h2c_app, raw};
use crate::client::{Http2, bytes, get};
use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame};
use crate::h2c::{frames, rig as h2c_rig};
use crate::rig::{Rig, World, h2c_target, route, target};

const PREFACE: usize = 24;
const HEAD: usize = 9;
const PADDED: u8 = 8;

/// An app that answers the first request of a connection with these frames.
async fn saying(frames: Vec<u8>) -> App {
    raw(move |mut stream, _| {
        let frames = frames.clone();
        async move {
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
            let mut came = Vec::new();
            while !has_a_request(&came) {
                let mut some = [0; 4_096];
                match stream.read(&mut some).await {
                    Ok(count) if count > 0 => came.extend(&some[..count]),
                    _ => return,
                }
            }
            stream.write_all(&frames).await.unwrap();
            stream.read_to_end(&mut came).await.ok();
        }
    })
    .await
}

fn has_a_request(came: &[u8]) -> bool {
    let mut at = PREFACE;
    while let Some([a, b, c, kind, ..]) = came.get(at..at + HEAD) {
        if *kind == HEADERS {
            return true;
        }
        at += HEAD + u32::from_be_bytes([0, *a, *b, *c]) as usize;
    }
    false
}

#[tokio::test]
async fn e3_an_apps_answer_with_a_pseudo_header_among_its_trailers_is_not_whole() {
    let head = frame(HEADERS, END_HEADERS, 1, &[0x88]);
    let data = frame(DATA, 0, 1, b"hello");
    let end = |fields: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, 1, fields);
    let x = [0, 1, b'x', 1, b'1'];
    let early = frame(HEADERS, END_HEADERS, 1, &[0x08, 3, b'1', b'0', b'3']);
    let whole = |trailers: &[u8]| [&head[..], &data, &end(trailers)].concat();
    let padded = |trailers: &[u8]| {
        let end = frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, trailers);
        [&head[..], &data, &end].concat()
    };
    for (what, frames, is_whole) in [
        ("a trailer", whole(&x), true),
        ("none", whole(&[]), true),
        (
            "a padded trailer",
            padded(&[1, 0, 1, b'x', 1, b'1', 0]),
            true,
        ),
        // Refused by h2, unless the mark that goes before trailers makes up for what is not there.
        ("more padding than there is", padded(&[3]), false),
        ("a status", whole(&[0x88]), false),
        ("a path", whole(&[0x84]), false),
        (
            "a status before a trailer",
            whole(&[&[0x88][..], &x].concat()),
            false,
        ),
        (
            "a status behind a trailer",
            whole(&[&x[..], &[0x88]].concat()),
            false,
        ),
        (
            "a status, and no data",
            [&head[..], &end(&[0x88])].concat(),
            false,
        ),
        (
            "a trailer, and no data",
            [&head[..], &end(&x)].concat(),
            true,
        ),
        ("nothing but a head", end(&[0x88]), true),
        (
            "103 and nothing but a head",
            [&early[..], &end(&[0x89])].concat(),
            true,
        ),
    ] {
        let app = saying(frames).await;
        let target = h2c_target(app.address);
        let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
        let mut client = Http2::tls(&rig, "tasks.test").await;
        let answer = client.ask(get("https://tasks.test/")).await;
        // Without data nothing has gone out yet, and the edge says itself what is wrong.
        let came_whole = answer.as_ref().is_ok_and(|answer| answer.status != 502);
        assert_eq!(
            came_whole,
            is_whole,
            "{what}: {:?}",
            answer.map(|a| a.status)
        );
    }
}

/// Between a client of HTTP/1.1, whose trailers are behind its last chunk, and an app of HTTP/2.
#[tokio::test]
async fn e2_trailers_pass_both_ways_between_an_http1_client_and_an_h2c_app() {
    let app = h2c_app("one").await;
    let rig = h2c_rig(&app);
    let ask = async |version: &str, fields: &str| {
        let head = format!("GET /trailers HTTP/{version}\r\nHost: tasks.test\r\n{fields}\r\n");
        bytes(&rig, "tasks.test", head).await
    };
    let taken = ask("1.1", "TE: trailers\r\nConnection: close, TE\r\n").await;
    let (head, body) = taken.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\ntrailer: x-sum"), "{taken}");
    assert!(head.contains("\r\ntransfer-encoding: chunked"), "{taken}");
    assert_eq!(body, "D\r\nwith trailers\r\n0\r\nx-sum: 42\r\n\r\n");
    // They are dropped, and the body is whole, where nobody said that they are taken, and where there are no chunks.
    let alone = ask("1.1", "Connection: close\r\n").await;
    let (_, body) = alone.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "D\r\nwith trailers\r\n0\r\n\r\n");
    let old = ask("1.0", "TE: trailers\r\nConnection: TE\r\n").await;
    let (head, body) = old.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("transfer-encoding"), "{old}");
    assert_eq!(body, "with trailers");
    // Those of a request reach the app, but for such as may be none.
    let count = |trailers: &str| {
        let head = "POST /count HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: x-check\r\n\r\n";
        format!("{head}5\r\nhello\r\n0\r\n{trailers}\r\n")
    };
    for (trailers, came) in [
        ("X-Check: 7\r\n", "5 {\"x-check\": \"7\"}"),
        (
            "X-Check: 7\r\nContent-Length: 3\r\nHost: evil.test\r\nX-Forwarded-For: 6.6.6.6\r\n",
            "5 {\"x-check\": \"7\"}",
        ),
        ("", "5 {}"),
    ] {
        let counted = bytes(&rig, "tasks.test", count(trailers)).await;
        assert!(counted.ends_with(came), "{trailers}: {counted}");
    }
}

/// hyper writes behind the last chunk what `Trailer` has named, alone; over HTTP/2 all of them come.
#[tokio::test]
async fn e2_trailers_that_an_app_has_not_named_reach_clients_over_http2_alone() {
    let h2c = frames(|mut connection, _| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data("hello".into(), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", 42.into());
            stream.send_trailers(trailers).unwrap();
        }
    })
    .await;
    let http1 = always(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n",
    )
    .await;
    for target in [h2c_target(h2c.address), target(http1.address)] {
        let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
        let head =
            "GET / HTTP/1.1\r\nHost: tasks.test\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n";
        let answer = bytes(&rig, "tasks.test", head).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n");
        let mut http2 = Http2::tls(&rig, "tasks.test").await;
        let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
        assert_eq!(answer.text(), "hello");
        assert_eq!(answer.trailers.unwrap()["x-sum"], "42");
    }
}
