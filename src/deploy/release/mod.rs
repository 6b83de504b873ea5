//! Releases: which are kept, and which one a person means.

pub(super) mod store;

use crate::base::clock::UnixMs;

use super::error::DeployError;
use super::row::Release;

/// What deciding about a release needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub id: i64,
    pub number: i64,
    /// Releases that differ only in settings share one.
    pub image: String,
    pub live: Option<UnixMs>,
    pub gone: Option<UnixMs>,
    pub unreadable: bool,
}

impl From<&Release> for Mark {
    fn from(release: &Release) -> Self {
        Self {
            id: release.id,
            number: release.number,
            image: release.image_tag.clone(),
            live: release.live,
            gone: release.gone,
            unreadable: release.unreadable,
        }
    }
}

/// The releases that may go: not among `needed` (live, returned to, in work),
/// and not of the `kept` newest images that were ever live.
pub(super) fn to_collect(all: &[Mark], needed: &[i64], kept: usize) -> Vec<i64> {
    let mut were_live: Vec<&Mark> = all
        .iter()
        .filter(|m| m.live.is_some() && m.gone.is_none())
        .collect();
    were_live.sort_by_key(|m| std::cmp::Reverse(m.number));
    let mut images: Vec<&str> = Vec::new();
    for mark in &were_live {
        if !images.contains(&mark.image.as_str()) && images.len() < kept {
            images.push(&mark.image);
        }
    }
    let stays = |m: &Mark| m.live.is_some() && images.contains(&m.image.as_str());
    all.iter()
        .filter(|m| m.gone.is_none() && !needed.contains(&m.id) && !stays(m))
        .map(|m| m.id)
        .collect()
}

/// The release a rollback goes to: `wanted`, if it is kept.
pub(super) fn choose(all: &[Mark], wanted: i64) -> Result<Mark, DeployError> {
    let kept: Vec<String> = all
        .iter()
        .filter(|m| m.live.is_some() && m.gone.is_none() && !m.unreadable)
        .map(|m| format!("v{}", m.number))
        .collect();
    let kept = match kept.as_slice() {
        [] => "none is kept yet".to_owned(),
        list => format!("kept are {}", list.join(", ")),
    };
    match all.iter().find(|m| m.number == wanted) {
        None => Err(DeployError::NoRelease(format!(
            "there is no release v{wanted} of this app; {kept}"
        ))),
        Some(m) if m.gone.is_some() => Err(DeployError::NoRelease(format!(
            "the image of release v{wanted} was already collected; {kept}"
        ))),
        Some(m) if m.live.is_none() => Err(DeployError::NoRelease(format!(
            "release v{wanted} was never live, so it is not known to work; {kept}"
        ))),
        Some(m) if m.unreadable => Err(DeployError::NoRelease(format!(
            "what is kept of release v{wanted} cannot be read, so nothing can go back to it; {kept}"
        ))),
        Some(m) => Ok(m.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: i64, live: bool, gone: bool) -> Mark {
        Mark {
            id: number * 10,
            number,
            image: format!("image {number}"),
            live: live.then_some(UnixMs(1)),
            gone: gone.then_some(UnixMs(2)),
            unreadable: false,
        }
    }

    #[test]
    fn f9_only_what_rollback_does_not_need_is_collected() {
        let all = [
            mark(1, true, true),
            mark(2, true, false),
            mark(3, false, false),
            mark(4, true, false),
            mark(5, true, false),
            mark(6, false, false),
        ];
        assert_eq!(to_collect(&all, &[], 2), [20, 30, 60]);
        assert_eq!(
            to_collect(&all, &[20, 60], 2),
            [30],
            "live and in work stay"
        );
        assert_eq!(to_collect(&all, &[], 5), [30, 60], "failed ones go");
        let mut shared = all.clone();
        shared[4].image = shared[3].image.clone();
        let gone = to_collect(&shared, &[], 2);
        assert_eq!(gone, [30, 60], "changed settings do not push an image out");
    }

    #[test]
    fn f4_rollback_names_what_there_is() {
        let all = [
            mark(1, true, true),
            mark(2, true, false),
            mark(3, false, false),
        ];
        assert_eq!(choose(&all, 2).unwrap().id, 20);
        let mut odd = all.to_vec();
        odd.push(Mark {
            unreadable: true,
            ..mark(4, true, false)
        });
        let error = choose(&odd, 4).unwrap_err().to_string();
        assert!(
            error.contains("cannot be read") && error.ends_with("kept are v2"),
            "{error}"
        );
        for (wanted, part) in [(9, "no release v9"), (1, "collected"), (3, "never live")] {
            let error = choose(&all, wanted).unwrap_err().to_string();
            assert!(
                error.contains(part) && error.contains("kept are v2"),
                "{error}"
            );
        }
    }
}
