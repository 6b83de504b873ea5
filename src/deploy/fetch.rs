//! Fetching: the commit's tree, the upload or the image is brought to this box.

use std::path::PathBuf;
use std::time::Duration;

use crate::docker::{Credentials, EngineError, Image};
use crate::git::{Branch, CommitId, GitError, GitUrl, Remote};

use super::Deploys;
use super::app_file::AppFile;
use super::error::Stop;
use super::image_name::goes_by;
use super::ports::RegistryLogin;
use super::room;
use super::row::{Deploy, NewRelease};
use super::run::{Next, Work};
use super::source::Source;
use super::state::State;
use super::store;

/// A fetch from a git host.
const FETCH: Duration = Duration::from_secs(15 * 60);
/// A pull from a registry.
const PULL: Duration = Duration::from_secs(18 * 60);

impl Deploys {
    pub(super) async fn fetch(&self, work: &Work<'_>) -> Result<Next, Stop> {
        match &work.deploy.source {
            Source::Git {
                url,
                branch,
                commit,
                rebuild,
            } => {
                self.enough_disk().await?;
                let remote = self.remote(work, url).await?;
                let commit = match commit {
                    Some(commit) => commit.clone(),
                    None => self.0.git().head(&remote, branch).await.map_err(told)?,
                };
                if !rebuild && let Some(next) = self.reuse(work, &commit).await? {
                    return Ok(next);
                }
                let title = self.fetch_tree(work, &remote, branch, &commit).await?;
                let mut next = Next::to(State::Building);
                next.change.commit = Some(commit.as_str().to_owned());
                next.change.title = Some(title);
                Ok(next)
            }
            Source::Upload { file, .. } => {
                self.enough_disk().await?;
                let path = self.folder().join(file);
                let size = std::fs::metadata(&path)
                    .map_err(|_| "the upload is not there any more: send it again".to_owned())?
                    .len();
                work.log.line(&format!("The upload has {} KB.", size >> 10));
                Ok(Next::to(State::Building))
            }
            Source::Image { reference } => {
                self.enough_disk().await?;
                self.fetch_image(work, reference).await
            }
            Source::Release { .. } | Source::Settings => Ok(Next::to(State::Starting)),
        }
    }

    /// Where a deploy's commit comes from, with the app's credentials.
    async fn remote(&self, work: &Work<'_>, url: &GitUrl) -> Result<Remote, Stop> {
        let own = work.facts.git.as_ref().map(|(remote, _)| remote);
        match own {
            Some(own) if own.url == *url => Ok(own.clone()),
            _ => {
                let asked = self.0.ports.apps.remote_for(work.facts.id, url.clone());
                Ok(asked.await?)
            }
        }
    }

    /// Brings a commit's tree here; gives the commit's title.
    async fn fetch_tree(
        &self,
        work: &Work<'_>,
        remote: &Remote,
        branch: &Branch,
        commit: &CommitId,
    ) -> Result<String, Stop> {
        work.log
            .line(&format!("Fetching {commit} from {}", remote.url));
        let repo = self.repo(work.facts.id);
        let git = self.0.git();
        let fetched = git.fetch(&repo, remote, commit, branch, FETCH).await;
        fetched.map_err(told)?;
        let info = git.info(&repo, commit).await.map_err(told)?;
        let tree = self.tree(work.deploy.id);
        let bytes = git.archive(&repo, commit, &tree).await.map_err(told)?;
        work.log
            .line(&format!("{}: {} KB", info.title, bytes >> 10));
        Ok(info.title)
    }

    /// Brings the tree of a deploy in its build here once more: it is only a cache, and a person or a full disk may
    /// have taken it. The commit is the one that was found before, whatever came into its branch since.
    pub(super) async fn fetch_tree_again(&self, work: &Work<'_>) -> Result<(), Stop> {
        let Source::Git { url, branch, .. } = &work.deploy.source else {
            return Ok(());
        };
        let commit = work.deploy.commit.as_deref().unwrap_or_default();
        let commit = CommitId::parse(commit).map_err(|e| Stop::Failed(e.0))?;
        self.enough_disk().await?;
        let remote = self.remote(work, url).await?;
        self.fetch_tree(work, &remote, branch, &commit).await?;
        Ok(())
    }

    /// Room for the tree on our disk, and for the image on the engine's.
    pub(super) async fn enough_disk(&self) -> Result<(), String> {
        let limits = self.0.limits();
        let floor = limits.free_disk;
        room::disk(&limits.data_dir, floor)?;
        match self.0.ports.images.folder().await {
            Some(folder) => room::disk(&folder, floor),
            None => Ok(()),
        }
    }

    async fn fetch_image(&self, work: &Work<'_>, reference: &str) -> Result<Next, Stop> {
        self.own_images(&work.facts.name).allows(reference)?;
        let credentials = login_for(reference, work.facts.registry.as_ref());
        work.log.line(&match (&credentials, &work.facts.registry) {
            (None, Some(other)) => format!(
                "Pulling {reference} without a sign-in: the one of this app is for {}",
                other.host
            ),
            _ => format!("Pulling {reference}"),
        });
        let had = self.0.ports.images.inspect(reference).await;
        let had = had.is_ok_and(|image| goes_by(&image.tags, reference));
        let mut line = |text: &str| work.log.line(text);
        let pulled = self
            .0
            .ports
            .images
            .pull(reference, credentials, PULL, &mut line)
            .await;
        let image: Image = match pulled {
            Ok(image) => image,
            Err(error) if had && !names_registry(reference) => {
                work.log.line(&format!(
                    "It could not be pulled ({error}); the one this box has is used."
                ));
                let image = self.0.ports.images.inspect(reference).await;
                image.map_err(|e| Stop::Failed(e.to_string()))?
            }
            Err(error) => {
                let why = match error {
                    EngineError::Refused { message, .. }
                    | EngineError::NotFound { message, .. } => message,
                    other => return Err(Stop::Failed(other.to_string())),
                };
                return Err(Stop::Failed(format!(
                    "the image {reference} could not be pulled ({why}): check its name, that this box reaches its registry, and for a private registry the user and password (`freehold deploy --registry-user`)"
                )));
            }
        };
        let mut settings = self.settings_for_image(work).await?;
        let tag = self.tag(&work.facts.name, work.deploy.id);
        let tagged = self.0.ports.images.tag(&image.id, &tag).await;
        tagged.map_err(|e| Stop::Failed(e.to_string()))?;
        if !had {
            // Our own tag keeps it; the registry's would pile up with every new version.
            let removed = self.0.ports.images.remove(reference).await;
            if let Err(error) = removed {
                work.log.line(&format!("Its registry tag stays: {error}"));
            }
        }
        settings.settle_port(&image.exposed_ports);
        let mut next = Next::to(State::Releasing);
        next.release = Some(NewRelease {
            image: image.id,
            image_tag: tag,
            settings,
            env: work.facts.env.clone(),
            commit: None,
            title: Some(reference.to_owned()),
        });
        Ok(next)
    }

    /// Takes our tag of a pulled image away again that no release holds: it carries no label by which it would be
    /// found later.
    pub(super) async fn untag(&self, app_name: &str, deploy: &Deploy) {
        if deploy.release.is_some() || !matches!(deploy.source, Source::Image { .. }) {
            return;
        }
        let tag = self.tag(app_name, deploy.id);
        if let Err(why) = self.remove_image(&tag).await {
            tracing::warn!(why, tag, "the tag of a deploy that failed stays");
        }
    }

    /// An image brings no freehold.toml: that of the live release goes on, so
    /// that its processes and volumes do; the first one is one `web`.
    async fn settings_for_image(&self, work: &Work<'_>) -> Result<AppFile, Stop> {
        let app = work.facts.id;
        let Some(live) = self.0.db.read(move |c| store::live(c, app)).await? else {
            return Ok(AppFile::default());
        };
        work.log.line(&format!(
            "An image brings no freehold.toml; the settings of v{} go on.",
            live.release
        ));
        Ok(self.release_row(live.release_id).await?.settings)
    }

    pub(super) fn repo(&self, app: i64) -> PathBuf {
        self.0.limits().data_dir.join("repos").join(app.to_string())
    }

    /// The fetched tree of one deploy.
    pub(super) fn tree(&self, deploy: i64) -> PathBuf {
        self.folder().join(format!("{deploy}.tar"))
    }
}

fn told(error: GitError) -> Stop {
    Stop::Failed(error.to_string())
}

/// Whether the reference says where to pull from; what the box has under such
/// a name may be old, so it is no stand-in for a failed pull.
fn names_registry(reference: &str) -> bool {
    registry_of(reference) != DOCKER_HUB
}

/// Docker Hub, as people name it.
const DOCKER_HUB: &str = "docker.io";

/// The registry of an image reference.
fn registry_of(reference: &str) -> String {
    match reference.split_once('/') {
        Some(("index.docker.io", _)) => DOCKER_HUB.to_owned(),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => {
            host.to_ascii_lowercase()
        }
        _ => DOCKER_HUB.to_owned(),
    }
}

/// The sign-in for the registry an image is pulled from. A deploy may name any registry, and whoever
/// may deploy need not know the password: it is told to its own registry alone.
fn login_for(reference: &str, login: Option<&RegistryLogin>) -> Option<Credentials> {
    let login = login.filter(|login| login.host == registry_of(reference))?;
    Some(for_engine(login))
}

/// As the engine takes it; a build asks for it by its registry's name alone.
pub(super) fn for_engine(login: &RegistryLogin) -> Credentials {
    Credentials {
        // The engine's own name for it.
        registry: match login.host.as_str() {
            DOCKER_HUB => "https://index.docker.io/v1/".to_owned(),
            host => host.to_owned(),
        },
        user: login.user.clone(),
        password: login.password.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{login_for, registry_of};
    use crate::base::secret::Secret;
    use crate::deploy::ports::RegistryLogin;

    #[test]
    fn f4_a_password_goes_to_its_own_registry_alone() {
        let login = |host: &str| RegistryLogin {
            host: host.into(),
            user: "ana".into(),
            password: Secret::new("x"),
        };
        let told = |reference: &str, host: &str| {
            login_for(reference, Some(&login(host))).map(|c| c.registry)
        };
        assert_eq!(told("ghcr.io/a/b:1", "ghcr.io").as_deref(), Some("ghcr.io"));
        assert_eq!(told("evil.example/a/b:1", "ghcr.io"), None);
        assert_eq!(told("ghcr.io.evil.example/a:1", "ghcr.io"), None);
        assert_eq!(told("ghcr.io:444/a:1", "ghcr.io"), None);
        assert_eq!(told("nginx:1.27", "ghcr.io"), None);
        let hub = Some("https://index.docker.io/v1/");
        assert_eq!(told("ana/shop", "docker.io").as_deref(), hub);
        assert_eq!(told("docker.io/ana/shop", "docker.io").as_deref(), hub);
        assert!(login_for("ghcr.io/a/b", None).is_none());
    }

    #[test]
    fn f4_an_image_names_its_registry() {
        assert_eq!(registry_of("127.0.0.1:5000/tasks:1"), "127.0.0.1:5000");
        assert_eq!(registry_of("ghcr.io/a/b"), "ghcr.io");
        assert_eq!(registry_of("localhost/a"), "localhost");
        assert_eq!(registry_of("library/busybox"), "docker.io");
        assert_eq!(registry_of("busybox:latest"), "docker.io");
    }
}
