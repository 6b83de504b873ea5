//! Clients: HTTP/1.1 and HTTP/2 over verified TLS, plain HTTP, and bytes by hand.
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::rig::{Authority, Rig};

pub type Body = BoxBody<Bytes, io::Error>;

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

pub fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(empty()).unwrap()
}

pub fn post(uri: &str, body: impl Into<Bytes>) -> Request<Body> {
    Request::post(uri).body(full(body)).unwrap()
}

pub fn post_with_trailers(uri: &str, body: impl Into<Bytes>, trailers: HeaderMap) -> Request<Body> {
    let frames = [Ok(Frame::data(body.into())), Ok(Frame::trailers(trailers))];
    let body = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)));
    Request::post(uri).body(body).unwrap()
}

/// An answer read to its end.
#[derive(Debug)]
pub struct Whole {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Whole {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

pub async fn whole(response: Response<Incoming>) -> hyper::Result<Whole> {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    Ok(Whole {
        status: parts.status,
        headers: parts.headers,
        body: collected.to_bytes(),
        trailers,
    })
}

pub async fn tls(rig: &Rig, name: &str, protocol: &str) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(rig.https).await?;
    over_tls(&rig.authority(), name, protocol, stream).await
}

/// TLS over a connection that may have begun with something else.
pub async fn over_tls(
    authority: &Authority,
    name: &str,
    protocol: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.root()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
        .await
}

/// A connection that asks with HTTP/1.1.
pub struct Http1(http1::SendRequest<Body>);

impl Http1 {
    pub async fn tls(rig: &Rig, name: &str) -> Http1 {
        Http1::over(tls(rig, name, "http/1.1").await.unwrap()).await
    }

    pub async fn plain(rig: &Rig) -> Http1 {
        Http1::over(TcpStream::connect(rig.http).await.unwrap()).await
    }

    pub async fn over<S>(stream: S) -> Http1
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Http1(sender)
    }

    pub async fn send(&mut self, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        let host = request.uri().host().map(str::to_owned);
        if let Some(host) = host {
            request
                .headers_mut()
                .entry("host")
                .or_insert(host.parse().unwrap());
            *request.uri_mut() = request
                .uri()
                .path_and_query()
                .unwrap()
                .as_str()
                .parse()
                .unwrap();
        }
        self.0.send_request(request).await
    }

    pub async fn ask(&mut self, request: Request<Body>) -> hyper::Result<Whole> {
        whole(self.send(request).await?).await
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A connection that asks with HTTP/2; clones share it.
#[derive(Clone)]
pub struct Http2(http2::SendRequest<Body>);

impl Http2 {
    pub async fn tls(rig: &Rig, name: &str) -> Http2 {
        Http2::with_socket(rig, name).await.0
    }

    /// The socket comes along, so that a test may end it under the protocol.
    pub async fn with_socket(rig: &Rig, name: &str) -> (Http2, OwnedFd) {
        let stream = tls(rig, name, "h2").await.unwrap();
        let socket = rustix::io::dup(stream.get_ref().0).unwrap();
        (Http2::over(stream).await, socket)
    }

    /// With the windows that a client has who asks for no others: 64 KB for the connection and for each stream.
    pub async fn with_small_windows(rig: &Rig, name: &str) -> Http2 {
        let stream = tls(rig, name, "h2").await.unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Http2(sender)
    }

    pub async fn over<S>(stream: S) -> Http2
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Http2(sender)
    }

    pub async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }

    pub async fn ask(&mut self, request: Request<Body>) -> hyper::Result<Whole> {
        whole(self.send(request).await?).await
    }
}

/// One request on a connection of its own.
pub async fn fetch(rig: &Rig, uri: &str) -> Whole {
    let name = uri.parse::<http::Uri>().unwrap().host().unwrap().to_owned();
    Http1::tls(rig, &name).await.ask(get(uri)).await.unwrap()
}

/// Sends bytes over TLS and returns all that comes back until the other side closes.
pub async fn bytes(rig: &Rig, name: &str, request: impl AsRef<[u8]>) -> String {
    let mut stream = tls(rig, name, "http/1.1").await.unwrap();
    stream.write_all(request.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    // Closing without close_notify is an error here, but what came before it counts.
    drop(
        tokio::time::timeout(
            std::time::Duration::from_secs(30),
            stream.read_to_end(&mut answer),
        )
        .await,
    );
    String::from_utf8_lossy(&answer).into_owned()
}
