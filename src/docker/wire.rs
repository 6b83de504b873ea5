//! How requests reach the engine: one connection a request, over its unix
//! socket or plain TCP, with the API version in every path.
//!
//! The crate we use writes no version into its paths, so an engine newer than
//! the crate would answer in a language it does not know; it writes registry
//! credentials in the wrong base64 alphabet, which the engine silently takes for
//! none; and it keeps the connections of build sessions open for ever. All are
//! put right here: paths and headers are rewritten, and all connections of a
//! [`Wire`] end when it is cut.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bollard::BollardRequest;
use bollard::errors::Error;
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Connecting to a local socket takes microseconds; an engine that is starting
/// may leave us in its queue for a moment.
const CONNECT: Duration = Duration::from_secs(5);

/// Where the engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Unix(PathBuf),
    Tcp(String),
}

impl Host {
    /// Reads `unix:///run/docker.sock` or `tcp://127.0.0.1:2375`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix://") {
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        let address = text
            .strip_prefix("tcp://")
            .or_else(|| text.strip_prefix("http://"))?
            .trim_end_matches('/');
        address.contains(':').then(|| Self::Tcp(address.to_owned()))
    }
}

/// A way to the engine.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) host: Host,
    /// `/v1.41` once it is known.
    pub(super) version: Arc<ArcSwapOption<String>>,
    /// Ends every connection made through this value.
    pub(super) cut: CancellationToken,
    /// Added to the query of `POST /build`, for what the crate cannot say.
    pub(super) build_query: Arc<str>,
}

impl Wire {
    pub(super) async fn send(self, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let stream = tokio::time::timeout(CONNECT, self.connect())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connect"))??;
        let io = TokioIo::new(Cuttable {
            inner: stream,
            cut: Box::pin(self.cut.clone().cancelled_owned()),
        });
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%error, "a connection to the engine ended");
            }
        });
        let request = self.versioned(request)?;
        Ok(sender.send_request(request).await?)
    }

    async fn connect(&self) -> io::Result<Pin<Box<dyn Duplex>>> {
        Ok(match &self.host {
            Host::Unix(path) => Box::pin(UnixStream::connect(path).await?),
            Host::Tcp(address) => Box::pin(TcpStream::connect(address.as_str()).await?),
        })
    }

    /// Rewrites the absolute address into origin form with the version.
    fn versioned(&self, mut request: BollardRequest) -> Result<BollardRequest, Error> {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |p| p.as_str())
            .to_owned();
        let version = self.version.load();
        let path = match version.as_deref() {
            Some(version) if path != "/_ping" && !path.starts_with("/version") => {
                format!("{version}{path}")
            }
            _ => path,
        };
        let path = match path.contains("/build?") && !self.build_query.is_empty() {
            true => format!("{path}&{}", self.build_query),
            false => path,
        };
        *request.uri_mut() = path.parse()?;
        for name in ["x-registry-auth", "x-registry-config"] {
            if let Some(value) = request.headers_mut().get_mut(name) {
                *value = url_safe(value)?;
            }
        }
        request
            .headers_mut()
            .insert(http::header::HOST, http::HeaderValue::from_static("docker"));
        Ok(request)
    }
}

/// The same base64 in the alphabet that the engine reads.
fn url_safe(value: &http::HeaderValue) -> Result<http::HeaderValue, Error> {
    let bytes: Vec<u8> = value
        .as_bytes()
        .iter()
        .map(|b| match b {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        })
        .collect();
    let mut value = http::HeaderValue::from_bytes(&bytes).map_err(http::Error::from)?;
    value.set_sensitive(true);
    Ok(value)
}

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// A connection that fails from the moment its wire is cut, also after it was
/// upgraded and handed on.
struct Cuttable {
    inner: Pin<Box<dyn Duplex>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cuttable {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the work was withdrawn",
            )),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        self.inner.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        self.inner.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_credentials_are_sent_in_the_alphabet_the_engine_reads() {
        let sent = http::HeaderValue::from_static("eyJhIjoiPz8+In0/+A==");
        let sent = url_safe(&sent).unwrap();
        assert_eq!(sent.to_str().unwrap(), "eyJhIjoiPz8-In0_-A==");
        assert!(sent.is_sensitive());
    }

    #[test]
    fn hosts_are_unix_or_tcp_addresses() {
        assert_eq!(
            Host::parse("unix:///run/docker.sock"),
            Some(Host::Unix("/run/docker.sock".into()))
        );
        assert_eq!(
            Host::parse("tcp://127.0.0.1:2375"),
            Some(Host::Tcp("127.0.0.1:2375".into()))
        );
        for bad in ["", "unix://run/x", "ssh://box", "/run/docker.sock"] {
            assert_eq!(Host::parse(bad), None, "{bad}");
        }
    }
}
