//! An app's row, and what may be said when one is made or changed.

use crate::base::clock::UnixMs;
use crate::base::ids::AppName;
use crate::base::secret::Secret;
use crate::git::{Branch, GitUrl, Remote};

use super::error::AppError;

/// An app, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Never used twice; `app:<id>` in labels and events.
    pub id: i64,
    /// Unique on the box.
    pub name: AppName,
    /// When it was made.
    pub created: UnixMs,
    /// Where its code is, if it comes from git.
    pub git_url: Option<String>,
    /// The branch whose pushes are deployed.
    pub branch: String,
    /// Whether a token or key for git is kept.
    pub has_git_credentials: bool,
    /// The image registry it has a sign-in for, such as `ghcr.io`.
    pub registry_host: Option<String>,
    /// The name used there.
    pub registry_user: Option<String>,
    /// Another one whenever a token, key or password is given; none without any.
    pub credentials_mark: Option<String>,
    /// Another one whenever the webhook's secret is replaced.
    pub webhook_mark: String,
    /// Whether a maintenance page answers instead.
    pub maintenance: bool,
    /// When that ends by itself.
    pub maintenance_until: Option<UnixMs>,
    /// Whether it is being removed.
    pub removing: bool,
}

impl App {
    /// What stands in events and labels.
    pub fn subject(&self) -> String {
        format!("app:{}", self.id)
    }

    /// Until when requests are held by maintenance now, if they are. What is on without an end, as an older Freehold
    /// may have written it, has none.
    pub fn maintained(&self, now: UnixMs) -> Option<UnixMs> {
        let until = self.maintenance_until.unwrap_or(UnixMs(i64::MAX));
        (self.maintenance && until > now).then_some(until)
    }
}

/// An app to be made.
#[derive(Clone, Debug)]
pub struct NewApp {
    /// Its name.
    pub name: AppName,
    /// Where its code comes from; everything may be given later.
    pub source: SourceChange,
}

/// A change of where code and images come from; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct SourceChange {
    /// The repository.
    pub git_url: Option<GitUrl>,
    /// The branch.
    pub branch: Option<Branch>,
    /// For https; an empty one removes it.
    pub git_token: Option<Secret>,
    /// For ssh; an empty one removes it.
    pub git_key: Option<Secret>,
    /// Name and password at the image registry; an empty name removes both.
    pub registry: Option<RegistryLogin>,
}

/// A name and password at an image registry; they are told to no other.
#[derive(Clone, Debug)]
pub struct RegistryLogin {
    /// Where they are known, as [`registry_host`] gives it.
    pub host: String,
    /// The name.
    pub user: String,
    /// The password or token.
    pub password: Secret,
}

/// Where an app's code is fetched from.
#[derive(Clone, Debug)]
pub struct GitSource {
    /// Address and credentials.
    pub remote: Remote,
    /// The branch whose pushes are deployed.
    pub branch: Branch,
}

/// Docker Hub, by the name people know it under.
pub const DOCKER_HUB: &str = "docker.io";
/// A registry's name at its longest.
const HOST: usize = 255;

/// The registry that `text` names: a host, with a port where it has one. Empty is Docker Hub.
///
/// # Errors
/// [`AppError::Invalid`] when it is no host.
pub fn registry_host(text: &str) -> Result<String, AppError> {
    let text = text.trim().to_ascii_lowercase();
    let host = text.strip_prefix("https://").unwrap_or(&text);
    let host = host.strip_suffix('/').unwrap_or(host);
    let good = host.len() <= HOST
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c));
    match host {
        "" | DOCKER_HUB | "index.docker.io" | "registry-1.docker.io" | "hub.docker.com" => {
            Ok(DOCKER_HUB.to_owned())
        }
        _ if good => Ok(host.to_owned()),
        _ => Err(AppError::Invalid(
            "a registry is a host, such as ghcr.io or registry.example.com:5000: give what stands before the first / of the image's name".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::registry_host;

    #[test]
    fn f4_a_registry_is_a_host_and_docker_hub_when_none_is_named() {
        for (text, host) in [
            ("", "docker.io"),
            ("https://index.docker.io/", "docker.io"),
            (" GHCR.io ", "ghcr.io"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(registry_host(text).unwrap(), host);
        }
        for text in ["ghcr.io/me", "a b", "http://x", "é.test"] {
            assert!(registry_host(text).is_err(), "{text}");
        }
    }
}
