//! Where a deploy's code comes from.

use serde::{Deserialize, Serialize};

use crate::git::{Branch, CommitId, GitUrl, InvalidGit};

/// As stored with the deploy; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A commit of a repository.
    Git {
        /// The address; the app's own unless somebody signed in gave another.
        url: GitUrl,
        /// The branch, for resolving and as a way to the commit.
        branch: Branch,
        /// Exactly this one; the branch's newest when `None`.
        commit: Option<CommitId>,
        /// Built though an image of the commit is kept, as when its base image moved.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rebuild: bool,
    },
    /// A tar that was uploaded, by its file's name in `builds/`.
    Upload {
        /// The file.
        file: String,
        /// It is a folder of files, whatever its freehold.toml says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<Site>,
    },
    /// An image of a registry, or one the engine has.
    Image {
        /// Its reference.
        reference: String,
    },
    /// A release that is still kept, as it is: rollback, return, restart.
    Release {
        /// Its row.
        id: i64,
        /// Its number, for people.
        number: i64,
    },
    /// The live release's image with the settings of now: changed env or scale.
    Settings,
}

/// What `[build]` of freehold.toml says of a folder of files, said with the deploy instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The folder of the tree that is the site.
    pub folder: String,
    /// Paths that are no file are its `index.html`'s; as the file says, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_page: Option<bool>,
}

impl Site {
    /// # Errors
    /// A sentence when `folder` is no path inside the tree.
    pub fn parse(folder: &str, single_page: Option<bool>) -> Result<Self, String> {
        let folder = in_the_tree(folder).ok_or_else(|| {
            "static must be a path inside the folder that is sent, such as dist, or . for all of it".to_owned()
        })?;
        Ok(Self {
            folder,
            single_page,
        })
    }
}

/// A path of the tree as it is kept; nothing where it leads out of it.
pub(super) fn in_the_tree(path: &str) -> Option<String> {
    let path = path.trim_start_matches("./");
    let good = !path.is_empty()
        && path.len() <= 500
        && !path.starts_with('/')
        && !path.split('/').any(|p| p == "..")
        && !path.chars().any(char::is_control);
    good.then(|| path.to_owned())
}

impl Source {
    /// From a repository: the newest commit of `own`, or what `reference` names, a branch or a whole commit id.
    ///
    /// # Errors
    /// When it can be neither.
    pub fn of_git(url: GitUrl, own: Branch, reference: Option<&str>) -> Result<Self, InvalidGit> {
        let (branch, commit) = match reference {
            None => (own, None),
            Some(text) => match CommitId::parse(text) {
                Ok(commit) => (own, Some(commit)),
                Err(_) => (Branch::parse(text)?, None),
            },
        };
        Ok(Self::Git {
            url,
            branch,
            commit,
            rebuild: false,
        })
    }

    /// The same; with `rebuild` it is built whatever is kept of its commit. What is no commit is always what it was.
    pub fn rebuilt(mut self, wanted: bool) -> Self {
        if let Self::Git { rebuild, .. } = &mut self {
            *rebuild = wanted;
        }
        self
    }

    /// The same; what was uploaded is a folder of files.
    pub fn as_site(mut self, said: Option<Site>) -> Self {
        if let Self::Upload { site, .. } = &mut self {
            *site = said;
        }
        self
    }

    /// What was said of a folder of files.
    pub(super) fn site(&self) -> Option<&Site> {
        match self {
            Self::Upload { site, .. } => site.as_ref(),
            _ => None,
        }
    }

    /// The stored JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether there is something to build.
    pub fn is_built(&self) -> bool {
        matches!(self, Self::Git { .. } | Self::Upload { .. })
    }

    /// For people, in a few words.
    pub fn describe(&self) -> String {
        match self {
            Self::Git {
                commit: Some(commit),
                branch,
                ..
            } => format!("commit {} of {branch}", commit.short()),
            Self::Git { branch, .. } => format!("the newest commit of {branch}"),
            Self::Upload { .. } => "an uploaded folder".into(),
            Self::Image { reference } => format!("the image {reference}"),
            Self::Release { number, .. } => format!("release v{number}"),
            Self::Settings => "changed settings".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_sources_survive_their_row() {
        let all = [
            Source::Git {
                url: GitUrl::parse("https://git.test/shop").unwrap(),
                branch: Branch::parse("main").unwrap(),
                commit: Some(CommitId::parse(&"a".repeat(40)).unwrap()),
                rebuild: true,
            },
            Source::Upload {
                file: "upload-x.tar".into(),
                site: Some(Site::parse("./dist", Some(true)).unwrap()),
            },
            Source::Image {
                reference: "r.test:5000/a:1".into(),
            },
            Source::Release { id: 4, number: 2 },
            Source::Settings,
        ];
        for source in all {
            let back: Source = serde_json::from_str(&source.to_json()).unwrap();
            assert_eq!(back, source);
        }
        // As it was written before there was a choice.
        let old = r#"{"kind":"git","url":"https://git.test/shop","branch":"main","commit":null}"#;
        let old: Source = serde_json::from_str(old).unwrap();
        assert!(matches!(old, Source::Git { rebuild: false, .. }));
        let old = r#"{"kind":"upload","file":"upload-x.tar"}"#;
        let old: Source = serde_json::from_str(old).unwrap();
        assert!(matches!(old, Source::Upload { site: None, .. }));
    }

    #[test]
    fn e6_a_site_is_a_folder_of_what_is_sent() {
        for (said, folder) in [(".", "."), ("./dist", "dist"), ("a b/c", "a b/c")] {
            assert_eq!(Site::parse(said, None).unwrap().folder, folder);
        }
        for said in ["", "/srv", "..", "a/../..", "a\nb", &"d".repeat(501)] {
            assert!(
                Site::parse(said, None).unwrap_err().contains("dist"),
                "{said}"
            );
        }
    }
}
