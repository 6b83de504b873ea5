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
    }
}
