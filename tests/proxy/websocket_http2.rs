//! WebSocket over HTTP/2 (RFC 8441) to apps that speak it over HTTP/1.1: a stream among others that is a tunnel.
use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::app::{App, raw, read_head};
use crate::client::{Http2, bytes, empty, get, whole};
use crate::rig::{Rig, World, route, target, until, within};
use crate::static_site;

const PATIENCE: Duration = Duration::from_secs(120);
/// The close frame of a restart.
const RESTART: [u8; 4] = [0x88, 2, 0x03, 0xf4];

/// What a busy one sends.
const MUCH: usize = 50 << 20;

type Stream = TokioIo<Upgraded>;

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.map(str::trim)
}

/// What a server says to the key of a head.
fn proof(head: &str) -> String {
    let key = field(head, "sec-websocket-key").unwrap();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Answers by path, greets where it opens a WebSocket, then returns every byte; its heads come through the channel.
async fn app() -> (App, UnboundedReceiver<String>) {
    let (saying, heads) = unbounded_channel();
    let app = raw(move |mut stream: TcpStream, _| {
        let saying = saying.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                saying.send(head.clone()).unwrap();
                let path = head.split(' ').nth(1).unwrap();
                let switch = |accept: &str, protocol: &str| {
                    format!(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSet-Cookie: a=b\r\n\r\n\u{1}\u{5}first"
                    )
                };
                let answer = match path {
                    "/ws" | "/much" => switch(&proof(&head), "websocket"),
                    "/wrong" => switch("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "websocket"),
                    "/other" => switch(&proof(&head), "chat"),
                    "/no" => "HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nX-Why: you\r\n\r\nnot you".into(),
                    "/elsewhere" => "HTTP/1.1 302 Found\r\nLocation: /ws\r\nContent-Length: 0\r\n\r\n".into(),
                    _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
                if path == "/much" {
                    let piece = vec![7; 64 * 1024];
                    for _ in 0..MUCH / piece.len() {
                        stream.write_all(&piece).await.unwrap();
                    }
                    return;
                }
                if answer.starts_with("HTTP/1.1 101") {
                    let mut buffer = [0; 4_096];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        if stream.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                    }
                    return;
                }
            }
        }
    })
    .await;
    (app, heads)
}

async fn connect(http2: &mut Http2, path: &str) -> Response<Incoming> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://tasks.test{path}"))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat, superchat")
        .header("sec-websocket-extensions", "permessage-deflate")
        .header("cookie", "a=b")
        .body(empty())
        .unwrap();
    within(PATIENCE, "an answer", http2.send(request))
        .await
        .unwrap()
}

/// A connection whose client knows by now that it may ask for WebSockets.
async fn connection(rig: &Rig) -> Http2 {
    let mut http2 = Http2::tls(rig, "tasks.test").await;
    let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
    assert_eq!(answer.text(), "hello");
    http2
}

async fn open(http2: &mut Http2) -> (HeaderMap, Stream) {
    open_at(http2, "/ws").await
}

async fn open_at(http2: &mut Http2, path: &str) -> (HeaderMap, Stream) {
    let response = connect(http2, path).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let upgraded = within(PATIENCE, "a stream", hyper::upgrade::on(response)).await;
    let mut stream = TokioIo::new(upgraded.unwrap());
    expect(&mut stream, b"\x01\x05first").await;
    (headers, stream)
}

async fn expect(stream: &mut Stream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    within(PATIENCE, "bytes of the tunnel", stream.read_exact(&mut got))
        .await
        .unwrap();
    assert_eq!(got, bytes);
}

/// What comes until the stream's end, which is no error.
async fn rest(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut rest = Vec::new();
    within(PATIENCE, "the stream's end", stream.read_to_end(&mut rest)).await?;
    Ok(rest)
}

#[tokio::test]
async fn e4_a_busy_websocket_through_small_windows_is_no_flood() {
    let (app, _heads) = app().await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http2 = Http2::with_small_windows(&rig, "tasks.test").await;
    http2.ask(get("https://tasks.test/")).await.unwrap();
    let (_, mut stream) = open_at(&mut http2, "/much").await;
    let came = rest(&mut stream).await.unwrap();
    assert_eq!(came.len(), MUCH);
    assert_eq!(rig.edge.stats().refusals.sum(), 0);
}

#[tokio::test]
async fn e2_a_websocket_over_http2_passes_both_ways_and_is_counted_until_it_ends() {
    let (app, mut heads) = app().await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut http2 = connection(&rig).await;
    heads.recv().await.unwrap();
    let (headers, mut stream) = open(&mut http2).await;

    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET /ws HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", "tasks.test"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("cookie", "a=b"),
        ("x-forwarded-proto", "https"),
    ] {
        assert_eq!(field(&head, name), Some(value), "{head}");
    }
    let key = field(&head, "sec-websocket-key").unwrap();
    assert_eq!(STANDARD.decode(key).unwrap().len(), 16);
    for name in [
        "sec-websocket-accept",
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
    ] {
        assert!(!headers.contains_key(name), "{headers:?}");
    }
    assert_eq!(headers["sec-websocket-protocol"], "chat");
    assert_eq!(headers["sec-websocket-extensions"], "permessage-deflate");
    assert_eq!(headers["set-cookie"], "a=b");
    assert!(headers.contains_key("x-request-id"));

    for size in [1usize, 125, 700_000] {
        let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let mut back = vec![0; size];
        let both = async {
            tokio::join!(
                async {
                    writer.write_all(&bytes).await.unwrap();
                    writer.flush().await
                },
                reader.read_exact(&mut back)
            )
        };
        let (sent, got) = within(PATIENCE, "an echo", both).await;
        sent.unwrap();
        got.unwrap();
        assert!(bytes == back, "{size}");
    }
    assert_eq!(target.in_flight(), 1);
    assert_eq!(rig.route_reading("tasks.test").in_flight, 1);
    // Ended in the client's words, and answered in the app's.
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), b"");
    until("the claim is released", || target.in_flight() == 0).await;
    let reading = rig.route_reading("tasks.test");
    assert_eq!(
        (reading.tunnels, reading.classes[0], reading.requests),
        (1, 1, 2)
    );
    assert_eq!((reading.bytes_in, reading.bytes_out), (700_126, 700_138));
    // Another one has another key.
    drop(open(&mut http2).await);
    let second = heads.recv().await.unwrap();
    assert_ne!(field(&second, "sec-websocket-key"), Some(key));
}

#[tokio::test]
async fn e2_websockets_and_requests_share_one_http2_connection() {
    let (app, _heads) = app().await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut http2 = connection(&rig).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(open(&mut http2).await.1);
    }
    assert_eq!(target.in_flight(), 20);
    assert_eq!(rig.edge.stats().connections, 1);
    for turn in 0..5 {
        for (number, stream) in streams.iter_mut().enumerate() {
            let text = format!("\u{1}\u{7}{turn:02} {number:04}");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
        let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
        assert_eq!(answer.text(), "hello");
        for (number, stream) in streams.iter_mut().enumerate() {
            expect(
                stream,
                format!("\u{1}\u{7}{turn:02} {number:04}").as_bytes(),
            )
            .await;
        }
    }
    // One that ends ends alone.
    drop(streams.swap_remove(7));
    until("one claim is released", || target.in_flight() == 19).await;
    streams[7].write_all(b"\x01\x01x").await.unwrap();
    expect(&mut streams[7], b"\x01\x01x").await;
    drop(streams);
    until("the claims are released", || target.in_flight() == 0).await;
}

#[tokio::test]
async fn e2_what_an_app_says_instead_of_a_websocket_is_passed_on() {
    let (app, _heads) = app().await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut http2 = connection(&rig).await;
    let answer = whole(connect(&mut http2, "/no").await).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (403, "not you"));
    assert_eq!(answer.header("x-why"), "you");
    let answer = whole(connect(&mut http2, "/elsewhere").await)
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (302, "/ws")
    );
    // A success would be taken for an open tunnel, and so would a change of protocol that is not proven.
    for path in ["/plain", "/wrong", "/other"] {
        let answer = whole(connect(&mut http2, path).await).await.unwrap();
        assert_eq!(answer.status, 502, "{path}");
        let said = "The app sent an answer that cannot be passed on safely.";
        assert!(answer.text().contains(said), "{path}: {}", answer.text());
    }
    until("the claims are released", || target.in_flight() == 0).await;
    let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
    assert_eq!(answer.text(), "hello");
}

/// Over HTTP/1.1 the wish for another protocol may be ignored (RFC 9110, 7.8); a CONNECT can only be refused.
#[tokio::test]
async fn e2_a_folder_of_files_opens_no_websocket_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    static_site::write(folder.path(), "index.html", b"hello");
    let spec = static_site::spec("tasks.test", folder.path(), true);
    let rig = Rig::start(World::of([spec]));
    let mut http2 = connection(&rig).await;
    let answer = whole(connect(&mut http2, "/ws").await).await.unwrap();
    assert_eq!(answer.status, 501);
    assert!(answer.text().contains("folder of files"), "{answer:?}");
    let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
    let head = "GET / HTTP/1.1\r\nHost: tasks.test\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n";
    let answer = bytes(&rig, "tasks.test", head).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn e2_a_restart_closes_websockets_over_http2_before_their_connection() {
    let (app, _heads) = app().await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http2 = connection(&rig).await;
    let (_, mut whole) = open(&mut http2).await;
    // Half a frame has passed in this one; no close frame may be put into its middle.
    let (_, mut half) = open(&mut http2).await;
    half.write_all(b"\x82\x06half").await.unwrap();
    expect(&mut half, b"\x82\x06half").await;
    let (_, said, cut) = tokio::join!(
        rig.edge.drain(Duration::from_secs(10)),
        rest(&mut whole),
        rest(&mut half)
    );
    assert_eq!(said.unwrap(), RESTART);
    assert_eq!(cut.unwrap(), b"");
}

#[tokio::test]
async fn e2_a_target_that_is_cut_closes_its_websockets_over_http2_alone() {
    let (app, _heads) = app().await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut http2 = connection(&rig).await;
    let (_, mut stream) = open(&mut http2).await;
    target.retire();
    stream.write_all(b"\x81\x02hi").await.unwrap();
    expect(&mut stream, b"\x81\x02hi").await;
    target.cut();
    assert_eq!(rest(&mut stream).await.unwrap(), RESTART);
    within(PATIENCE, "drained", target.drained()).await;
    let next = crate::rig::target(app.address);
    rig.publish(World::of([route("tasks.test", &[&next])]));
    let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
    assert_eq!(answer.text(), "hello");
}

#[tokio::test]
async fn e2_a_quiet_websocket_keeps_its_http2_connection_past_the_idle_limit() {
    let (app, _heads) = app().await;
    let limits = freehold::proxy::Limits {
        client_header: Duration::from_secs(2),
        client_idle: Duration::from_secs(2),
        workers: Some(1),
        ..Default::default()
    };
    let world = World::of([route("tasks.test", &[&target(app.address)])]);
    let rig = Rig::with_limits(world, limits);
    let mut http2 = connection(&rig).await;
    let (_, mut stream) = open(&mut http2).await;
    // Three times both limits.
    tokio::time::sleep(Duration::from_secs(6)).await;
    stream.write_all(b"still").await.unwrap();
    expect(&mut stream, b"still").await;
    // Without it the connection ends, as it should.
    drop(stream);
    until("the connection ends", || rig.edge.stats().connections == 0).await;
}
