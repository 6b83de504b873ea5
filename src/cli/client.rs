//! The daemon's API: over its unix socket on the box, over HTTPS from elsewhere.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::output::Fail;
use super::remote::Remote;
use crate::wire::listing::Listing;
use crate::wire::problem::{Problem, ProblemKind};

/// A request's body.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// The way to one box.
#[derive(Debug)]
pub struct Client {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Socket(PathBuf),
    Remote(Box<Remote>),
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A body of bytes already here.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A name as one part of a path or a query's value.
pub fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// What is asked for at once of a list.
const PIECE: usize = 200;

/// The address a list's pieces are asked at, without its limit, and that limit.
fn pieces(path: &str) -> (String, usize) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut most = usize::MAX;
    let mut whole = format!("{path}?");
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("limit=").map(str::parse) {
            Some(Ok(limit)) => most = limit,
            _ => whole = format!("{whole}{pair}&"),
        }
    }
    (whole, most.max(1))
}

/// An answer's body as JSON. No body is `null`.
async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Fail> {
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|e| Fail::Unreachable(format!("the daemon's answer was cut off: {e}")))?
        .to_bytes();
    let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
    serde_json::from_slice(text)
        .map_err(|e| Fail::internal(format!("the daemon's answer is not understood: {e}")))
}

impl Client {
    /// Over the socket of the daemon on this box.
    pub fn local(socket: &Path) -> Self {
        Self {
            way: Way::Socket(socket.to_owned()),
        }
    }

    /// Over HTTPS to a box somewhere else.
    pub fn remote(remote: Remote) -> Self {
        Self {
            way: Way::Remote(Box::new(remote)),
        }
    }

    /// A token that is taken no more says how to come by another.
    fn signed_out(&self, problem: Problem) -> Problem {
        match &self.way {
            Way::Remote(remote) if problem.kind == ProblemKind::SignIn => problem.remedy(format!(
                "The token for {0} has ended or was taken back: make another on the dashboard under your name, or on the box with `freehold token add`, then `freehold login {0}`.",
                remote.authority
            )),
            _ => problem,
        }
    }

    /// Whether the daemon is on this box.
    pub fn is_local(&self) -> bool {
        matches!(self.way, Way::Socket(_))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Fail> {
        let socket = match &self.way {
            Way::Remote(remote) => return Ok(Box::new(remote.connect().await?)),
            Way::Socket(socket) => socket,
        };
        let stream = UnixStream::connect(socket).await.map_err(|e| {
            Fail::Unreachable(match e.kind() {
                std::io::ErrorKind::PermissionDenied => format!(
                    "you may not use {}: run this with sudo, or add yourself to the group freehold",
                    socket.display()
                ),
                _ => format!(
                    "the daemon does not answer at {} ({e}): see `systemctl status freehold`, or start it with `freehold serve`; from elsewhere use `freehold login HOST`",
                    socket.display()
                ),
            })
        })?;
        Ok(Box::new(stream))
    }

    /// What the box must know of a request beyond what it asks.
    fn signed(&self, mut request: Request<Body>) -> Result<Request<Body>, Fail> {
        let Way::Remote(remote) = &self.way else {
            return Ok(request);
        };
        let bad = |_| Fail::usage("the token or the address has characters that cannot be sent");
        let host = HeaderValue::from_str(&remote.authority).map_err(bad)?;
        request.headers_mut().insert(header::HOST, host);
        if let Some(token) = &remote.token {
            let text = format!("Bearer {}", token.expose());
            let mut value = HeaderValue::from_str(&text).map_err(bad)?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// `GET path`, answered as JSON.
    ///
    /// # Errors
    /// The daemon's problem, or that it cannot be reached.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fail> {
        self.json(Method::GET, path, full(""), None).await
    }

    /// A whole list, piece after piece; a `limit` in `path` is how many there are to be at most.
    ///
    /// # Errors
    /// The daemon's problem, or that it cannot be reached.
    pub async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Fail> {
        let (path, most) = pieces(path);
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let piece = (most - all.len()).min(PIECE);
            let asked = format!("{path}limit={piece}{after}");
            let listing: Listing<T> = self.get(&asked).await?;
            all.extend(listing.items);
            match listing.next {
                Some(next) if all.len() < most => after = format!("&after={}", segment(&next)),
                _ => return Ok(all),
            }
        }
    }

    /// `method path` with a JSON body, answered as JSON.
    ///
    /// # Errors
    /// The daemon's problem, or that it cannot be reached.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Fail> {
        let bytes = serde_json::to_vec(body).map_err(|e| Fail::internal(e.to_string()))?;
        self.json(method, path, full(bytes), Some("application/json"))
            .await
    }

    /// `method path` with any body, answered as JSON. No answer body is `null`.
    ///
    /// # Errors
    /// The daemon's problem, or that it cannot be reached.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
        kind: Option<&str>,
    ) -> Result<T, Fail> {
        read(self.request(method, path, body, kind).await?).await
    }

    /// What `path` shows, and the tag of it as it was seen.
    ///
    /// # Errors
    /// The daemon's problem, or that it cannot be reached.
    pub async fn seen<T: DeserializeOwned>(&self, path: &str) -> Result<(T, HeaderValue), Fail> {
        let response = self.request(Method::GET, path, full(""), None).await?;
        let tag = response.headers().get(header::ETAG).cloned();
        let tag = tag.unwrap_or_else(|| HeaderValue::from_static("*"));
        Ok((read(response).await?, tag))
    }

    /// `PUT path`, if it still is as it was `seen`.
    ///
    /// # Errors
    /// The daemon's problem, or that it cannot be reached.
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        seen: &HeaderValue,
        body: &impl Serialize,
    ) -> Result<T, Fail> {
        let bytes = serde_json::to_vec(body).map_err(|e| Fail::internal(e.to_string()))?;
        let request = Request::builder()
            .method(Method::PUT)
            .uri(path)
            .header(header::HOST, "freehold")
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::IF_MATCH, seen)
            .body(full(bytes))
            .map_err(|e| Fail::usage(format!("that cannot be asked of the daemon: {e}")))?;
        read(self.exchange(request).await?).await
    }

    /// `method path`; the answer's body is left to be read as it comes.
    ///
    /// # Errors
    /// The daemon's problem, or that it cannot be reached.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Body,
        kind: Option<&str>,
    ) -> Result<Response<Incoming>, Fail> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "freehold")
            .header(header::ACCEPT, "application/json");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request
            .body(body)
            .map_err(|e| Fail::usage(format!("that cannot be asked of the daemon: {e}")))?;
        self.exchange(request).await
    }

    /// Sends any request, also one that upgrades the connection.
    ///
    /// # Errors
    /// The daemon's problem, or that it cannot be reached.
    pub async fn exchange(&self, request: Request<Body>) -> Result<Response<Incoming>, Fail> {
        let request = self.signed(request)?;
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Fail::Unreachable(format!("the daemon hung up: {e}")))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "the connection to the daemon ended");
            }
        });
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| Fail::Unreachable(format!("the daemon hung up: {e}")))?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response
            .into_body()
            .collect()
            .await
            .map(|b| b.to_bytes())
            .unwrap_or_default();
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(Fail::Problem(Box::new(self.signed_out(problem)))),
            Err(_) => Err(Fail::internal(format!(
                "the daemon answered {status} without saying why"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_lists_limit_is_taken_out_of_its_address() {
        let whole = |path| pieces(path);
        assert_eq!(whole("/apps"), ("/apps?".into(), usize::MAX));
        assert_eq!(whole("/b?limit=3&database=x"), ("/b?database=x&".into(), 3));
        assert_eq!(whole("/b?limit=0"), ("/b?".into(), 1));
    }
}
