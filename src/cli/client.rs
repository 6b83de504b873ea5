//! The daemon's API over its unix socket.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::output::Fail;
use crate::wire::problem::Problem;

/// A request's body.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// The way to one box.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

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

impl Client {
    /// Over the socket of the daemon on this box.
    pub fn local(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// `GET path`, answered as JSON.
    ///
    /// # Errors
    /// The daemon's problem, or that it cannot be reached.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fail> {
        self.json(Method::GET, path, full(""), None).await
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
        let response = self.request(method, path, body, kind).await?;
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
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| {
            Fail::Unreachable(match e.kind() {
                std::io::ErrorKind::PermissionDenied => format!(
                    "you may not use {}: run this with sudo, or add yourself to the group freehold",
                    self.socket.display()
                ),
                _ => format!(
                    "the daemon does not answer at {} ({e}): see `systemctl status freehold`, or start it with `freehold serve`",
                    self.socket.display()
                ),
            })
        })?;
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
            Ok(problem) => Err(Fail::Problem(Box::new(problem))),
            Err(_) => Err(Fail::internal(format!(
                "the daemon answered {status} without saying why"
            ))),
        }
    }
}
