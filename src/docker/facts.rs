//! What the engine says of how it is set.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::engine::Engine;
use super::error::EngineError;

/// A question for a person who waits.
const SOON: Duration = Duration::from_secs(3);

/// How the engine is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineFacts {
    /// Such as `28.1.1`.
    pub version: String,
    /// The API that is spoken.
    pub api: String,
    /// Such as `overlay2`.
    pub storage: String,
    /// Such as `json-file`.
    pub log: String,
    /// Whether containers go on while the engine restarts.
    pub live_restore: bool,
    /// Where it keeps images, containers and volumes.
    pub root: String,
}

impl EngineFacts {
    /// The folder it keeps things in.
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(&self.root)
    }
}

impl Engine {
    /// Asks for all of it; the answer comes within seconds or not at all.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let version = self.negotiate().await?;
        let said = self
            .raw("look at the engine", SOON, http::Method::GET, "/info")
            .await?;
        Ok(EngineFacts {
            version: version.engine,
            api: version.api,
            ..read(&said)
        })
    }
}

fn read(said: &Value) -> EngineFacts {
    let text = |key: &str| {
        said.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    EngineFacts {
        storage: text("Driver"),
        log: text("LoggingDriver"),
        live_restore: said
            .get("LiveRestoreEnabled")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        root: text("DockerRootDir"),
        ..EngineFacts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_what_the_engine_says_of_itself_is_read() {
        let said = serde_json::json!({
            "Driver": "overlay2", "LoggingDriver": "json-file", "LiveRestoreEnabled": true, "DockerRootDir": "/var/lib/docker",
        });
        let facts = read(&said);
        assert_eq!(
            (facts.storage.as_str(), facts.live_restore),
            ("overlay2", true)
        );
        assert_eq!(facts.folder(), PathBuf::from("/var/lib/docker"));
        assert_eq!(read(&Value::Null), EngineFacts::default());
    }
}
