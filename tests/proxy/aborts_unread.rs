//! Clients that leave behind more than is read ahead of its use: the app takes nothing, or there is none to take it.
use std::future::poll_fn;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freehold::base::clock::UnixMs;
use freehold::proxy::{Limits, RouteSpec, Target, Upstream};
use http::{Method, Request};
use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, raw, read_head};
use crate::client::tls;
use crate::h2c;
use crate::rig::{Rig, World, h2c_target, route, target, until, within};
use crate::tunnels;

/// The limits that would end what is left behind are at 30 and 60 seconds.
const IN_TIME: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
/// What a side takes nothing in, is full.
const FULL: Duration = Duration::from_secs(1);
const LENGTH: usize = 10_000_000;

async fn post(rig: &Rig, https: bool, length: usize) -> Box<dyn Socket> {
    ask(
        rig,
        https,
        &format!("POST /deaf HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: {length}\r\n\r\n"),
    )
    .await
}

async fn ask(rig: &Rig, https: bool, head: &str) -> Box<dyn Socket> {
    let mut stream: Box<dyn Socket> = match https {
        true => Box::new(tls(rig, "tasks.test", "http/1.1").await.unwrap()),
        false => Box::new(TcpStream::connect(rig.http).await.unwrap()),
    };
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    fn socket(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Socket for tokio_rustls::client::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

fn resets(stream: Box<dyn Socket>) {
    set_socket_linger(stream.socket().as_fd(), Some(Duration::ZERO)).unwrap();
}

/// Sends of `LENGTH` bytes what is taken, and says how much that was.
async fn fill<S: AsyncWrite + Unpin + ?Sized>(stream: &mut S) -> usize {
    let piece = [b'x'; 10_000];
    let mut sent = 0;
    while sent < LENGTH {
        let next = piece.len().min(LENGTH - sent);
        match tokio::time::timeout(FULL, stream.write(&piece[..next])).await {
            Ok(count) => sent += count.unwrap(),
            Err(_) => break,
        }
    }
    sent
}

/// Reads heads alone, and keeps what it is sent on.
async fn deaf() -> App {
    raw(|mut stream, _| async move {
        read_head(&mut stream).await;
        std::future::pending().await
    })
    .await
}

fn paused() -> RouteSpec {
    let now = UnixMs::now();
    RouteSpec {
        upstream: Upstream::Paused {
            since: now,
            until: now.plus(Duration::from_secs(120)),
        },
        ..open_route(&[])
    }
}

fn held(rig: &Rig) -> u32 {
    let snapshot = rig.edge.snapshot();
    let route = snapshot.routes.find("tasks.test", "/").unwrap();
    route.gate().held()
}

/// As a client that speaks http is not sent to https.
fn open_route(targets: &[&Arc<Target>]) -> RouteSpec {
    RouteSpec {
        redirect_http: false,
        ..route("tasks.test", targets)
    }
}

async fn is_over(rig: &Rig, target: &Target, what: &str) {
    let over = until(what, || {
        target.in_flight() == 0 && rig.route_reading("tasks.test").in_flight == 0
    });
    within(IN_TIME, what, over).await;
}

#[tokio::test]
async fn e2_a_client_that_resets_an_upload_that_its_app_does_not_read_is_gone() {
    let app = deaf().await;
    let target = target(app.address);
    let rig = Rig::start(World::of([open_route(&[&target])]));
    for https in [true, false] {
        let what = format!("an upload, TLS {https}");
        let mut stream = post(&rig, https, LENGTH).await;
        fill(&mut stream).await;
        assert_eq!(target.in_flight(), 1, "{what}");
        resets(stream);
        is_over(&rig, &target, &what).await;
        // One that has ended, further ahead than the app's system takes it.
        let mut stream = post(&rig, https, LENGTH).await;
        stream.write_all(&vec![b'x'; 1_000_000]).await.unwrap();
        stream.flush().await.unwrap();
        until(&what, || target.in_flight() == 1).await;
        shutdown(stream.socket(), Shutdown::Write).unwrap();
        is_over(&rig, &target, &what).await;
    }
}

/// What comes behind a question for a tunnel is held until its answer tells what it is.
#[tokio::test]
async fn e2_a_client_that_has_asked_for_a_tunnel_and_leaves_behind_its_bytes_is_gone() {
    let app = deaf().await;
    let target = target(app.address);
    let rig = Rig::start(World::of([open_route(&[&target])]));
    let question = "GET /deaf HTTP/1.1\r\nHost: tasks.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    for https in [true, false] {
        // Read ahead to its end, and not.
        for (behind, reset) in [(20_000, false), (60_000, true)] {
            let what = format!("a question, {behind} behind it, TLS {https}");
            let mut stream = ask(&rig, https, question).await;
            stream.write_all(&vec![b'x'; behind]).await.unwrap();
            stream.flush().await.unwrap();
            until(&what, || target.in_flight() == 1).await;
            let mut rest = None;
            if reset {
                tokio::time::sleep(Duration::from_millis(100)).await;
                resets(stream);
            } else {
                shutdown(stream.socket(), Shutdown::Write).unwrap();
                rest = Some(stream);
            }
            is_over(&rig, &target, &what).await;
            drop(rest);
        }
    }
}

/// One that waits is not taken for one that has left, however often it is looked at.
#[tokio::test]
async fn e2_a_client_that_waits_for_a_slow_reader_of_its_upload_gets_its_answer() {
    let app = raw(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let mut body = vec![0; LENGTH];
            stream.read_exact(&mut body).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let rig = Rig::start(World::of([open_route(&[&target(app.address)])]));
    for https in [true, false] {
        let mut stream = post(&rig, https, LENGTH).await;
        let body = vec![b'x'; LENGTH];
        let sending = async {
            stream.write_all(&body).await?;
            stream.flush().await
        };
        within(PATIENCE, "all is taken", sending).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"all") {
            let mut bytes = [0; 1_024];
            let read = within(PATIENCE, "the answer", stream.read(&mut bytes)).await;
            let read = read.unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&bytes[..read]);
        }
        assert!(said.starts_with(b"HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn e2_a_client_that_resets_an_upload_to_an_h2c_app_that_reads_nothing_is_gone() {
    let (app, mut heard) = h2c::listening().await;
    let target = h2c_target(app.address);
    let rig = Rig::start(World::of([open_route(&[&target])]));
    for https in [true, false] {
        let what = format!("an upload to an h2c app, TLS {https}");
        let mut stream = post(&rig, https, LENGTH).await;
        fill(&mut stream).await;
        assert_eq!(within(PATIENCE, &what, heard.recv()).await, Some("came"));
        resets(stream);
        assert_eq!(within(IN_TIME, &what, heard.recv()).await, Some("gone"));
        is_over(&rig, &target, &what).await;
    }
}

#[tokio::test]
async fn e2_a_held_client_that_leaves_behind_a_body_that_nobody_reads_reaches_no_app() {
    let app = crate::app::app("one").await;
    let rig = Rig::start(World::of([paused()]));
    for https in [true, false] {
        // A whole body and a part of one, and both so short that the end fits into the system's buffer behind them.
        for (length, sent, reset) in [
            (100_000, 100_000, true),
            (1_000_000, 100_000, true),
            (45_000, 45_000, false),
            (1_000_000, 45_000, false),
            // Behind what the system has room for.
            (1_000_000, 1_000_000, false),
            (10_000_000, 1_000_000, false),
        ] {
            let what = format!("TLS {https}, {sent} of {length}, reset {reset}");
            let mut stream = post(&rig, https, length).await;
            let body = vec![b'x'; sent];
            within(PATIENCE, &what, stream.write_all(&body))
                .await
                .unwrap();
            within(PATIENCE, &what, stream.flush()).await.unwrap();
            until(&what, || held(&rig) == 1).await;
            let mut rest = None;
            if reset {
                resets(stream);
            } else {
                // What the system of a client says that is killed.
                shutdown(stream.socket(), Shutdown::Write).unwrap();
                rest = Some(stream);
            }
            within(IN_TIME, &what, until(&what, || held(&rig) == 0)).await;
            drop(rest);
        }
    }
    rig.publish(World::of([open_route(&[&target(app.address)])]));
    let stays = crate::client::fetch(&rig, "https://tasks.test/").await;
    assert_eq!((stays.status.as_u16(), app.requests()), (200, 1));
}

#[tokio::test]
async fn e4_what_is_read_far_ahead_of_held_clients_is_bounded_for_all_together() {
    const CLIENTS: usize = 100;
    let limits = Limits {
        workers: Some(1),
        held_for: Duration::from_secs(120),
        new_connections_per_address: u32::MAX,
        ..Limits::default()
    };
    let rig = Rig::with_limits(World::of([paused()]), limits);
    let narrow = async || {
        let stream = post(&rig, false, LENGTH).await;
        set_socket_send_buffer_size(stream.socket(), 4_096).unwrap();
        stream
    };
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(narrow().await);
    }
    let filling = clients.iter_mut().map(fill);
    let sent: usize = futures_util::future::join_all(filling).await.iter().sum();
    // What the systems of both sides hold counts as well: half a megabyte each.
    assert!(sent < CLIENTS * 900_000, "{sent}");
    until("all are held", || held(&rig) == CLIENTS as u32).await;
    clients.into_iter().for_each(resets);
    until("nobody is held", || held(&rig) == 0).await;
    // And it is given back.
    let mut alone = narrow().await;
    let body = vec![b'x'; 1_000_000];
    let sending = alone.write_all(&body);
    within(PATIENCE, "room for one", sending).await.unwrap();
}

#[tokio::test]
async fn e2_a_client_that_leaves_a_tunnel_whose_app_takes_nothing_is_gone() {
    let app = tunnels::app_that_counts(Arc::default()).await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut stream = tunnels::open_http1(&rig, "/deaf").await;
    fill(&mut stream).await;
    assert_eq!(target.in_flight(), 1);
    resets(Box::new(stream));
    is_over(&rig, &target, "a tunnel of HTTP/1.1").await;
    // One that had said goodbye before.
    let mut stream = tunnels::open_http1(&rig, "/stays").await;
    stream.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(target.in_flight(), 1);
    resets(Box::new(stream));
    is_over(&rig, &target, "a tunnel of HTTP/1.1 that was half over").await;
    let (mut stream, connection) = tunnels::open(&rig, true, "/deaf").await;
    fill(&mut stream).await;
    assert_eq!(target.in_flight(), 1);
    let (_http2, socket) = connection.unwrap();
    shutdown(socket, Shutdown::Both).unwrap();
    is_over(&rig, &target, "a tunnel of HTTP/2 whose connection ends").await;
    let mut stream = open_stream(&rig).await;
    loop {
        stream.reserve_capacity(10_000);
        let room = poll_fn(|cx| stream.poll_capacity(cx));
        let Ok(room) = tokio::time::timeout(FULL, room).await else {
            break;
        };
        let piece = vec![b'x'; room.unwrap().unwrap()];
        stream.send_data(piece.into(), false).unwrap();
    }
    assert_eq!(target.in_flight(), 1);
    stream.send_reset(h2::Reason::CANCEL);
    is_over(&rig, &target, "a tunnel of HTTP/2 that is reset").await;
}

/// A WebSocket over HTTP/2 whose stream can be reset: hyper's waits for room first.
async fn open_stream(rig: &Rig) -> h2::SendStream<Bytes> {
    let stream = tls(rig, "tasks.test", "h2").await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    until("WebSockets are allowed", || {
        sender.is_extended_connect_protocol_enabled()
    })
    .await;
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "https://tasks.test/deaf".parse().unwrap();
    let websocket = h2::ext::Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    let mut sender = sender.ready().await.unwrap();
    let (response, stream) = sender.send_request(request, false).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    stream
}

/// Ending its side of a tunnel is no leave: what the app takes late is taken, and the answer arrives.
#[tokio::test]
async fn e2_a_tunnel_whose_client_has_ended_its_side_waits_for_an_app_that_takes_late() {
    let app = tunnels::app_that_counts(Arc::default()).await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut stream = tunnels::open_http1(&rig, "/late").await;
    let (mut reads, mut writes) = tokio::io::split(&mut stream);
    let writing = async {
        writes.write_all(&vec![b'x'; LENGTH]).await.unwrap();
        writes.flush().await.unwrap();
        writes.shutdown().await.unwrap();
    };
    let mut said = Vec::new();
    let both = async { tokio::join!(writing, reads.read_to_end(&mut said)).1 };
    within(PATIENCE, "its end", both).await.unwrap();
    assert_eq!(said, LENGTH.to_string().as_bytes());
}
