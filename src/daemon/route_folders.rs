//! Which folder of files each route answers with, while the one that it is to have is still being read.
//!
//! Until then it is the one before, so that a switch drops nobody's request: but only of the same app and under the same
//! policies, for what was guarded must not be shown because the folder that comes after it is open to everybody. Where
//! there is none the route's requests are held.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::static_folders::{Folder, StaticFolders};
use crate::base::policies::{Policies, Subfolder};
use crate::proxy::StaticSite;
use crate::routing::Answer;

/// Apps whose folder is not served yet, and why it cannot be, where it cannot.
pub type Unread = BTreeMap<i64, Option<String>>;

/// The folders of all routes.
#[derive(Default)]
pub struct RouteFolders {
    folders: StaticFolders,
    served: HashMap<String, Served>,
    /// What this gathering has found so far.
    now: Now,
}

#[derive(Default)]
struct Now {
    wanted: Vec<Folder>,
    served: HashMap<String, Served>,
    unread: Unread,
}

/// What a route answered with.
#[derive(Clone)]
struct Served {
    app: Option<i64>,
    policies: Policies,
    site: Arc<StaticSite>,
}

impl RouteFolders {
    /// What the route `key` answers with, which is to serve `folder`.
    pub fn answer(
        &mut self,
        key: &str,
        app: Option<i64>,
        policies: &Policies,
        folder: Folder,
    ) -> Answer {
        let before = || {
            let before = self.served.get(key)?;
            (before.app == app && before.policies == *policies).then(|| before.site.clone())
        };
        let site = match self.folders.of(&folder) {
            Some(site) => Some(shown(site, policies)),
            None => {
                if let Some(app) = app {
                    self.now.unread.insert(app, self.folders.error_of(&folder));
                }
                before()
            }
        };
        self.now.wanted.push(folder);
        let Some(site) = site else {
            return Answer::Replicas(Vec::new());
        };
        let served = Served {
            app,
            policies: policies.clone(),
            site: site.clone(),
        };
        self.now.served.insert(key.to_owned(), served);
        Answer::Files(site)
    }

    /// All routes have asked: what none of them has is forgotten. The apps whose folder is not read yet.
    pub fn settle(&mut self) -> Unread {
        let now = std::mem::take(&mut self.now);
        self.folders.keep_only(&now.wanted);
        self.served = now.served;
        now.unread
    }

    /// Resolves when a folder is another than it was. May be dropped at any time.
    pub async fn changed(&mut self) {
        self.folders.changed().await;
    }
}

/// What the policies show of a folder.
fn shown(site: Arc<StaticSite>, policies: &Policies) -> Arc<StaticSite> {
    if policies.files.is_none() && policies.single_page.is_none() {
        return site;
    }
    let below = policies.files.as_ref().map_or("", Subfolder::name);
    let single_page = policies.single_page.unwrap_or(site.is_single_page());
    Arc::new(site.shown(below, single_page))
}

#[cfg(test)]
mod tests;
