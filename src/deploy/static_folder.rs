//! Static folders: a release that is a folder of files (`[build] static = "dist"`), served by the edge itself.
//!
//! It goes the way of every deploy, with a folder of this box in the place of an image, and no container: `Building`
//! copies the files out of the tree, the switch makes it live, rollback is another folder, and it is collected where an
//! image would be. A release's folder is never changed. What of it is served is the edge's to say (`proxy/static_site`).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::Deploys;
use super::app_file::{AppFile, FILE_NAME};
use super::context::each;
use super::error::Stop;
use super::row::NewRelease;
use super::run::{Next, Work};
use super::state::State;
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
        let to = files.folder(&self.0.limits().data_dir);
        let from = settings.static_folder.clone().unwrap_or_default();
        let copying = tokio::task::spawn_blocking(move || -> Result<StaticSite, String> {
            copy(&tree, &from, &to)?;
            StaticSite::read(&to, files.single_page, None).map_err(|e| e.to_string())
        });
        let site = copying
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

    /// Removes the files of one release.
    pub(super) fn remove_files(&self, files: &Files) -> Result<(), String> {
        remove(&files.folder(&self.0.limits().data_dir))
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
            let deploy = name.strip_suffix(PART).unwrap_or(name).parse::<i64>();
            if !deploy.is_ok_and(|deploy| kept.contains(&deploy)) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes all of an app's folders.
    pub(super) fn remove_all_folders(&self, app: i64) -> Result<(), String> {
        remove(&folders(&self.0.limits().data_dir, app))
    }
}

/// While it is being copied.
const PART: &str = ".part";

fn told(error: &io::Error) -> String {
    format!("the folder's files could not be read or written: {error}")
}

fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(told(&error)),
        _ => Ok(()),
    }
}

/// Copies the files below `from` of the tar at `tree` to `to`, which is there whole and on the disk, or not at all.
fn copy(tree: &Path, from: &str, to: &Path) -> Result<(), String> {
    let told = |error: io::Error| told(&error);
    let mut part = to.as_os_str().to_owned();
    part.push(PART);
    let part = PathBuf::from(part);
    remove(&part)?;
    fs::create_dir_all(&part).map_err(told)?;
    let from = from.trim_end_matches('/');
    let mut files = 0_u64;
    // `each` lets nothing by that leads out of the tree or lies below a link.
    each(tree, |name, entry| {
        let below = match from {
            "." | "" => Some(name).filter(|name| *name != FILE_NAME),
            from => name
                .strip_prefix(from)
                .and_then(|rest| rest.strip_prefix('/')),
        };
        // Links are not followed by the edge either.
        let (Some(below), true) = (below, entry.header().entry_type().is_file()) else {
            return Ok(());
        };
        let path = part.join(below);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(told)?;
        }
        let modified = entry.header().mtime().unwrap_or_default();
        let mut file = File::create(&path).map_err(told)?;
        io::copy(entry, &mut file).map_err(told)?;
        let modified = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(modified));
        if let Some(modified) = modified {
            // A date that the file system does not know is no reason to fail.
            file.set_modified(modified).unwrap_or_default();
        }
        files += 1;
        Ok(())
    })?;
    if files == 0 {
        remove(&part)?;
        return Err(format!(
            "there are no files in the folder {from} of the tree: build the site first, and deploy it with the folder that [build] static in freehold.toml names"
        ));
    }
    rustix::fs::syncfs(File::open(&part).map_err(told)?).map_err(|e| told(e.into()))?;
    remove(to)?;
    fs::rename(&part, to).map_err(told)?;
    let above = to.parent().unwrap_or(to);
    File::open(above)
        .and_then(|above| above.sync_all())
        .map_err(told)
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

    #[test]
    fn e6_a_folder_is_copied_whole_without_links_and_anew_each_time() {
        let at = tempfile::tempdir().unwrap();
        let (tree, to) = (at.path().join("tree.tar"), at.path().join("static/7/12"));
        let mut tar = tar::Builder::new(File::create(&tree).unwrap());
        let mut add = |name: &str, link: Option<&str>| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(1_000_000);
            match link {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, name, target).unwrap();
                }
                None => {
                    header.set_size(4);
                    tar.append_data(&mut header, name, &b"text"[..]).unwrap();
                }
            }
        };
        for name in [
            "freehold.toml",
            "dist/index.html",
            "dist/a/b.js",
            "dist2/no.txt",
            "other.txt",
        ] {
            add(name, None);
        }
        add("dist/link", Some("/etc/passwd"));
        tar.finish().unwrap();
        fs::create_dir_all(to.with_extension("part").join("left")).unwrap();
        for _ in 0..2 {
            copy(&tree, "dist", &to).unwrap();
            let site = StaticSite::read(&to, false, None).unwrap();
            assert_eq!((site.files(), site.left_out()), (2, 0));
        }
        let modified = fs::metadata(to.join("a/b.js")).unwrap().modified().unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        assert_eq!(modified, then);
        copy(&tree, ".", &to).unwrap();
        assert!(to.join("dist2/no.txt").exists() && !to.join("freehold.toml").exists());
        let error = copy(&tree, "build", &to).unwrap_err();
        assert!(error.contains("no files in the folder build"), "{error}");
        assert!(to.join("other.txt").exists(), "what was there stays");
    }
}
