//! TLS: the handshake, with the certificate the snapshot has for the name, and a clear no to names it does not have.
//!
//! A connection that names no host gets the box's own certificate. Resumption is by tickets, so nothing is kept here.
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use arc_swap::ArcSwap;
use futures_util::task::AtomicWaker;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshakes::Handshakes;
use super::snapshot::Snapshot;
use super::sources::Source;

/// A record with the fatal alert `unrecognized_name` (RFC 6066, 3), as it is sent before any key is agreed on.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

pub(super) enum Handshake {
    Done {
        stream: Box<TlsStream<TcpStream>>,
        name: Option<Arc<str>>,
        http2: bool,
    },
    UnknownName,
}

pub(super) fn server_config(
    snapshot: Arc<ArcSwap<Snapshot>>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(FromSnapshot(snapshot)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// `source`: whom it counts for; `None` for a proxy, which stands for many.
pub(super) async fn handshake(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    snapshot: &ArcSwap<Snapshot>,
    handshakes: &Handshakes,
    source: Option<Source>,
) -> io::Result<Handshake> {
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let name: Option<Arc<str>> = start
        .client_hello()
        .server_name()
        .map(|name| name.to_ascii_lowercase().into());
    let known = {
        let snapshot = snapshot.load();
        match &name {
            Some(name) => snapshot.certificate(name).is_some(),
            None => snapshot.default_certificate.is_some(),
        }
    };
    if !known {
        start.io.write_all(&UNRECOGNIZED_NAME).await?;
        start.io.shutdown().await?;
        return Ok(Handshake::UnknownName);
    }
    let _begun = match source {
        Some(source) => Some(handshakes.begin(source).await),
        None => None,
    };
    let woken = Arc::new(Woken::default());
    // Agreeing on a key and signing is done by whoever makes this, not by its first poll.
    // Boxed, so that who waits for its turn or for its client does not hold the room of the work.
    let (mut accept, mut polled) = Box::pin(handshakes.work(async || {
        let mut accept = Box::new(start.into_stream(config.clone()));
        let polled = woken.poll(&mut accept).await;
        (accept, polled)
    }))
    .await;
    let stream = loop {
        match polled {
            Poll::Ready(done) => break done?,
            // What comes next may cost as much: the second hello of a client that was asked for another key.
            Poll::Pending => {
                woken.wait().await;
                polled = Box::pin(handshakes.work(async || woken.poll(&mut accept).await)).await;
            }
        }
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Handshake::Done {
        stream: Box::new(stream),
        name,
        http2,
    })
}

/// Whether what was polled once is to be polled again, though the task that did was woken for something else meanwhile.
#[derive(Default)]
struct Woken {
    again: AtomicBool,
    task: AtomicWaker,
}

impl Woken {
    /// Polls it once.
    async fn poll<F: Future + Unpin>(self: &Arc<Self>, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(self.clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    /// Waits until it has something new to do.
    async fn wait(&self) {
        poll_fn(|cx| {
            self.task.register(cx.waker());
            match self.again.swap(false, Ordering::AcqRel) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.again.store(true, Ordering::Release);
        self.task.wake();
    }
}

struct FromSnapshot(Arc<ArcSwap<Snapshot>>);

impl ResolvesServerCert for FromSnapshot {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let snapshot = self.0.load();
        match hello.server_name() {
            Some(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                snapshot.certificate(&name.to_ascii_lowercase()).cloned()
            }
            Some(name) => snapshot.certificate(name).cloned(),
            None => snapshot.default_certificate.clone(),
        }
    }
}

impl std::fmt::Debug for FromSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("certificates of the snapshot")
    }
}

#[cfg(test)]
mod tests;
