//! Images: looked at, pulled, tagged, removed.

use std::collections::HashMap;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters as query;
use futures_util::StreamExt;

use crate::base::secret::Secret;

use super::engine::{Engine, MIDDLE, SHORT};
use super::error::EngineError;

/// What a registry asks for.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The registry's host, such as `registry.example.com:5000`.
    pub registry: String,
    /// User name.
    pub user: String,
    /// Password or token.
    pub password: Secret,
}

impl Credentials {
    pub(super) fn for_engine(&self) -> DockerCredentials {
        DockerCredentials {
            username: Some(self.user.clone()),
            password: Some(self.password.expose().to_owned()),
            serveraddress: Some(self.registry.clone()),
            ..Default::default()
        }
    }
}

/// An image the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its content's id, `sha256:…`.
    pub id: String,
    /// Its references, such as `tasks:v3`.
    pub tags: Vec<String>,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Size on disk, shared layers included.
    pub size: u64,
    /// When it was made, unix milliseconds; 0 when unknown.
    pub created_ms: i64,
    /// Ports its Dockerfile names with EXPOSE (TCP only, rising).
    pub exposed_ports: Vec<u16>,
    /// Its command line, entrypoint first; empty when it has none.
    pub command: Vec<String>,
}

/// How long a pull may be silent: layers of many megabytes pass without a word
/// while they are unpacked.
const PULL_SILENCE: Duration = Duration::from_secs(180);

/// Splits `host:5000/a/b:tag` into name and tag or digest.
fn split(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

/// Whether `reference` is one an engine could know; keeps it out of other paths.
fn check(what: &str, reference: &str) -> Result<(), EngineError> {
    let good = !reference.is_empty()
        && reference.len() <= 512
        && !reference.contains("..")
        && !reference.starts_with(['/', '-', '.'])
        && reference
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/:@+".contains(&b));
    if good {
        return Ok(());
    }
    Err(EngineError::Refused {
        what: what.to_owned(),
        message: format!(
            "\"{}\" is no image reference: write it like registry.example.com/team/app:1.2",
            reference.chars().take(80).collect::<String>()
        ),
    })
}

impl Engine {
    /// Looks at an image by reference or id.
    ///
    /// # Errors
    /// `NotFound` when the engine does not have it.
    pub async fn inspect_image(&self, reference: &str) -> Result<Image, EngineError> {
        let what = format!("inspect image {reference}");
        check(&what, reference)?;
        let seen = self
            .call(&what, SHORT, self.docker.inspect_image(reference))
            .await?;
        let config = seen.config.unwrap_or_default();
        let mut exposed_ports: Vec<u16> = config
            .exposed_ports
            .unwrap_or_default()
            .iter()
            .filter_map(|port| port.strip_suffix("/tcp").unwrap_or(port).parse().ok())
            .collect();
        exposed_ports.sort_unstable();
        let mut command = config.entrypoint.unwrap_or_default();
        command.extend(config.cmd.unwrap_or_default());
        Ok(Image {
            id: seen.id.unwrap_or_default(),
            tags: seen.repo_tags.unwrap_or_default(),
            labels: config.labels.unwrap_or_default(),
            size: seen.size.and_then(|s| u64::try_from(s).ok()).unwrap_or(0),
            created_ms: seen
                .created
                .map_or(0, |t| t.unix_timestamp().saturating_mul(1000)),
            exposed_ports,
            command,
        })
    }

    /// Pulls an image and hands each line of progress to `line`. Success is
    /// believed only when the engine then shows the image.
    ///
    /// # Errors
    /// `Refused` with the registry's words: unknown image, wrong password.
    pub async fn pull_image(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
        limit: Duration,
        mut line: impl FnMut(&str) + Send,
    ) -> Result<Image, EngineError> {
        let what = format!("pull image {reference}");
        check(&what, reference)?;
        let (name, tag) = split(reference);
        let options = query::CreateImageOptions {
            from_image: Some(name.to_owned()),
            tag: Some(tag.to_owned()),
            ..Default::default()
        };
        let mut stream = Box::pin(self.docker.create_image(
            Some(options),
            None,
            credentials.map(Credentials::for_engine),
        ));
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let silence = tokio::time::Instant::now() + PULL_SILENCE;
            let item = tokio::time::timeout_at(silence.min(deadline), stream.next())
                .await
                .map_err(|_| EngineError::TimedOut {
                    what: what.clone(),
                    limit,
                })?;
            let Some(item) = item else { break };
            let info = item.map_err(|e| self.error(&what, e))?;
            if let Some(message) = info.error_detail.and_then(|e| e.message) {
                return Err(EngineError::Refused { what, message });
            }
            // Byte counts of layers tick many times a second; their states are enough.
            let counts = info
                .progress_detail
                .is_some_and(|p| p.total.is_some() || p.current.is_some());
            if let (Some(status), false) = (info.status, counts) {
                match info.id {
                    Some(id) => line(&format!("{id}: {status}")),
                    None => line(&status),
                }
            }
        }
        self.inspect_image(reference).await
    }

    /// Gives an image another reference.
    ///
    /// # Errors
    /// `NotFound` when the engine does not have it.
    pub async fn tag_image(&self, image: &str, reference: &str) -> Result<(), EngineError> {
        let what = format!("tag image {image} as {reference}");
        check(&what, image)?;
        check(&what, reference)?;
        let (name, tag) = split(reference);
        let options = query::TagImageOptions {
            repo: Some(name.to_owned()),
            tag: Some(tag.to_owned()),
        };
        self.call(&what, SHORT, self.docker.tag_image(image, Some(options)))
            .await
    }

    /// Removes a reference, and the image with its last one. Never by force:
    /// an image in use stays and `Conflict` says so. One that is not there is no error.
    ///
    /// # Errors
    /// `Conflict` while a container uses it.
    pub async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        let what = format!("remove image {reference}");
        check(&what, reference)?;
        match self
            .call(
                &what,
                MIDDLE,
                self.docker.remove_image(
                    reference,
                    None::<query::RemoveImageOptions>,
                    None::<DockerCredentials>,
                ),
            )
            .await
        {
            Err(EngineError::NotFound { .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The images that carry every one of `labels`, untagged ones included.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn list_images(&self, labels: &[String]) -> Result<Vec<Image>, EngineError> {
        let options = query::ListImagesOptions {
            filters: Some(HashMap::from([("label".to_owned(), labels.to_vec())])),
            ..Default::default()
        };
        let list = self
            .call("list images", SHORT, self.docker.list_images(Some(options)))
            .await?;
        Ok(list
            .into_iter()
            .map(|image| Image {
                id: image.id,
                tags: image
                    .repo_tags
                    .into_iter()
                    .filter(|tag| tag != "<none>:<none>")
                    .collect(),
                labels: image.labels,
                size: u64::try_from(image.size).unwrap_or(0),
                created_ms: image.created.saturating_mul(1000),
                exposed_ports: Vec::new(),
                command: Vec::new(),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_at_tag_and_digest_only() {
        assert_eq!(split("busybox"), ("busybox", "latest"));
        assert_eq!(split("h:5000/a/b"), ("h:5000/a/b", "latest"));
        assert_eq!(split("h:5000/a/b:2"), ("h:5000/a/b", "2"));
        assert_eq!(split("a@sha256:12"), ("a", "sha256:12"));
    }

    #[test]
    fn f4_a_reference_never_escapes_into_another_path() {
        for bad in ["", "../x", "a?b=c", "a#b", "a b", "/containers", "a/../b"] {
            let error = check("inspect image", bad).unwrap_err();
            assert!(error.to_string().contains("no image reference"), "{bad}");
        }
        assert!(check("x", "sha256:0123").is_ok());
    }
}
