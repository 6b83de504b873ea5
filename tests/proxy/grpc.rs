//! gRPC through the edge, with tonic at both ends: the four kinds of calls, deadlines, ends from either side, and what the
//! edge says itself.
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use freehold::proxy::Limits;
use futures_util::{Stream, StreamExt};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::app::{app, refusing};
use crate::client::tls;
use crate::rig::{Rig, World, h2c_target, route, until, within};

/// Less than the limits of a minute, which would end what hangs.
const PATIENCE: Duration = Duration::from_secs(40);
/// What the promise allows for the end of a call …
const AT_ONCE: Duration = Duration::from_secs(1);
/// … which is looked for so often at most: a busy machine is late now and then, and what is held back is so each time.
const TIMES: usize = 5;

/// Messages are their bytes.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

type Messages = std::pin::Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

/// Tells that a call is over, however it ended.
struct Told(mpsc::UnboundedSender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send("over").ok();
    }
}

struct Server {
    address: SocketAddr,
    /// A word for each call that began, and one when it was over.
    heard: mpsc::UnboundedReceiver<&'static str>,
}

async fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (saying, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let saying = saying.clone();
            let service = service_fn(move |request| serve(request, saying.clone()));
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    Server { address, heard }
}

async fn serve(
    request: http::Request<Incoming>,
    saying: mpsc::UnboundedSender<&'static str>,
) -> Result<http::Response<tonic::body::Body>, Infallible> {
    saying.send("began").unwrap();
    let told = Told(saying);
    let mut grpc = tonic::server::Grpc::new(Plain);
    let answer = match request.uri().path() {
        // Echoes; `fail` fails at once, `sleep` never answers.
        "/test.Echo/Unary" => {
            let told = Arc::new(told);
            let call = tower::service_fn(move |request: Request<Vec<u8>>| {
                let told = told.clone();
                async move {
                    let _told = told;
                    match &request.get_ref()[..] {
                        b"fail" => return Err(Status::failed_precondition("not now, 100 % sure")),
                        b"sleep" => std::future::pending().await,
                        _ => {}
                    }
                    let mut answer = Response::new(request.get_ref().clone());
                    if let Some(value) = request.metadata().get("x-own") {
                        answer.metadata_mut().insert("x-own", value.clone());
                    }
                    Ok(answer)
                }
            });
            grpc.unary(call, request).await
        }
        // All that came, in one.
        "/test.Echo/Collect" => {
            let call = tower::service_fn(|request: Request<Streaming<Vec<u8>>>| async move {
                let mut all = Vec::new();
                let mut messages = request.into_inner();
                while let Some(message) = messages.next().await {
                    all.extend(message?);
                }
                Ok::<_, Status>(Response::new(all))
            });
            grpc.client_streaming(call, request).await
        }
        // As many messages as asked for, of as many bytes; then an error in the trailers if there were 7.
        "/test.Echo/Count" => {
            let told = Arc::new(told);
            let call = tower::service_fn(move |request: Request<Vec<u8>>| {
                let told = told.clone();
                async move {
                    let count: usize = String::from_utf8_lossy(request.get_ref()).parse().unwrap();
                    let messages = futures_util::stream::iter(0..count).map(move |n| {
                        let _told = &told;
                        Ok(vec![b'x'; n])
                    });
                    let end = futures_util::stream::iter(
                        (count == 7).then(|| Err(Status::data_loss("seven"))),
                    );
                    Ok::<_, Status>(Response::new(Box::pin(messages.chain(end)) as Messages))
                }
            });
            grpc.server_streaming(call, request).await
        }
        // Echoes as it comes. Says nothing, not even a head, before the first message; `end` ends it.
        "/test.Echo/Chat" => {
            let told = Arc::new(told);
            let call = tower::service_fn(move |request: Request<Streaming<Vec<u8>>>| {
                let told = told.clone();
                async move {
                    let mut messages = request.into_inner();
                    let first = messages.next().await;
                    let messages = futures_util::stream::iter(first).chain(messages);
                    let echo = messages.map(move |message| {
                        let _told = &told;
                        match message {
                            Ok(message) if message == b"end" => Err(Status::aborted("enough")),
                            other => other,
                        }
                    });
                    Ok::<_, Status>(Response::new(Box::pin(echo) as Messages))
                }
            });
            grpc.streaming(call, request).await
        }
        _ => Status::unimplemented("no such method").into_http(),
    };
    Ok(answer)
}

/// A client whose connection is verified TLS to the edge.
async fn client(rig: &Rig) -> tonic::client::Grpc<Channel> {
    let stream = tls(rig, "tasks.test", "h2").await.unwrap();
    let stream = std::sync::Mutex::new(Some(stream));
    let connect = tower::service_fn(move |_: http::Uri| {
        let stream = stream.lock().unwrap().take();
        async move {
            stream
                .map(TokioIo::new)
                .ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected))
        }
    });
    let channel = Endpoint::from_static("http://tasks.test")
        .origin("https://tasks.test".parse().unwrap())
        .connect_with_connector(connect)
        .await
        .unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    client
}

fn method(name: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(name)
}

fn world(server: &Server) -> World {
    World::of([route("tasks.test", &[&h2c_target(server.address)])])
}

/// Half of the silences here, and longer than a busy machine keeps the next request or an answer waiting.
fn short() -> Limits {
    Limits {
        workers: Some(1),
        client_idle: Duration::from_millis(1_500),
        upstream_answer: Duration::from_millis(1_500),
        held_for: Duration::from_millis(1_500),
        ..Limits::default()
    }
}

async fn unary(
    client: &mut tonic::client::Grpc<Channel>,
    message: &[u8],
) -> Result<Vec<u8>, Status> {
    client.ready().await.unwrap();
    let request = Request::new(message.to_vec());
    let answer = client.unary(request, method("/test.Echo/Unary"), Plain);
    Ok(within(PATIENCE, "an answer", answer).await?.into_inner())
}

#[tokio::test]
async fn e2_grpc_unary_calls_pass_with_their_metadata_and_their_errors() {
    let server = server().await;
    let rig = Rig::start(world(&server));
    let mut client = client(&rig).await;
    assert_eq!(unary(&mut client, b"hello").await.unwrap(), b"hello");
    let large = vec![7; 3_000_000];
    assert!(unary(&mut client, &large).await.unwrap() == large);
    client.ready().await.unwrap();
    let mut request = Request::new(b"x".to_vec());
    request.metadata_mut().insert("x-own", "1".parse().unwrap());
    let answer = client
        .unary(request, method("/test.Echo/Unary"), Plain)
        .await;
    assert_eq!(answer.unwrap().metadata().get("x-own").unwrap(), "1");
    // An answer of trailers only.
    let status = unary(&mut client, b"fail").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "not now, 100 % sure");
    let reading = rig.route_reading("tasks.test");
    assert_eq!(reading.failures, 0);
}

#[tokio::test]
async fn e2_grpc_streams_pass_one_way_each() {
    let server = server().await;
    let rig = Rig::start(world(&server));
    let mut client = client(&rig).await;
    let pieces: Vec<Vec<u8>> = (0..500).map(|n| vec![n as u8; 1_000]).collect();
    let messages = futures_util::stream::iter(pieces.clone());
    let answer = client
        .client_streaming(Request::new(messages), method("/test.Echo/Collect"), Plain)
        .await
        .unwrap();
    assert!(answer.into_inner() == pieces.concat());
    for (count, code) in [("2000", None), ("0", None), ("7", Some(Code::DataLoss))] {
        client.ready().await.unwrap();
        let mut messages = client
            .server_streaming(
                Request::new(count.into()),
                method("/test.Echo/Count"),
                Plain,
            )
            .await
            .unwrap()
            .into_inner();
        let mut n = 0;
        let end = loop {
            match within(PATIENCE, "a message", messages.message()).await {
                Ok(Some(message)) => assert_eq!(message.len(), n),
                Ok(None) => break None,
                Err(status) => break Some(status.code()),
            }
            n += 1;
        };
        assert_eq!((n.to_string().as_str(), end), (count, code));
    }
}

/// The time limits are shorter than the silences here; a call that is no gRPC ends by them (see `h2c`).
#[tokio::test]
async fn e2_a_grpc_chat_goes_both_ways_and_may_be_silent_for_longer_than_any_limit() {
    let server = server().await;
    let rig = Rig::with_limits(world(&server), short());
    let mut client = client(&rig).await;
    let (saying, said) = mpsc::unbounded_channel();
    let request = Request::new(UnboundedReceiverStream::new(said));
    let late = saying.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        late.send(b"first".to_vec()).unwrap();
    });
    let begun = Instant::now();
    let chat = client.streaming(request, method("/test.Echo/Chat"), Plain);
    let mut chat = within(PATIENCE, "a head", chat).await.unwrap().into_inner();
    assert!(begun.elapsed() > Duration::from_millis(2_900));
    let message = within(PATIENCE, "the first", chat.message()).await;
    assert_eq!(message.unwrap().unwrap(), b"first");
    for n in 0..3u8 {
        saying.send(vec![n]).unwrap();
        let message = within(PATIENCE, "an echo", chat.message()).await;
        assert_eq!(message.unwrap().unwrap(), [n]);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    saying.send(b"end".to_vec()).unwrap();
    let status = within(PATIENCE, "the end", chat.message())
        .await
        .unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "enough"));
}

/// A call that is quiet both ways: before its answer began, after it, and one in which something passes now and then.
/// `client_idle` sixty times over is two seconds and a half here.
#[tokio::test]
async fn e4_a_grpc_call_whose_request_is_open_may_be_quiet_for_sixty_times_the_idle_limit() {
    let mut server = server().await;
    let limits = Limits {
        client_idle: Duration::from_millis(42),
        ..short()
    };
    let rig = Rig::with_limits(world(&server), limits);
    let open = async |first: Option<&[u8]>| {
        let (saying, said) = mpsc::unbounded_channel();
        if let Some(first) = first {
            saying.send(first.to_vec()).unwrap();
        }
        let request = Request::new(UnboundedReceiverStream::new(said));
        let mut client = client(&rig).await;
        let chat = client.streaming(request, method("/test.Echo/Chat"), Plain);
        let chat = within(PATIENCE, "a head", chat).await?.into_inner();
        Ok::<_, Status>((saying, chat, client))
    };
    let began = Instant::now();
    let unanswered = async {
        let status = open(None).await.err().unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(began.elapsed() > Duration::from_secs(2));
    };
    let answered = async {
        let (_saying, mut chat, _client) = open(Some(b"hello")).await.unwrap();
        assert!(chat.message().await.unwrap().is_some());
        let end = within(PATIENCE, "its end", chat.message()).await;
        assert!(end.is_err(), "{end:?}");
        assert!(began.elapsed() > Duration::from_secs(2));
    };
    let talking = async {
        let (saying, mut chat, _client) = open(Some(b"hello")).await.unwrap();
        while began.elapsed() < Duration::from_secs(6) {
            assert!(chat.message().await.unwrap().is_some());
            tokio::time::sleep(Duration::from_millis(200)).await;
            saying.send(b"again".to_vec()).unwrap();
        }
    };
    tokio::join!(unanswered, answered, talking);
    let mut over = 0;
    while over < 3 {
        let heard = within(PATIENCE, "the ends", server.heard.recv()).await;
        over += usize::from(heard == Some("over"));
    }
}

#[tokio::test]
async fn e2_a_grpc_deadline_ends_the_call_at_the_app_too() {
    let mut server = server().await;
    let target = h2c_target(server.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut client = client(&rig).await;
    // Long enough for the call to begin at the app.
    let deadline = Duration::from_secs(2);
    let mut took = Vec::<Duration>::new();
    while took.len() < TIMES && !took.iter().any(|took| *took < deadline + AT_ONCE) {
        client.ready().await.unwrap();
        let mut request = Request::new(b"sleep".to_vec());
        request.set_timeout(deadline);
        let begun = Instant::now();
        let answer = client.unary(request, method("/test.Echo/Unary"), Plain);
        let status = within(PATIENCE, "the deadline", answer).await.unwrap_err();
        assert!(
            matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
            "{status:?}"
        );
        for word in ["began", "over"] {
            let heard = within(PATIENCE, word, server.heard.recv()).await;
            assert_eq!(heard, Some(word));
        }
        took.push(begun.elapsed());
        until("the claim is released", || target.in_flight() == 0).await;
    }
    assert!(
        took.iter().any(|took| *took < deadline + AT_ONCE),
        "{took:?}"
    );
}

#[tokio::test]
async fn e2_a_grpc_client_that_cancels_ends_its_call_at_the_app_within_a_second() {
    let mut server = server().await;
    let rig = Rig::start(world(&server));
    let mut client = client(&rig).await;
    let mut took = Vec::<Duration>::new();
    while took.len() < TIMES && !took.iter().any(|took| *took < AT_ONCE) {
        client.ready().await.unwrap();
        let (saying, said) = mpsc::unbounded_channel();
        saying.send(b"hello".to_vec()).unwrap();
        let request = Request::new(UnboundedReceiverStream::new(said));
        let chat = client.streaming(request, method("/test.Echo/Chat"), Plain);
        let mut chat = within(PATIENCE, "a head", chat).await.unwrap().into_inner();
        assert!(chat.message().await.unwrap().is_some());
        // A stream without end, and a reader that has enough of it.
        client.ready().await.unwrap();
        let endless = Request::new(usize::MAX.to_string().into_bytes());
        let mut endless = client
            .server_streaming(endless, method("/test.Echo/Count"), Plain)
            .await
            .unwrap()
            .into_inner();
        for _ in 0..100 {
            endless.message().await.unwrap().unwrap();
        }
        for _ in 0..2 {
            assert_eq!(server.heard.recv().await, Some("began"));
        }
        let left = Instant::now();
        drop((chat, saying, endless));
        for _ in 0..2 {
            let over = within(PATIENCE, "its end", server.heard.recv()).await;
            assert_eq!(over, Some("over"));
        }
        took.push(left.elapsed());
    }
    assert!(took.iter().any(|took| *took < AT_ONCE), "{took:?}");
    assert_eq!(
        unary(&mut client, b"still here").await.unwrap(),
        b"still here"
    );
}

/// A chat of which one message has come by half waits for its other half; its client reads a status and may call again.
#[tokio::test]
async fn n2_e2_a_grpc_call_past_the_drains_limit_ends_with_a_status_in_its_trailers() {
    let mut server = server().await;
    let target = h2c_target(server.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut client = client(&rig).await;
    let (saying, said) = mpsc::unbounded_channel();
    saying.send(b"hello".to_vec()).unwrap();
    let request = Request::new(UnboundedReceiverStream::new(said));
    let chat = client.streaming(request, method("/test.Echo/Chat"), Plain);
    let mut chat = within(PATIENCE, "a head", chat).await.unwrap().into_inner();
    assert!(chat.message().await.unwrap().is_some());
    target.retire();
    target.cut();
    let status = within(PATIENCE, "its end", chat.message())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().ends_with("call again."), "{status:?}");
    for word in ["began", "over"] {
        let heard = within(PATIENCE, word, server.heard.recv()).await;
        assert_eq!(heard, Some(word));
    }
    within(PATIENCE, "drained", target.drained()).await;
    until("it is counted", || {
        rig.route_reading("tasks.test").requests == 1
    })
    .await;
    let reading = rig.route_reading("tasks.test");
    assert_eq!((reading.ended_at_limit, reading.cut_at_limit), (1, 0));
    assert_eq!(reading.failures, 0);
}

#[tokio::test]
async fn e2_a_grpc_client_reads_the_edges_errors_as_statuses() {
    let (server, other) = (server().await, app("http1").await);
    let (_nobody, gone_address) = refusing();
    let mut small = route("tasks.test/test.Echo/Unary", &[&h2c_target(server.address)]);
    small.body_bytes = Some(1_000);
    let rig = Rig::with_limits(
        World::of([
            small,
            route("tasks.test/gone", &[&h2c_target(gone_address)]),
            route("tasks.test/other", &[&h2c_target(other.address)]),
        ]),
        short(),
    );
    let mut client = client(&rig).await;
    for (path, message, code) in [
        ("/test.Echo/Unary", vec![0; 2_000], Code::ResourceExhausted),
        (
            "/test.Echo/Unary",
            b"sleep".to_vec(),
            Code::DeadlineExceeded,
        ),
        ("/gone/Method", vec![], Code::Unavailable),
        ("/other/Method", vec![], Code::Unavailable),
        ("/nowhere/Method", vec![], Code::Unimplemented),
    ] {
        client.ready().await.unwrap();
        let answer = client.unary(Request::new(message), method(path), Plain);
        let status = within(PATIENCE, path, answer).await.unwrap_err();
        assert_eq!(status.code(), code, "{path}: {status:?}");
        assert!(status.message().ends_with('.'), "{status:?}");
    }
    assert_eq!(unary(&mut client, b"well").await.unwrap(), b"well");
}
