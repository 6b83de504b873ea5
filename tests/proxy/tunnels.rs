//! Tunnels of both protocols that are over though nobody ends them, and those that only look so.
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use freehold::proxy::Limits;
use http::{Method, Request};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::app::{App, raw, read_head};
use crate::client::{Http2, empty, get, tls};
use crate::rig::{Rig, World, route, target, until, within};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long a tunnel may stand still in these tests.
const STILL: Duration = Duration::from_secs(2);

pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A WebSocket of either protocol; the HTTP/2 connection comes along.
pub async fn open(rig: &Rig, http2: bool, path: &str) -> (Box<dyn Io>, Option<(Http2, OwnedFd)>) {
    if http2 {
        let (mut http2, socket) = Http2::with_socket(rig, "tasks.test").await;
        // By its answer the client knows that it may ask for WebSockets.
        let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
        assert_eq!(answer.status, 204);
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("https://tasks.test{path}"))
            .extension(Protocol::from_static("websocket"))
            .body(empty())
            .unwrap();
        let response = http2.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let stream = hyper::upgrade::on(response).await.unwrap();
        return (Box::new(TokioIo::new(stream)), Some((http2, socket)));
    }
    (Box::new(open_http1(rig, path).await), None)
}

/// The same over HTTP/1.1, with its socket.
pub async fn open_http1(rig: &Rig, path: &str) -> TlsStream<TcpStream> {
    let mut stream = tls(rig, "tasks.test", "http/1.1").await.unwrap();
    let ask = format!(
        "GET {path} HTTP/1.1\r\nHost: tasks.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

/// Opens a tunnel where it is asked for one, and does there what the path says.
async fn app() -> App {
    app_that_counts(Arc::default()).await
}

/// The same; counts the tunnels that it is through with.
pub async fn app_that_counts(ended: Arc<AtomicUsize>) -> App {
    raw(move |mut stream: TcpStream, _| { let ended = ended.clone(); async move {
        while let Some(head) = read_head(&mut stream).await {
            let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
            let Some(key) = key else {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                continue;
            };
            let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
            let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
            let answer = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            treat(head.split(' ').nth(1).unwrap(), stream).await;
            ended.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }})
    .await
}

async fn treat(path: &str, mut stream: TcpStream) {
    let mut buffer = [0; 4_096];
    match path {
        // Writes for ever.
        "/flood" => while stream.write_all(&[0; 16_384]).await.is_ok() {},
        // Reads nothing, says nothing, stays.
        "/deaf" => std::future::pending().await,
        // Reads nothing for a while, then all, and says how much that was.
        "/late" => {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let mut sum = 0;
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                sum += count;
            }
            stream.write_all(sum.to_string().as_bytes()).await.unwrap();
        }
        // Reads to the end and stays.
        "/stays" => {
            while let Ok(1..) = stream.read(&mut buffer).await {}
            std::future::pending().await
        }
        // Reads to the end, then goes on saying something for a while.
        "/talks" => {
            while let Ok(1..) = stream.read(&mut buffer).await {}
            for _ in 0..8 {
                tokio::time::sleep(STILL / 4).await;
                stream.write_all(b"a").await.unwrap();
            }
        }
        // Says goodbye at once, and reads on.
        "/leaves" => {
            stream.shutdown().await.unwrap();
            while let Ok(1..) = stream.read(&mut buffer).await {}
        }
        // Reads to the end and goes.
        "/reads" => while let Ok(1..) = stream.read(&mut buffer).await {},
        other => panic!("{other}"),
    }
}

async fn rig(app: &App) -> (Rig, Arc<freehold::proxy::Target>) {
    let target = target(app.address);
    let limits = Limits {
        client_idle: STILL,
        workers: Some(1),
        ..Limits::default()
    };
    let world = World::of([route("tasks.test", &[&target])]);
    (Rig::with_limits(world, limits), target)
}

#[tokio::test]
async fn e2_a_tunnel_whose_client_takes_nothing_ends() {
    let app = app().await;
    let (rig, target) = rig(&app).await;
    for http2 in [false, true] {
        let (_stream, _connection) = open(&rig, http2, "/flood").await;
        assert_eq!(target.in_flight(), 1);
        until("the tunnel ends", || target.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn e2_a_tunnel_whose_app_takes_nothing_ends() {
    let app = app().await;
    let (rig, target) = rig(&app).await;
    for http2 in [false, true] {
        let (mut stream, _connection) = open(&rig, http2, "/deaf").await;
        let flood = async { while stream.write_all(&[0; 16_384]).await.is_ok() {} };
        let ended = until("the tunnel ends", || target.in_flight() == 0);
        tokio::select! {
            () = ended => {}
            // Its client may hear of it before we do.
            () = flood => until("the tunnel ends", || target.in_flight() == 0).await,
        }
    }
}

#[tokio::test]
async fn e2_a_tunnel_that_one_side_has_left_ends_when_the_other_is_silent() {
    let app = app().await;
    let (rig, target) = rig(&app).await;
    for (path, http2) in [
        ("/stays", false),
        ("/stays", true),
        ("/leaves", false),
        ("/leaves", true),
    ] {
        // The app's goodbye may be there long before its client has woken up.
        let mut begun = Instant::now();
        let (mut stream, _connection) = open(&rig, http2, path).await;
        if path == "/stays" {
            begun = Instant::now();
            stream.shutdown().await.unwrap();
        }
        until("the tunnel ends", || target.in_flight() == 0).await;
        let after = begun.elapsed();
        assert!(after > STILL * 9 / 10, "{path}, {http2}: after {after:?}");
    }
}

#[tokio::test]
async fn e2_a_tunnel_that_one_side_has_left_goes_on_while_the_other_speaks() {
    let app = app().await;
    let (rig, target) = rig(&app).await;
    for http2 in [false, true] {
        // The app goes on, for twice the limit.
        let (mut stream, _connection) = open(&rig, http2, "/talks").await;
        stream.shutdown().await.unwrap();
        let mut said = Vec::new();
        within(PATIENCE, "its end", stream.read_to_end(&mut said))
            .await
            .unwrap();
        assert_eq!(said, b"aaaaaaaa", "{http2}");
        until("the tunnel ends", || target.in_flight() == 0).await;
        // And the client.
        let (mut stream, _connection) = open(&rig, http2, "/leaves").await;
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        for _ in 0..8 {
            tokio::time::sleep(STILL / 4).await;
            assert_eq!(target.in_flight(), 1, "{http2}");
            stream.write_all(b"b").await.unwrap();
            stream.flush().await.unwrap();
        }
        stream.shutdown().await.unwrap();
        until("the tunnel ends", || target.in_flight() == 0).await;
        let reading = rig.route_reading("tasks.test");
        let moved = 8 * (1 + u64::from(http2));
        assert_eq!((reading.bytes_in, reading.bytes_out), (moved, moved));
    }
}
