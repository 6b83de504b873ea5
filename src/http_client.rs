//! HTTPS to others: ACME servers, S3 stores, git hosts, image registries.
//!
//! One adapter over hyper and rustls (aws-lc-rs): the system's roots, plus one
//! extra root file for private servers; HTTP/1.1; bodies stream both ways.
//! Invariants: connecting, waiting for the answer's head and each wait for
//! more of its body are bounded; an error names the host and never the path,
//! the query, a header or a body. Redirects are not followed, requests are not
//! sent again: both are the caller's decision ([`retry_after`] helps).

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::time::Sleep;

use crate::base::clock::UnixMs;

/// Any error a request's body may end with.
pub type BoxError = Box<dyn StdError + Send + Sync>;
/// The body of a request, whole or streamed.
pub type BoxBody = UnsyncBoxBody<Bytes, BoxError>;

/// Name lookup, TCP and TLS handshake together.
const CONNECT: Duration = Duration::from_secs(15);
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 4;

/// How long one request may take, part by part.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From sending (the request's body included) to the head of the answer.
    pub answer: Duration,
    /// The longest wait for the next piece of the answer's body.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(30),
        }
    }
}

/// Why there is no answer. Each names the host and what to look at.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The extra root file cannot be used.
    #[error("the root certificate file {path} cannot be used: {why}")]
    Roots {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The URL has no host or another scheme than http and https.
    #[error("a URL without a host, or one that is neither http nor https, cannot be asked")]
    BadUrl,
    /// No connection: the name, the port, or TLS.
    #[error("{host} could not be reached: {why}")]
    Connect {
        /// Whom we asked.
        host: String,
        /// What the system or TLS said.
        why: String,
    },
    /// Connected, but no answer in time.
    #[error("{host} did not answer within {} s", after.as_secs())]
    Timeout {
        /// Whom we asked.
        host: String,
        /// How long we waited.
        after: Duration,
    },
    /// The connection broke while sending or receiving.
    #[error("the connection to {host} broke: {why}")]
    Broken {
        /// Whom we asked.
        host: String,
        /// What broke.
        why: String,
    },
    /// The answer is longer than its reader takes.
    #[error("the answer of {host} is longer than {limit} bytes")]
    TooLong {
        /// Whom we asked.
        host: String,
        /// The limit.
        limit: usize,
    },
}

/// Name lookup, TCP and TLS under one limit.
#[derive(Clone)]
struct Connector(HttpsConnector<HttpConnector>);

impl tower::Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector> as tower::Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move { tokio::time::timeout(CONNECT, connecting).await? })
    }
}

/// A client with its own pool of connections; cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<Connector, BoxBody>,
}

impl HttpClient {
    /// A client that trusts the system's roots and those in `extra_ca` (PEM).
    ///
    /// # Errors
    /// [`HttpError::Roots`] when the file cannot be read or holds no certificate.
    pub fn new(extra_ca: Option<PathBuf>) -> Result<Self, HttpError> {
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|e| HttpError::Roots {
            path: "of the system".into(),
            why: e.to_string(),
        })?
        .with_root_certificates(roots(extra_ca.as_deref())?)
        .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(Connector(connector));
        Ok(Self { client })
    }

    /// Sends `request` and returns once the answer's head is here; any status is an answer.
    ///
    /// # Errors
    /// [`HttpError`] when there is no answer.
    pub async fn send(
        &self,
        request: Request<BoxBody>,
        timeouts: Timeouts,
    ) -> Result<Response<Answer>, HttpError> {
        let host = host_of(request.uri())?;
        let sent = tokio::time::timeout(timeouts.answer, self.client.request(request)).await;
        match sent {
            Err(_) => Err(HttpError::Timeout {
                host: host.to_string(),
                after: timeouts.answer,
            }),
            Ok(Err(error)) if error.is_connect() => Err(HttpError::Connect {
                host: host.to_string(),
                why: connect_sentence(&error),
            }),
            Ok(Err(error)) => Err(HttpError::Broken {
                host: host.to_string(),
                why: causes(&error),
            }),
            Ok(Ok(response)) => Ok(response.map(|body| Answer {
                host,
                body,
                idle: timeouts.idle,
                timer: None,
            })),
        }
    }
}

/// The body of an answer as it comes; each wait for more is bounded.
pub struct Answer {
    host: Arc<str>,
    body: Incoming,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    /// The whole body, at most `limit` bytes.
    ///
    /// # Errors
    /// [`HttpError`] when it breaks off, stalls, or is longer.
    pub async fn collect_limited(mut self, limit: usize) -> Result<Bytes, HttpError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if whole.len() + data.len() > limit {
                return Err(HttpError::TooLong {
                    host: self.host.to_string(),
                    limit,
                });
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.timer = None;
            return Poll::Ready(frame.map(|f| {
                f.map_err(|error| HttpError::Broken {
                    host: this.host.to_string(),
                    why: causes(&error),
                })
            }));
        }
        let idle = this.idle;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        match timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Some(Err(HttpError::Timeout {
                host: this.host.to_string(),
                after: idle,
            }))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// No body.
pub fn empty() -> BoxBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is wholly here.
pub fn full(bytes: impl Into<Bytes>) -> BoxBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that is made while it is sent. Without a known length it goes out chunked.
pub fn streamed<B>(body: B) -> BoxBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// What a `Retry-After` header asks for, as seconds or as a date.
pub fn retry_after(headers: &HeaderMap, now: UnixMs) -> Option<Duration> {
    let text = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(UnixMs(date.timestamp().as_millisecond()).since(now))
}

/// What a `Date` header says.
pub fn date(headers: &HeaderMap) -> Option<UnixMs> {
    let text = headers.get(http::header::DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(UnixMs(date.timestamp().as_millisecond()))
}

fn roots(extra: Option<&Path>) -> Result<RootCertStore, HttpError> {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "some of the system's root certificates cannot be read");
    }
    store.add_parsable_certificates(system.certs);
    if let Some(path) = extra {
        let bad = |why: String| HttpError::Roots {
            path: path.display().to_string(),
            why,
        };
        let before = store.len();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            store.add(certificate).map_err(|e| bad(e.to_string()))?;
        }
        if store.len() == before {
            return Err(bad("it holds no certificate in PEM form".into()));
        }
    }
    Ok(store)
}

fn host_of(uri: &Uri) -> Result<Arc<str>, HttpError> {
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) => Ok(match uri.port_u16() {
            Some(port) => format!("{host}:{port}").into(),
            None => host.into(),
        }),
        _ => Err(HttpError::BadUrl),
    }
}

/// The chain of causes below `error`, outermost left out when it says nothing of its own.
fn causes(error: &dyn StdError) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            let gap = if text.is_empty() { "" } else { ": " };
            if write!(text, "{gap}{said}").is_err() {
                break;
            }
        }
        next = cause.source();
    }
    if text.is_empty() {
        error.to_string()
    } else {
        text
    }
}

fn connect_sentence(error: &(dyn StdError + 'static)) -> String {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<tokio::time::error::Elapsed>() {
            return format!("no connection within {} s", CONNECT.as_secs());
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = cause.downcast_ref::<rustls::Error>()
        {
            return format!(
                "its certificate is not trusted ({why:?}); give the root of a private server as ca_file"
            );
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::ConnectionRefused {
                return "the connection was refused: nothing listens there".into();
            }
            // tokio-rustls wraps its error in an io::Error whose source is skipped.
            if let Some(inner) = io.get_ref() {
                next = Some(inner);
                continue;
            }
        }
        next = cause.source();
    }
    causes(error)
}

#[cfg(test)]
mod tests;
