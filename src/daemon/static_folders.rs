//! Folders of files that routes serve, of the settings and of apps, read beside the publisher and again while they are in use.
//!
//! Reading a folder takes as long as its disk; the publisher never waits for it. Until the first reading is over the
//! route answers as it did, or its requests are held where it answered nothing (`wanted.rs`); when a later one fails,
//! what was read before stands. A folder that anybody may change is looked through again after five seconds, or after
//! fifty times what the last look took: what changed since is served as it is (`proxy/static_site`), what is new is found
//! by the next look. Of a release only the names are read, for what is in its files was recorded when it was made.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinSet};

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
    /// What was recorded of a release's: it is read once, because nobody changes it.
    pub record: Option<PathBuf>,
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
    /// What reads it now.
    reader: Option<Id>,
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

    /// Why the last reading of a folder gave nothing, if it did not.
    pub fn error_of(&self, folder: &Folder) -> Option<String> {
        self.known.get(folder)?.error.clone()
    }

    /// These are served, and none besides: the others are forgotten.
    pub fn keep_only(&mut self, wanted: &[Folder]) {
        self.known.retain(|folder, _| wanted.contains(folder));
    }

    /// Resolves when a folder is another than it was, or cannot be read for another reason. May be dropped at any time.
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
                            tracing::error!(%error, "reading a folder of files panicked; it stays as it was read last and is tried again");
                            self.again(error.id());
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
        let reader = self.reading.spawn_blocking(move || {
            let begun = Instant::now();
            let (path, single_page) = (&folder.path, folder.single_page);
            let site = match &folder.record {
                Some(record) => StaticSite::read_recorded(path, single_page, record),
                None => StaticSite::read(path, single_page, previous.as_deref()),
            };
            Done {
                site,
                folder,
                took: begun.elapsed(),
            }
        });
        known.reader = Some(reader.id());
    }

    /// The reading that broke off is due again.
    fn again(&mut self, reader: Id) {
        for known in self.known.values_mut() {
            if known.reader == Some(reader) {
                known.reader = None;
                known.due = Some(Instant::now() + FRESH);
            }
        }
    }

    /// Whether there is something new to serve.
    fn take(&mut self, done: Done) -> bool {
        let Some(known) = self.known.get_mut(&done.folder) else {
            return false;
        };
        known.reader = None;
        let is_over = done.folder.record.is_some() && done.site.is_ok();
        // The first reading has every file's content to read; the next ones have not, and are not to wait for that.
        let rest = match known.site {
            Some(_) => FRESH.max(done.took * REST),
            None => FRESH,
        };
        known.due = (!is_over).then(|| Instant::now() + rest);
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
                let is_new = known.error.as_ref() != Some(&error);
                if is_new {
                    tracing::warn!("{error}; what was read of it before is served on");
                }
                known.error = Some(error);
                is_new
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
            record: None,
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
        within(&mut folders).await;
        assert!(Arc::ptr_eq(&both, &folders.of(&folder).unwrap()));
        assert!(
            folders
                .error_of(&folder)
                .unwrap()
                .contains("cannot be read")
        );
        folders.keep_only(&[]);
        assert!(folders.known.is_empty());
    }

    #[tokio::test]
    async fn e6_a_reading_that_panics_is_done_again() {
        let at = tempfile::tempdir().unwrap();
        std::fs::write(at.path().join("a.txt"), "a").unwrap();
        let folder = Folder {
            path: at.path().to_owned(),
            single_page: false,
            record: None,
        };
        let mut folders = StaticFolders::default();
        folders.known.insert(folder.clone(), Known::default());
        let reader = folders.reading.spawn_blocking(|| panic!("on purpose"));
        folders.known.get_mut(&folder).unwrap().reader = Some(reader.id());
        within(&mut folders).await;
        assert_eq!(folders.of(&folder).unwrap().files(), 1);
    }

    #[test]
    fn e6_a_folder_is_looked_at_again_soon_after_its_first_reading_however_long_that_took() {
        let at = tempfile::tempdir().unwrap();
        let folder = Folder {
            path: at.path().to_owned(),
            single_page: false,
            record: None,
        };
        let mut folders = StaticFolders::default();
        folders.known.insert(folder.clone(), Known::default());
        let mut rest = || {
            folders.take(Done {
                site: StaticSite::read(at.path(), false, None),
                folder: folder.clone(),
                took: Duration::from_secs(60),
            });
            let due = folders.known[&folder].due.unwrap();
            due.saturating_duration_since(Instant::now())
        };
        assert!(rest() <= FRESH);
        assert!(
            rest() > FRESH * 2,
            "a later look that takes so long is rare"
        );
    }
}
