//! One question: does this address answer, and if not, where does it end?
//!
//! Name lookup, connection, TLS and HTTP are told apart. The certificate is
//! always verified against the address's own name. A domain of this box is
//! asked through the box's own edge: the listener's address is given, the name
//! goes into TLS and the request as a client's would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::base::cidr::Cidr;

/// A header of the PROXY protocol, version 2, that says: this connection is the sender's own (`LOCAL`).
const PROXY_LOCAL: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// An answer's body is read up to here.
const SHORT: usize = 64 << 10;

/// Where a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name leads nowhere.
    Dns,
    /// No connection.
    Tcp,
    /// No trusted TLS.
    Tls,
    /// No good answer.
    Http,
}

impl Stage {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
        }
    }
}

/// Why there was no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where it ended.
    pub stage: Stage,
    /// Why, in words.
    pub why: String,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// http or https.
    pub url: Url,
    /// Instead of where the name leads.
    pub through: Option<SocketAddr>,
    /// Whose connections there begin with a header of the PROXY protocol: ours too, if one of our addresses is named.
    pub proxy_protocol: Vec<Cidr>,
    /// Whether only 200 to 399 is an answer; else anything below 500.
    pub strict: bool,
    /// For all of it.
    pub timeout: Duration,
}

/// TLS that trusts the system's roots, those in `extra` (PEM) and `issuers` (DER).
///
/// # Errors
/// A sentence when TLS cannot be set up at all; an unreadable extra root is logged and left out.
pub fn trust(extra: &[Vec<u8>], issuers: &[Vec<u8>]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let (_, ignored) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if ignored > 0 {
        tracing::debug!(ignored, "some of the system's roots cannot be read");
    }
    for pem in extra {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let added = certificate.map_err(|e| e.to_string());
            if let Err(error) = added.and_then(|c| roots.add(c).map_err(|e| e.to_string())) {
                tracing::warn!(%error, "a root for uptime checks cannot be read and is left out");
            }
        }
    }
    let issuers = issuers
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()));
    let (_, ignored) = roots.add_parsable_certificates(issuers);
    if ignored > 0 {
        tracing::warn!(
            ignored,
            "some issuers of a private ACME server cannot be read"
        );
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The address at which a listener's own box reaches it.
pub fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// Asks; how long the answer's head took, or why there was none.
///
/// # Errors
/// [`Failure`] with the stage at which it ended.
pub async fn ask(tls: &Arc<ClientConfig>, question: &Question) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let mut stage = Stage::Dns;
    let asked = tokio::time::timeout(question.timeout, stages(tls, question, &mut stage)).await;
    let status = match asked {
        Ok(answered) => answered.map_err(|why| Failure { stage, why })?,
        Err(_) => {
            let what = match stage {
                Stage::Dns => "the name was not resolved",
                Stage::Tcp => "no connection",
                Stage::Tls => "TLS was not agreed",
                Stage::Http => "no answer",
            };
            let why = format!("{what} within {} s", question.timeout.as_secs_f32());
            return Err(Failure { stage, why });
        }
    };
    judge(status, question.strict).map_err(|why| Failure {
        stage: Stage::Http,
        why,
    })?;
    Ok(begun.elapsed())
}

fn judge(status: StatusCode, strict: bool) -> Result<(), String> {
    let code = status.as_u16();
    match code {
        200..=399 => Ok(()),
        400..=499 if !strict => Ok(()),
        502..=504 => Err(format!(
            "answered {code}: no replica of it could be reached in time"
        )),
        _ => Err(format!(
            "answered {code} {}",
            status.canonical_reason().unwrap_or_default()
        )),
    }
}

async fn stages(
    tls: &Arc<ClientConfig>,
    question: &Question,
    stage: &mut Stage,
) -> Result<StatusCode, String> {
    let url = &question.url;
    let host = url.host_str().ok_or("the address names no host")?;
    let port = url
        .port_or_known_default()
        .ok_or("the address names no port")?;
    let address = match question.through {
        Some(address) => address,
        None => resolve(host, port).await?,
    };
    *stage = Stage::Tcp;
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                format!("the connection to {address} was refused: nothing listens there")
            }
            _ => format!("no connection to {address}: {e}"),
        })?;
    let ours = stream.local_addr().map(|ours| ours.ip().to_canonical());
    if question.through.is_some()
        && ours.is_ok_and(|ours| question.proxy_protocol.iter().any(|one| one.contains(ours)))
    {
        let sent = stream.write_all(&PROXY_LOCAL).await;
        sent.map_err(|e| format!("the connection to {address} ended: {e}"))?;
    }
    if url.scheme() == "http" {
        *stage = Stage::Http;
        return request(stream, url).await;
    }
    *stage = Stage::Tls;
    let bare = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(bare).map_err(|_| "the host is not a name TLS knows")?;
    let stream = tokio_rustls::TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .map_err(|e| tls_words(&e))?;
    *stage = Stage::Http;
    request(stream, url).await
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = tokio::net::lookup_host((bare, port))
        .await
        .map_err(|e| format!("the name {host} is not resolved: {e}"))?;
    found
        .next()
        .ok_or_else(|| format!("the name {host} has no address"))
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
) -> Result<StatusCode, String> {
    let broke = |e: hyper::Error| format!("the connection ended before an answer: {e}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broke)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "the connection of a check ended");
        }
    });
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(
            header::USER_AGENT,
            concat!("Freehold-Check/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("the address cannot be asked: {e}"))?;
    let answer = sender.send_request(request).await.map_err(broke)?;
    let status = answer.status();
    // Taken to its end where it is short, so that the app sees a whole request.
    let whole = Limited::new(answer.into_body(), SHORT).collect().await;
    tracing::trace!(whole = whole.is_ok(), "a check was answered");
    Ok(status)
}

fn tls_words(error: &std::io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)) => {
            "there is no certificate for this name yet".into()
        }
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: is a clock wrong?".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name".into()
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate was issued by nobody this box trusts".into()
            }
            CertificateError::Revoked => "its certificate was revoked".into(),
            other => format!("its certificate is not accepted: {other}"),
        },
        Some(other) => format!("TLS failed: {other}"),
        None => format!("the connection ended during TLS: {error}"),
    }
}

#[cfg(test)]
mod tests;
