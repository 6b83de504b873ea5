//! An app's row, and what may be said when one is made or changed.

use crate::base::clock::UnixMs;
use crate::base::ids::AppName;
use crate::base::secret::Secret;
use crate::git::{Branch, GitUrl, Remote};

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
    /// The name used at its image registry.
    pub registry_user: Option<String>,
    /// Whether a maintenance page answers instead.
    pub maintenance: bool,
    /// Whether it is being removed.
    pub removing: bool,
}

impl App {
    /// What stands in events and labels.
    pub fn subject(&self) -> String {
        format!("app:{}", self.id)
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

/// A name and password at an image registry.
#[derive(Clone, Debug)]
pub struct RegistryLogin {
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
