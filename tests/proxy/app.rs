//! Apps behind the edge: one that behaves, and raw ones that answer with whatever bytes a test wants.
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

pub struct App {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl App {
    /// Kills the app: its socket and connections close at once.
    pub fn stop(self) {
        self.serving.abort();
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Answers `x-app: <name>` and by path: see `respond`.
pub async fn app(name: &'static str) -> App {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    app_on(listener, name)
}

/// As `app`, over HTTP/2 without TLS, which it has to be spoken to with.
pub async fn h2c_app(name: &'static str) -> App {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    h2c_app_on(listener, name, 200)
}

/// `streams`: how many it allows on a connection.
pub fn h2c_app_on(listener: TcpListener, name: &'static str, streams: u32) -> App {
    serving(listener, name, Some(streams))
}

pub fn app_on(listener: TcpListener, name: &'static str) -> App {
    serving(listener, name, None)
}

/// Over HTTP/2 with so many streams a connection, or over HTTP/1.1.
fn serving(listener: TcpListener, name: &'static str, streams: Option<u32>) -> App {
    let address = listener.local_addr().unwrap();
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opened, answered) = (connections.clone(), requests.clone());
    let serving = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            opened.fetch_add(1, Ordering::SeqCst);
            let answered = answered.clone();
            let service = service_fn(move |request| {
                answered.fetch_add(1, Ordering::SeqCst);
                respond(name, request)
            });
            let stream = TokioIo::new(stream);
            tasks.spawn(async move {
                let Some(streams) = streams else {
                    let mut server = hyper::server::conn::http1::Builder::new();
                    server.half_close(true);
                    return server.serve_connection(stream, service).await;
                };
                let executor = hyper_util::rt::TokioExecutor::new();
                let mut server = hyper::server::conn::http2::Builder::new(executor);
                server.max_concurrent_streams(streams);
                server.serve_connection(stream, service).await
            });
        }
    });
    App {
        address,
        connections,
        requests,
        serving,
    }
}

async fn respond(name: &'static str, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let number = |key: &str| {
        query
            .iter()
            .find(|(name, _)| name == key)
            .map_or(0, |(_, value)| value.parse::<u64>().unwrap())
    };
    let mut answer = match request.uri().path() {
        // Everything the app saw, as text.
        "/seen" => {
            let mut text = format!("{} {}\n", request.method(), request.uri());
            for (name, value) in request.headers() {
                text.push_str(&format!(
                    "{name}: {}\n",
                    String::from_utf8_lossy(value.as_bytes())
                ));
            }
            full(text)
        }
        "/echo" => {
            let body = request.into_body().map_err(|_| unreachable!()).boxed();
            Response::new(body)
        }
        "/count" => {
            let mut body = request.into_body();
            let mut sum = 0;
            let mut trailers = HeaderMap::new();
            while let Some(Ok(frame)) = body.frame().await {
                match frame.into_data() {
                    Ok(data) => sum += data.len(),
                    Err(frame) => trailers = frame.into_trailers().unwrap(),
                }
            }
            full(format!("{sum} {trailers:?}"))
        }
        // A head at once, then pieces at intervals.
        "/drip" => {
            let (pieces, pause) = (number("pieces"), Duration::from_millis(number("ms")));
            let stream = futures_util::stream::unfold(0, move |piece| async move {
                if piece == pieces {
                    return None;
                }
                tokio::time::sleep(pause).await;
                Some((
                    Ok(Frame::data(Bytes::from(format!("piece {piece}\n")))),
                    piece + 1,
                ))
            });
            Response::new(BodyExt::boxed(StreamBody::new(
                Box::pin(stream).into_stream_sync(),
            )))
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(number("ms"))).await;
            full("slow\n")
        }
        "/bytes" => full(vec![b'x'; number("n") as usize]),
        "/early" => {
            let mut answer = full("not wanted\n");
            *answer.status_mut() = StatusCode::CONFLICT;
            answer
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("42"));
            let frames = vec![
                Ok(Frame::data(Bytes::from_static(b"with trailers"))),
                Ok(Frame::trailers(trailers)),
            ];
            let mut answer = Response::new(BodyExt::boxed(StreamBody::new(
                futures_util::stream::iter(frames),
            )));
            answer
                .headers_mut()
                .insert("trailer", HeaderValue::from_static("x-sum"));
            answer
        }
        "/empty" => {
            let mut answer = full("");
            *answer.status_mut() = StatusCode::NO_CONTENT;
            answer
        }
        _ => full(format!("hello from {name}\n")),
    };
    answer
        .headers_mut()
        .insert("x-app", HeaderValue::from_static(name));
    Ok(answer)
}

fn full(body: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(body.into()).boxed())
}

/// `BoxBody` wants `Sync`, which a stream of futures is not by itself.
trait IntoStreamSync: Sized {
    fn into_stream_sync(self) -> SyncStream<Self>;
}

impl<S> IntoStreamSync for S {
    fn into_stream_sync(self) -> SyncStream<S> {
        SyncStream(std::sync::Mutex::new(self))
    }
}

struct SyncStream<S>(std::sync::Mutex<S>);

impl<S: futures_util::Stream + Unpin> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        std::pin::Pin::new(self.get_mut().0.get_mut().unwrap()).poll_next(cx)
    }
}

/// An address that refuses every connect for as long as its socket is kept, and until that listens: bound, so that nobody else
/// is given it meanwhile.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// An app that treats each connection by hand; the second argument is its number.
pub async fn raw<F, Fut>(treat: F) -> App
where
    F: Fn(TcpStream, usize) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let opened = connections.clone();
    let serving = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let number = opened.fetch_add(1, Ordering::SeqCst);
            tasks.spawn(treat(stream, number));
        }
    });
    App {
        address,
        connections,
        requests,
        serving,
    }
}

/// Answers every request with these bytes, whatever it was; keeps the connection.
pub async fn always(answer: &'static str) -> App {
    raw(move |mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// The next head on the connection, `None` at its end.
pub async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}
