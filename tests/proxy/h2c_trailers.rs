//! Trailers of `h2c` apps: such as belong there are passed on, and no answer is whole whose trailers have pseudo-headers.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{App, raw};
use crate::client::{Http2, get};
use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame};
use crate::rig::{Rig, World, h2c_target, route};

const PREFACE: usize = 24;
const HEAD: usize = 9;

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
    for (what, frames, is_whole) in [
        ("a trailer", whole(&x), true),
        ("none", whole(&[]), true),
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
