//! WebSocket and other upgrades: a tunnel both ways, counted, and closed with a word when it has to be.
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::app::{App, raw, read_head};
use crate::client::{bytes, tls};
use crate::rig::{Rig, World, route, target, until, within};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: tasks.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n\x81\x05first";

/// Greets at once with a frame, then returns every byte it gets, plus one frame for each.
async fn echo() -> App {
    raw(|mut stream: TcpStream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(
            head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"),
            "{head}"
        );
        stream.write_all(SWITCH).await.unwrap();
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count]).await.unwrap();
        }
    })
    .await
}

async fn open(rig: &Rig) -> TlsStream<TcpStream> {
    let mut stream = tls(rig, "tasks.test", "http/1.1").await.unwrap();
    // The first frame right behind the request, as an eager client may.
    stream
        .write_all(format!("{ASK}\u{1}\u{0}").as_bytes())
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(
        head.starts_with("http/1.1 101 ") && head.contains("sec-websocket-accept: y\r\n"),
        "{head}"
    );
    assert!(
        head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"),
        "{head}"
    );
    expect(&mut stream, b"\x81\x05first\x01\x00").await;
    stream
}

async fn expect(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    within(
        Duration::from_secs(20),
        "bytes of the tunnel",
        stream.read_exact(&mut got),
    )
    .await
    .unwrap();
    assert_eq!(got, bytes);
}

#[tokio::test]
async fn f5_a_websocket_passes_both_ways_and_is_counted_until_it_ends() {
    let app = echo().await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut stream = open(&rig).await;
    for size in [1usize, 125, 70_000] {
        let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let mut back = vec![0; size];
        let (sent, got) = tokio::join!(
            async {
                writer.write_all(&bytes).await.unwrap();
                writer.flush().await
            },
            reader.read_exact(&mut back)
        );
        sent.unwrap();
        got.unwrap();
        assert_eq!(bytes, back);
    }
    assert_eq!(target.in_flight(), 1);
    assert_eq!(rig.route_reading("tasks.test").in_flight, 1);
    drop(stream);
    until("the claim is released", || target.in_flight() == 0).await;
    let reading = rig.route_reading("tasks.test");
    assert_eq!(
        (reading.tunnels, reading.classes[0], reading.requests),
        (1, 1, 1)
    );
    assert_eq!((reading.bytes_in, reading.bytes_out), (70_128, 70_135));
}

#[tokio::test]
async fn f5_a_quiet_websocket_outlives_the_idle_limit() {
    let app = echo().await;
    let limits = freehold::proxy::Limits {
        client_header: Duration::from_secs(2),
        client_idle: Duration::from_secs(2),
        workers: Some(1),
        ..Default::default()
    };
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target(app.address)])]),
        limits,
    );
    let mut stream = open(&rig).await;
    // Three times both limits.
    tokio::time::sleep(Duration::from_secs(6)).await;
    stream.write_all(b"still").await.unwrap();
    expect(&mut stream, b"still").await;
}

#[tokio::test]
async fn f4_a_websocket_is_closed_with_1012_at_the_drains_limit() {
    let app = echo().await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut stream = open(&rig).await;
    target.retire();
    assert!(
        tokio::time::timeout(Duration::from_millis(200), target.drained())
            .await
            .is_err()
    );
    stream.write_all(b"\x81\x02hi").await.unwrap();
    expect(&mut stream, b"\x81\x02hi").await;
    target.cut();
    expect(&mut stream, &[0x88, 2, 0x03, 0xf4]).await;
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    within(Duration::from_secs(20), "drained", target.drained()).await;
    let read = || rig.route_reading("tasks.test");
    until("it is counted", || read().requests == 1).await;
    assert_eq!((read().ended_at_limit, read().cut_at_limit), (1, 0));
}

#[tokio::test]
async fn f8_a_restart_closes_websockets_between_two_frames() {
    let app = echo().await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut stream = open(&rig).await;
    // Half a frame has passed when the drain begins; no close frame may be put into its middle.
    stream.write_all(b"\x82\x06half").await.unwrap();
    expect(&mut stream, b"\x82\x06half").await;
    let mut rest = Vec::new();
    let (_, read) = tokio::join!(
        rig.edge.drain(Duration::from_secs(5)),
        stream.read_to_end(&mut rest)
    );
    assert!(read.is_ok() && rest.is_empty(), "{rest:?}");

    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut stream = open(&rig).await;
    let mut rest = Vec::new();
    let (_, read) = tokio::join!(
        rig.edge.drain(Duration::from_secs(5)),
        stream.read_to_end(&mut rest)
    );
    assert!(read.is_ok());
    assert_eq!(rest, [0x88, 2, 0x03, 0xf4]);
}

#[tokio::test]
async fn f5_an_upgrade_the_app_declines_is_an_ordinary_answer() {
    let app = crate::app::app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let answer = bytes(&rig, "tasks.test", ASK.replace("keep-alive, ", "close, ")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
