//! Static folders: a release that is a folder of files (`[build] static = "dist"`), served by the edge itself.
//!
//! It goes the way of every deploy, with a folder of this box in the place of an image, and no container: `Building`
//! copies the files out of the tree, the switch makes it live, rollback is another folder, and it is collected where an
//! image would be. A release's folder is never changed. What of it is served is the edge's to say (`proxy/static_site`).

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::Deploys;
use super::app_file::AppFile;
use super::error::{DeployError, Stop};
use super::row::NewRelease;
use super::run::{Next, Work};
use super::state::State;
use super::static_copy::{Copied, copy};
use super::steps::Folder;
use crate::base::policies::Subfolder;
use crate::proxy::StaticSite;

/// How the column of a release's image begins where there is none; no image's id begins so.
const PREFIX: &str = "static:";
/// And ends, where paths that are no file get the folder's `index.html`.
const SINGLE_PAGE: &str = ":single-page";

/// The files of a release. Written in the place of its image: `static:7/12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// The app's row.
    pub app: i64,
    /// The deploy that copied them.
    pub deploy: i64,
    /// Paths that are no file are its `index.html`'s.
    pub single_page: bool,
}

impl Files {
    /// The files that stand in the place of an image, if some do.
    pub fn parse(image: &str) -> Option<Files> {
        let rest = image.strip_prefix(PREFIX)?;
        let (numbers, single_page) = match rest.strip_suffix(SINGLE_PAGE) {
            Some(numbers) => (numbers, true),
            None => (rest, false),
        };
        let (app, deploy) = numbers.split_once('/')?;
        Some(Files {
            app: app.parse().ok()?,
            deploy: deploy.parse().ok()?,
            single_page,
        })
    }

    /// Where they lie.
    pub fn folder(&self, data_dir: &Path) -> PathBuf {
        folders(data_dir, self.app).join(self.deploy.to_string())
    }

    /// What was known of them when they were laid out; beside the folder, so that it is never served.
    pub fn record(&self, data_dir: &Path) -> PathBuf {
        folders(data_dir, self.app).join(format!("{}{RECORD}", self.deploy))
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.single_page { SINGLE_PAGE } else { "" };
        write!(f, "{PREFIX}{}/{}{end}", self.app, self.deploy)
    }
}

/// Those of all releases of an app.
fn folders(data_dir: &Path, app: i64) -> PathBuf {
    data_dir.join("static").join(app.to_string())
}

impl Deploys {
    /// Copies the folder out of the tree; done again, it begins anew.
    pub(super) async fn lay_out(
        &self,
        work: &Work<'_>,
        tree: PathBuf,
        settings: AppFile,
    ) -> Result<Next, Stop> {
        let files = Files {
            app: work.facts.id,
            deploy: work.deploy.id,
            single_page: settings.single_page,
        };
        let data_dir = self.0.limits().data_dir.clone();
        let from = settings.static_folder.clone().unwrap_or_default();
        let shown: Vec<Subfolder> = {
            let routes = settings.processes.values().map(|process| &process.route);
            routes.filter_map(|route| route.files.clone()).collect()
        };
        let copying = tokio::task::spawn_blocking(
            move || -> Result<(Copied, StaticSite), String> {
                let to = files.folder(&data_dir);
                let copied = copy(&tree, &from, &to)?;
                if let Some(lacking) = shown.iter().find(|folder| !has_folder(&to, folder)) {
                    return Err(format!(
                        "static of [processes.web.route] names {}, and there is no such folder in {from}: name one that is there",
                        lacking.name()
                    ));
                }
                let site = StaticSite::record(&to, files.single_page, &files.record(&data_dir));
                let site = site.map_err(|e| e.to_string())?;
                Folder::Recorded.passed();
                Ok((copied, site))
            },
        );
        let (copied, site) = copying
            .await
            .map_err(|_| Stop::Failed("copying the folder failed".into()))??;
        if work.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        work.log.line(&match site.left_out() {
            0 => format!("{} files are served.", site.files()),
            some => format!(
                "{} files are served; {some} are not, because their names begin with a dot.",
                site.files()
            ),
        });
        if copied.links > 0 {
            work.log.line(&format!(
                "{} links of the folder are not served: symbolic links are not followed, and hard links only to files of the tree.",
                copied.links
            ));
        }
        let mut next = Next::to(State::Releasing);
        next.change.image = Some(files.to_string());
        next.release = Some(NewRelease {
            image: files.to_string(),
            image_tag: files.to_string(),
            settings,
            env: work.facts.env.clone(),
            commit: work.deploy.commit.clone(),
            title: work.deploy.title.clone(),
        });
        Ok(next)
    }

    /// Looks whether the files of a release are there as they were laid out.
    ///
    /// # Errors
    /// A sentence when they are not: such a release must not go live.
    pub(super) async fn check_files(&self, files: Files, number: i64) -> Result<(), Stop> {
        let data_dir = self.0.limits().data_dir.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let record = files.record(&data_dir);
            StaticSite::read_recorded(&files.folder(&data_dir), files.single_page, &record)?
                .check_whole(&record)
        });
        looking
            .await
            .map_err(|_| Stop::Failed("looking at the folder failed".into()))?
            .map_err(|why| Stop::Failed(format!("the files of v{number} cannot go live: {why}")))
    }

    /// Whether an app's live release can show this folder of its files, or any; without a live release, one may come.
    ///
    /// # Errors
    /// [`DeployError::Invalid`] with a sentence when it runs containers, or has no such folder.
    pub async fn check_shown(
        &self,
        app: i64,
        folder: Option<Subfolder>,
    ) -> Result<(), DeployError> {
        let Some(serving) = self.live(app).await? else {
            return Ok(());
        };
        let Some(files) = serving.files else {
            let why = "the app's live release runs containers, and this is for a folder of files: deploy one with static = \"dist\" under [build] of freehold.toml, or serve a folder of this box by a [[route]] of config.toml";
            return Err(DeployError::Invalid(why.into()));
        };
        let Some(folder) = folder else {
            return Ok(());
        };
        let (at, name) = (files.folder(&self.0.limits().data_dir), folder.clone());
        let looking = tokio::task::spawn_blocking(move || has_folder(&at, &name));
        match looking.await {
            Ok(false) => Err(DeployError::Invalid(format!(
                "v{} has no folder {}: name one that its files are in",
                serving.release,
                folder.name()
            ))),
            // Not looked at is not refused: the edge looks again at each request.
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Removes the files of one release.
    pub(super) fn remove_files(&self, files: &Files) -> Result<(), String> {
        let data_dir = &self.0.limits().data_dir;
        remove(&files.folder(data_dir))?;
        remove(&files.record(data_dir))
    }

    /// Removes the folders of an app that belong to none of these deploys: what failed deploys left.
    pub(super) fn remove_folders_but(&self, app: i64, kept: &[i64]) -> Result<(), String> {
        let all = match fs::read_dir(folders(&self.0.limits().data_dir, app)) {
            Ok(all) => all,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(told(&error)),
        };
        for entry in all {
            let entry = entry.map_err(|e| told(&e))?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let name = name.strip_suffix(PART).unwrap_or(name);
            let deploy = name.strip_suffix(RECORD).unwrap_or(name).parse::<i64>();
            if !deploy.is_ok_and(|deploy| kept.contains(&deploy)) {
                remove(&entry.path())?;
                Folder::Collected.passed();
            }
        }
        Ok(())
    }

    /// Removes all of an app's folders.
    pub(super) fn remove_all_folders(&self, app: i64) -> Result<(), String> {
        remove(&folders(&self.0.limits().data_dir, app))
    }
}

/// Whether a release has a folder. It holds no links, so that none is followed.
fn has_folder(release: &Path, folder: &Subfolder) -> bool {
    release.join(folder.name()).is_dir()
}

/// While it is being copied.
pub(super) const PART: &str = ".part";
/// What a folder's record is called behind its number.
const RECORD: &str = ".manifest";

pub(super) fn told(error: &io::Error) -> String {
    format!("the folder's files could not be read or written: {error}")
}

/// Removes a folder with all that is in it, or a file.
pub(super) fn remove(path: &Path) -> Result<(), String> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(told(&error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e6_a_releases_files_are_written_in_the_place_of_its_image() {
        for single_page in [false, true] {
            let files = Files {
                app: 7,
                deploy: 12,
                single_page,
            };
            assert_eq!(Files::parse(&files.to_string()), Some(files));
        }
        for image in [
            "sha256:aa",
            "static",
            "static:12",
            "static:a/b",
            "fh-x/static:7/12",
            "",
        ] {
            assert_eq!(Files::parse(image), None, "{image}");
        }
    }
}
