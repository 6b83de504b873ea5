//! The handle on one engine, and how its failures become ours.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use tokio_util::sync::CancellationToken;

use super::error::EngineError;
use super::wire::{Host, Wire};

/// Questions and small changes: the engine answers these within milliseconds
/// unless the box is in trouble.
pub(super) const SHORT: Duration = Duration::from_secs(20);
/// Creating, starting and removing touch disks and the kernel.
pub(super) const MIDDLE: Duration = Duration::from_secs(60);

/// The longest JSON answer that is read whole.
const RAW_LIMIT: usize = 64 << 20;

/// One container engine. Cheap to clone; holds no connection.
#[derive(Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) wire: Wire,
    host: Arc<str>,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineVersion {
    /// Such as `20.10.24`.
    pub engine: String,
    /// The API version that is spoken from now on, such as `1.41`.
    pub api: String,
}

impl Engine {
    /// A handle on the engine at `host` (`unix:///var/run/docker.sock`,
    /// `tcp://…`). Nothing is asked yet: [`Self::negotiate`] does.
    ///
    /// # Errors
    /// When `host` is no address of an engine.
    pub fn connect(host: &str) -> Result<Self, EngineError> {
        let parsed = Host::parse(host).ok_or_else(|| EngineError::Unreachable {
            host: host.to_owned(),
            why: "docker.host must be like unix:///var/run/docker.sock or tcp://127.0.0.1:2375"
                .to_owned(),
        })?;
        let wire = Wire {
            host: parsed,
            version: Arc::new(ArcSwapOption::empty()),
            cut: CancellationToken::new(),
            build_query: "".into(),
        };
        Ok(Self {
            docker: client(&wire, host)?,
            wire,
            host: host.into(),
        })
    }

    /// Asks the engine for its version and speaks the newest language both know.
    /// To be repeated when the engine was away: it may have been upgraded.
    ///
    /// # Errors
    /// When the engine does not answer, or is too old or too new to be spoken to.
    pub async fn negotiate(&self) -> Result<EngineVersion, EngineError> {
        let said = self.call("version", SHORT, self.docker.version()).await?;
        let theirs = said.api_version.unwrap_or_default();
        let oldest = said.min_api_version.unwrap_or_default();
        let api = common_version(&theirs, &oldest, API_DEFAULT_VERSION).ok_or_else(|| {
            EngineError::Refused {
                what: "version".to_owned(),
                message: format!(
                    "it speaks API {oldest} to {theirs}, Freehold speaks {OLDEST} to {API_DEFAULT_VERSION}: upgrade the older of the two"
                ),
            }
        })?;
        self.wire.version.store(Some(Arc::new(format!("/v{api}"))));
        Ok(EngineVersion {
            engine: said.version.unwrap_or_default(),
            api,
        })
    }

    /// Whether the engine answers at all.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), EngineError> {
        self.call("ping", SHORT, self.docker.ping()).await.map(drop)
    }

    /// Where this engine is, as configured.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A second handle whose connections all end when `cut` is cancelled, and
    /// which adds `build_query` to what it asks of the builder.
    pub(super) fn cuttable(
        &self,
        cut: CancellationToken,
        build_query: String,
    ) -> Result<Docker, EngineError> {
        let wire = Wire {
            cut,
            build_query: build_query.into(),
            ..self.wire.clone()
        };
        client(&wire, &self.host)
    }

    /// The API's minor version that is spoken, 41 for 1.41.
    pub(super) fn api_minor(&self) -> usize {
        let version = self.wire.version.load();
        version
            .as_deref()
            .and_then(|v| parse_version(v.trim_start_matches("/v")))
            .map_or(OLDEST.minor_version, |(_, minor)| minor)
    }

    /// A call that the crate has no right words for; answers with JSON.
    pub(super) async fn raw(
        &self,
        what: &str,
        limit: Duration,
        method: http::Method,
        path: &str,
    ) -> Result<serde_json::Value, EngineError> {
        let (_, body) = self.call(what, limit, self.exchange(method, path)).await?;
        serde_json::from_slice(&body).map_err(|e| self.error(what, e.into()))
    }

    /// The same for calls that answer with nothing.
    pub(super) async fn raw_unit(
        &self,
        what: &str,
        limit: Duration,
        method: http::Method,
        path: &str,
    ) -> Result<(), EngineError> {
        self.call(what, limit, self.exchange(method, path))
            .await
            .map(drop)
    }

    /// The headers of the engine's answer to a ping.
    pub(super) async fn ping_headers(&self) -> Result<http::HeaderMap, EngineError> {
        self.call("ping", SHORT, self.exchange(http::Method::GET, "/_ping"))
            .await
            .map(|(headers, _)| headers)
    }

    async fn exchange(
        &self,
        method: http::Method,
        path: &str,
    ) -> Result<(http::HeaderMap, Bytes), Error> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .body(bollard::body_full(Bytes::new()))?;
        let response = self.wire.clone().send(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, RAW_LIMIT)
            .collect()
            .await
            .map_err(|e| std::io::Error::other(e.to_string()))?
            .to_bytes();
        if head.status.is_success() {
            return Ok((head.headers, body));
        }
        Err(Error::DockerResponseServerError {
            status_code: head.status.as_u16(),
            message: message_of(&body),
        })
    }

    /// Runs one call with its own limit.
    pub(super) async fn call<T>(
        &self,
        what: &str,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.error(what, error)),
            Err(_) => Err(EngineError::TimedOut {
                what: what.to_owned(),
                limit,
            }),
        }
    }

    /// Turns the crate's error into ours.
    pub(super) fn error(&self, what: &str, error: Error) -> EngineError {
        explain(&self.host, what, error)
    }
}

/// The engine's words in an error answer.
pub(super) fn message_of(body: &[u8]) -> String {
    let said = serde_json::from_slice::<serde_json::Value>(body).ok();
    match said.as_ref().and_then(|v| v.get("message")?.as_str()) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

fn client(wire: &Wire, host: &str) -> Result<Docker, EngineError> {
    let wire = wire.clone();
    // The crate's own limit covers every call alike; ours are set call by call.
    const CRATE_LIMIT_S: u64 = 24 * 3600;
    Docker::connect_with_custom_transport(
        move |request| wire.clone().send(request),
        Some("http://docker"),
        CRATE_LIMIT_S,
        API_DEFAULT_VERSION,
    )
    .map_err(|e| explain(host, "connect", e))
}

/// The oldest API this adapter was written for (engine 20.10).
const OLDEST: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};

fn parse_version(text: &str) -> Option<(usize, usize)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The newest version that both sides speak.
fn common_version(theirs: &str, their_oldest: &str, ours: &ClientVersion) -> Option<String> {
    let newest = parse_version(theirs)?;
    let oldest = parse_version(their_oldest).unwrap_or((0, 0));
    let ours_newest = (ours.major_version, ours.minor_version);
    let ours_oldest = (OLDEST.major_version, OLDEST.minor_version);
    let chosen = newest.min(ours_newest);
    (chosen >= oldest && chosen >= ours_oldest).then(|| format!("{}.{}", chosen.0, chosen.1))
}

pub(super) fn explain(host: &str, what: &str, error: Error) -> EngineError {
    let what = what.to_owned();
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => match status_code {
            404 => EngineError::NotFound { what, message },
            409 => EngineError::Conflict { what, message },
            _ => EngineError::Refused { what, message },
        },
        Error::DockerStreamError { error } => EngineError::Refused {
            what,
            message: error,
        },
        Error::RequestTimeoutError => EngineError::TimedOut {
            what,
            limit: Duration::from_secs(24 * 3600),
        },
        Error::JsonDataError { message, .. } => EngineError::Refused {
            what,
            message: format!("its answer could not be read: {message}"),
        },
        Error::IOError { err } => EngineError::Unreachable {
            host: host.to_owned(),
            why: err.to_string(),
        },
        Error::HyperResponseError { err } => EngineError::Unreachable {
            host: host.to_owned(),
            why: chain(&err),
        },
        other => EngineError::Refused {
            what,
            message: chain(&other),
        },
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken() {
        let ours = ClientVersion {
            major_version: 1,
            minor_version: 53,
        };
        let common = |theirs, oldest| common_version(theirs, oldest, &ours);
        assert_eq!(common("1.41", "1.12").as_deref(), Some("1.41"));
        assert_eq!(common("1.60", "1.44").as_deref(), Some("1.53"));
        assert_eq!(common("1.70", "1.60"), None, "an engine that dropped ours");
        assert_eq!(common("1.30", "1.12"), None, "an engine before 20.10");
        assert_eq!(common("", ""), None);
    }

    #[tokio::test]
    async fn f4_an_absent_engine_is_unreachable_with_a_remedy() {
        let engine = Engine::connect("unix:///nonexistent/docker.sock").unwrap();
        let error = engine.ping().await.unwrap_err();
        assert!(error.is_unreachable(), "{error:?}");
        assert!(error.to_string().contains("systemctl status docker"));
        assert!(Engine::connect("docker.sock").is_err());
    }
}
