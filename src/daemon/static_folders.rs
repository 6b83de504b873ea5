//! Folders of files that routes serve, of the settings and of apps, read beside the publisher and again while they are in use.
//!
//! Reading a folder takes as long as its disk; the publisher never waits for it. Until the first reading is over the
//! route's requests are held; when a later one fails, what was read before stands. A manifest is a few seconds old at
//! most: what changed since is served as it is (`proxy/static_site`), what is new is found by the next reading.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::proxy::{StaticSite, Unserved};

/// A folder is looked through again after this.
const FRESH: Duration = Duration::from_secs(5);
/// And after so many times what that took, so that a large one takes a fiftieth of a core.
const REST: u32 = 50;

/// A folder to serve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// Paths that are no file are its `index.html`'s.
    pub single_page: bool,
    /// A release's: read once, because nobody changes it.
    pub is_fixed: bool,
}

/// What was read.
#[derive(Default)]
pub struct StaticFolders {
    known: HashMap<Folder, Known>,
    reading: JoinSet<Done>,
}

#[derive(Default)]
struct Known {
    site: Option<Arc<StaticSite>>,
    /// When it is read again; nothing while it is being read.
    due: Option<Instant>,
    /// Told once.
    error: Option<String>,
}

struct Done {
    folder: Folder,
    site: Result<StaticSite, Unserved>,
    took: Duration,
}

impl StaticFolders {
    /// The folder as it was read last; nothing before its first reading is over, which begins with this.
    pub fn of(&mut self, folder: &Folder) -> Option<Arc<StaticSite>> {
        if let Some(known) = self.known.get(folder) {
            return known.site.clone();
        }
        self.known.insert(folder.clone(), Known::default());
        self.read(folder.clone());
        None
    }

    /// These are served, and none besides: the others are forgotten.
    pub fn keep_only(&mut self, wanted: &[Folder]) {
        self.known.retain(|folder, _| wanted.contains(folder));
    }

    /// Resolves when a folder is another than it was. May be dropped at any time.
    pub async fn changed(&mut self) {
        loop {
            let next = self.known.values().filter_map(|known| known.due).min();
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = self.reading.join_next() => {
                    let is_new = match done {
                        Ok(done) => self.take(done),
                        Err(error) => {
                            tracing::error!(%error, "reading a folder of files panicked; it stays as it was read last");
                            false
                        }
                    };
                    if is_new {
                        return;
                    }
                }
                () = due => {
                    let now = Instant::now();
                    let is_due = |known: &Known| known.due.is_some_and(|due| due <= now);
                    let due: Vec<_> = self.known.iter().filter(|(_, known)| is_due(known)).collect();
                    let due: Vec<Folder> = due.into_iter().map(|(folder, _)| folder.clone()).collect();
                    for folder in due {
                        self.read(folder);
                    }
                }
            }
        }
    }

    fn read(&mut self, folder: Folder) {
        let Some(known) = self.known.get_mut(&folder) else {
            return;
        };
        known.due = None;
        let previous = known.site.clone();
        self.reading.spawn_blocking(move || {
            let begun = Instant::now();
            let site = StaticSite::read(&folder.path, folder.single_page, previous.as_deref());
            Done {
                site,
                folder,
                took: begun.elapsed(),
            }
        });
    }

    /// Whether there is something new to serve.
    fn take(&mut self, done: Done) -> bool {
        let Some(known) = self.known.get_mut(&done.folder) else {
            return false;
        };
        let is_over = done.folder.is_fixed && done.site.is_ok();
        known.due = (!is_over).then(|| Instant::now() + FRESH.max(done.took * REST));
        match done.site {
            Ok(site) => {
                known.error = None;
                if known.site.as_ref().is_some_and(|old| old.is_same(&site)) {
                    return false;
                }
                let (folder, files, left_out) = (site.folder(), site.files(), site.left_out());
                tracing::info!(folder = %folder.display(), files, left_out, "a folder of files is served as it is now");
                known.site = Some(Arc::new(site));
                true
            }
            Err(error) => {
                let error = error.to_string();
                if known.error.as_ref() != Some(&error) {
                    tracing::warn!("{error}; what was read of it before is served on");
                }
                known.error = Some(error);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn within(folders: &mut StaticFolders) {
        tokio::time::timeout(Duration::from_secs(30), folders.changed())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn e6_a_folder_is_read_beside_and_again_when_it_changes() {
        let at = tempfile::tempdir().unwrap();
        std::fs::write(at.path().join("a.txt"), "a").unwrap();
        let folder = Folder {
            path: at.path().to_owned(),
            single_page: false,
            is_fixed: false,
        };
        let mut folders = StaticFolders::default();
        assert!(folders.of(&folder).is_none(), "nobody waited for the disk");
        within(&mut folders).await;
        assert_eq!(folders.of(&folder).unwrap().files(), 1);
        std::fs::write(at.path().join("b.txt"), "b").unwrap();
        within(&mut folders).await;
        let both = folders.of(&folder).unwrap();
        assert_eq!(both.files(), 2);
        // What cannot be read any more is served as it was.
        at.close().unwrap();
        let gone = tokio::time::timeout(FRESH * 2, folders.changed()).await;
        assert!(gone.is_err() && Arc::ptr_eq(&both, &folders.of(&folder).unwrap()));
        folders.keep_only(&[]);
        assert!(folders.known.is_empty());
    }
}
