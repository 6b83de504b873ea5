//! Clients that leave: within a second nobody works for them any more, whatever their request was doing.
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use freehold::base::clock::UnixMs;
use freehold::proxy::{RouteSpec, Target, Upstream};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::app::{App, raw, read_head, refusing};
use crate::client::{Http2, empty, tls};
use crate::rig::{Rig, World, route, target, until, within};
use crate::tunnels;

/// The limits that would end what is left behind are at 60 seconds.
const PATIENCE: Duration = Duration::from_secs(40);
/// What the promise allows.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How often somebody leaves, at most, until it is kept: a busy machine is late now and then, what is held back each time.
const TIMES: usize = 5;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaves {
    /// HTTP/1.1: its connection ends.
    End,
    /// HTTP/1.1: its connection is reset.
    Reset,
    /// HTTP/2: its stream is reset, the connection stays.
    Stream,
    /// HTTP/2: its connection ends.
    Connection,
}

const LEAVES: [Leaves; 4] = [
    Leaves::End,
    Leaves::Reset,
    Leaves::Stream,
    Leaves::Connection,
];

/// What a client had sent before it left.
struct Sent {
    path: &'static str,
    /// Of this length and of these bytes, if it has a body.
    body: Option<(usize, usize)>,
    /// Behind the request, over HTTP/1.1.
    behind: &'static str,
}

impl Sent {
    const fn get(path: &'static str) -> Sent {
        Sent {
            path,
            body: None,
            behind: "",
        }
    }
}

/// Says `came` with a request and `gone` when its connection ends; what lies between is said by the path.
async fn app() -> (App, UnboundedReceiver<&'static str>) {
    let (saying, heard) = unbounded_channel();
    let app = raw(move |stream, _| treat(stream, saying.clone())).await;
    (app, heard)
}

async fn treat(mut stream: TcpStream, saying: UnboundedSender<&'static str>) {
    let Some(head) = read_head(&mut stream).await else {
        return;
    };
    let streams = head.contains(" /streams ");
    if streams {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
    }
    saying.send("came").unwrap();
    let mut bytes = [0; 16_384];
    loop {
        let pause = tokio::time::sleep(Duration::from_millis(20));
        tokio::select! {
            read = stream.read(&mut bytes) => {
                if !matches!(read, Ok(1..)) {
                    break;
                }
            }
            () = pause, if streams => {
                if stream.write_all(b"5\r\npiece\r\n").await.is_err() {
                    break;
                }
            }
        }
    }
    saying.send("gone").unwrap();
}

/// A client that has asked, and leaves when it is told to.
enum Client {
    Http1(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Http2 {
        asking: tokio::task::JoinHandle<()>,
        socket: OwnedFd,
        // Keeps the connection while a stream goes.
        sender: Http2,
    },
}

impl Client {
    async fn ask(rig: &Rig, sent: &Sent, leaves: Leaves) -> Client {
        match leaves {
            Leaves::End | Leaves::Reset => {
                let mut stream = tls(rig, "tasks.test", "http/1.1").await.unwrap();
                let (method, length) = match sent.body {
                    Some((length, _)) => ("POST", format!("Content-Length: {length}\r\n")),
                    None => ("GET", String::new()),
                };
                let head = format!(
                    "{method} {} HTTP/1.1\r\nHost: tasks.test\r\n{length}\r\n",
                    sent.path
                );
                let body = vec![b'x'; sent.body.map_or(0, |(_, bytes)| bytes)];
                let bytes = [head.as_bytes(), &body, sent.behind.as_bytes()].concat();
                stream.write_all(&bytes).await.unwrap();
                stream.flush().await.unwrap();
                Client::Http1(Box::new(stream))
            }
            Leaves::Stream | Leaves::Connection => {
                let (sender, socket) = Http2::with_socket(rig, "tasks.test").await;
                let uri = format!("https://tasks.test{}", sent.path);
                let request = match sent.body {
                    None => Request::get(uri).body(empty()).unwrap(),
                    Some((length, bytes)) => {
                        let piece = Ok(Frame::data(Bytes::from(vec![b'x'; bytes])));
                        let mut frames = Some(piece);
                        // What is missing never comes.
                        let whole = bytes == length;
                        let frames = futures_util::stream::poll_fn(move |_| match frames.take() {
                            None if !whole => std::task::Poll::Pending,
                            frame => std::task::Poll::Ready(frame),
                        });
                        Request::post(uri)
                            .header("content-length", length)
                            .body(BodyExt::boxed(StreamBody::new(frames)))
                            .unwrap()
                    }
                };
                let mut asks = sender.clone();
                Client::Http2 {
                    asking: tokio::spawn(async move { drop(asks.ask(request).await) }),
                    socket,
                    sender,
                }
            }
        }
    }

    /// Leaves, and takes along what has to live until the look at what came of it is over.
    fn leave(self, leaves: Leaves) -> Option<Http2> {
        match self {
            Client::Http1(stream) => {
                if leaves == Leaves::Reset {
                    set_socket_linger(stream.get_ref().0, Some(Duration::ZERO)).unwrap();
                }
                None
            }
            Client::Http2 {
                asking,
                socket,
                sender,
            } => {
                if leaves == Leaves::Connection {
                    shutdown(&socket, Shutdown::Both).unwrap();
                } else {
                    asking.abort();
                }
                Some(sender)
            }
        }
    }
}

/// Nobody works for the request any more.
async fn is_over(rig: &Rig, target: &Target, what: &str) {
    until(what, || {
        target.in_flight() == 0 && rig.route_reading("tasks.test").in_flight == 0
    })
    .await;
}

/// Has somebody leave until all was over in time; `leaves` says how long that took.
async fn at_once(what: &str, mut leaves: impl AsyncFnMut() -> Duration) {
    let mut late = Vec::new();
    for _ in 0..TIMES {
        let took = leaves().await;
        println!("{what}: {took:?}");
        if took < AT_ONCE {
            return;
        }
        late.push(took);
    }
    panic!("{what}: {late:?}");
}

async fn leaves_and_is_gone(sent: Sent) {
    let (app, mut heard) = app().await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    for leaves in LEAVES {
        let what = format!("{} {:?} {leaves:?}", sent.path, sent.body);
        at_once(&what, async || {
            let client = Client::ask(&rig, &sent, leaves).await;
            let came = within(PATIENCE, &what, heard.recv()).await;
            assert_eq!(came, Some("came"), "{what}");
            // What has been said on both sides by now is on its way.
            tokio::time::sleep(Duration::from_millis(150)).await;
            assert_eq!(target.in_flight(), 1, "{what}");
            let left = Instant::now();
            let _rest = client.leave(leaves);
            let gone = within(PATIENCE, &what, heard.recv()).await;
            assert_eq!(gone, Some("gone"), "{what}");
            is_over(&rig, &target, &what).await;
            left.elapsed()
        })
        .await;
    }
}

#[tokio::test]
async fn e2_a_client_that_leaves_while_the_app_thinks_is_gone_at_once() {
    leaves_and_is_gone(Sent::get("/thinks")).await;
}

#[tokio::test]
async fn e2_a_client_that_leaves_while_the_answer_streams_is_gone_at_once() {
    leaves_and_is_gone(Sent::get("/streams")).await;
}

#[tokio::test]
async fn e2_a_client_that_leaves_inside_its_body_is_gone_at_once() {
    leaves_and_is_gone(Sent {
        body: Some((10_000_000, 300_000)),
        ..Sent::get("/takes")
    })
    .await;
}

#[tokio::test]
async fn e2_a_client_that_leaves_after_its_body_is_gone_at_once() {
    leaves_and_is_gone(Sent {
        body: Some((5, 5)),
        ..Sent::get("/thinks")
    })
    .await;
}

#[tokio::test]
async fn e2_a_client_that_leaves_with_another_request_behind_is_gone_at_once() {
    for path in ["/thinks", "/streams"] {
        leaves_and_is_gone(Sent {
            behind: "GET /next HTTP/1.1\r\nHost: tasks.test\r\n\r\n",
            ..Sent::get(path)
        })
        .await;
    }
    // And one that stays gets both answers.
    let app = crate::app::app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    let one = "POST /slow?ms=300 HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 5\r\n\r\nhello";
    let next = format!(
        "POST /count HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\nContent-Length: 70000\r\n\r\n{}",
        "x".repeat(70_000)
    );
    // Its parts come one by one, and more than is read ahead.
    for piece in [
        one.as_bytes(),
        &next.as_bytes()[..3_000],
        &next.as_bytes()[3_000..],
    ] {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut said = String::new();
    drop(within(PATIENCE, "both answers", stream.read_to_string(&mut said)).await);
    assert!(said.contains("\r\n\r\nslow\n"), "{said}");
    assert!(said.ends_with("70000 {}"), "{said}");
}

#[tokio::test]
async fn e2_a_client_that_leaves_while_it_is_held_never_reaches_the_app() {
    let app = crate::app::app("one").await;
    let now = UnixMs::now();
    let paused = || RouteSpec {
        upstream: Upstream::Paused {
            since: now,
            until: now.plus(Duration::from_secs(120)),
        },
        ..route("tasks.test", &[])
    };
    let rig = Rig::start(World::of([paused()]));
    let held = |rig: &Rig| {
        let snapshot = rig.edge.snapshot();
        let route = snapshot.routes.find("tasks.test", "/").unwrap();
        route.gate().held()
    };
    let next = "GET /next HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
    // Without a body, with a whole one, with one that was on its way, and with another request behind.
    for (body, behind) in [
        (None, ""),
        (Some((5, 5)), ""),
        (Some((1_000_000, 9_000)), ""),
        (None, next),
        (Some((5, 5)), next),
    ] {
        for leaves in LEAVES {
            let what = format!("held {body:?} {behind:?} {leaves:?}");
            let sent = Sent {
                path: "/",
                body,
                behind,
            };
            at_once(&what, async || {
                let client = Client::ask(&rig, &sent, leaves).await;
                until(&what, || held(&rig) == 1).await;
                // What was sent is there by now.
                tokio::time::sleep(Duration::from_millis(100)).await;
                let left = Instant::now();
                let _rest = client.leave(leaves);
                until(&what, || held(&rig) == 0).await;
                left.elapsed()
            })
            .await;
        }
    }
    rig.publish(World::of([route("tasks.test", &[&target(app.address)])]));
    let stays = crate::client::fetch(&rig, "https://tasks.test/").await;
    assert_eq!((stays.status.as_u16(), app.requests()), (200, 1));
}

/// The same with targets that cannot be reached, which are tried again and again.
#[tokio::test]
async fn e2_a_client_that_leaves_while_no_target_answers_is_let_go_of() {
    let (_nobody, address) = refusing();
    let target = target(address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    for body in [None, Some((5, 5))] {
        for leaves in LEAVES {
            let what = format!("unreachable {body:?} {leaves:?}");
            let sent = Sent {
                body,
                ..Sent::get("/")
            };
            at_once(&what, async || {
                let client = Client::ask(&rig, &sent, leaves).await;
                until(&what, || rig.route_reading("tasks.test").in_flight == 1).await;
                tokio::time::sleep(Duration::from_millis(400)).await;
                let left = Instant::now();
                let _rest = client.leave(leaves);
                is_over(&rig, &target, &what).await;
                left.elapsed()
            })
            .await;
        }
    }
}

#[tokio::test]
async fn e2_a_client_that_leaves_its_tunnel_is_gone_at_once() {
    let ended = Arc::new(AtomicUsize::new(0));
    let app = tunnels::app_that_counts(ended.clone()).await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let leaves = [Leaves::End, Leaves::Stream, Leaves::Connection];
    // An app that stays all the same keeps nothing of it.
    for (path, leaves) in [("/reads", leaves), ("/stays", leaves)]
        .into_iter()
        .flat_map(|(path, leaves)| leaves.map(|leaves| (path, leaves)))
    {
        let what = format!("a tunnel to {path}, {leaves:?}");
        at_once(&what, async || {
            let ends = ended.load(Ordering::SeqCst) + usize::from(path == "/reads");
            let http2 = leaves != Leaves::End;
            let (stream, connection) = tunnels::open(&rig, http2, path).await;
            assert_eq!(target.in_flight(), 1);
            let left = Instant::now();
            match (&connection, leaves) {
                (Some((_, socket)), Leaves::Connection) => {
                    shutdown(socket, Shutdown::Both).unwrap()
                }
                _ => drop(stream),
            }
            until(&what, || ended.load(Ordering::SeqCst) == ends).await;
            is_over(&rig, &target, &what).await;
            left.elapsed()
        })
        .await;
    }
    // Nor when the client had said goodbye before.
    let what = "a stream that ended and was reset";
    at_once(what, async || {
        let (mut stream, _connection) = tunnels::open(&rig, true, "/stays").await;
        stream.shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(target.in_flight(), 1);
        let left = Instant::now();
        drop(stream);
        is_over(&rig, &target, what).await;
        left.elapsed()
    })
    .await;
}
