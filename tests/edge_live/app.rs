//! An app behind the edge, over HTTP/1.1 or HTTP/2 without TLS: it says what it saw, or what the query asks for.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// It ends with its value.
pub struct App {
    pub address: SocketAddr,
    _serving: Runtime,
}

impl App {
    pub fn http1() -> Self {
        Self::serving(false)
    }

    /// One that speaks HTTP/2 without TLS, and nothing else.
    pub fn h2c() -> Self {
        Self::serving(true)
    }

    fn serving(h2c: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stream = TokioIo::new(stream);
                tokio::spawn(async move {
                    // A client that went away is no fault of the app's.
                    if h2c {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(server.serve_connection(stream, service_fn(answer)).await);
                    } else {
                        let server = hyper::server::conn::http1::Builder::new();
                        drop(server.serve_connection(stream, service_fn(answer)).await);
                    }
                });
            }
        });
        Self {
            address,
            _serving: runtime,
        }
    }
}

/// `?status=404&bytes=20`: so; otherwise the request as it was seen, a line for each field, and its body's length.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let number = |key: &str| {
        let mut pairs = url::form_urlencoded::parse(query);
        let found = pairs.find(|(name, _)| name == key);
        found.map(|(_, value)| value.parse::<usize>().unwrap())
    };
    let text = match number("bytes") {
        Some(count) => "x".repeat(count),
        None => {
            let at = head.uri.path_and_query().unwrap();
            let mut text = format!("{} {at} {:?}\nbody: {length}\n", head.method, head.version);
            for (name, value) in &head.headers {
                text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
            text
        }
    };
    let status = number("status").map_or(200, |status| u16::try_from(status).unwrap());
    let answer = Response::builder()
        .status(status)
        .header("content-type", "text/plain")
        .header("server", "an app")
        .header("x-version", "7.1")
        .body(Full::new(Bytes::from(text)));
    Ok(answer.unwrap())
}
