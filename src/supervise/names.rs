//! How our things are called at the engine, and the labels that make them ours.
//!
//! A name alone proves nothing: only the installation label does, because
//! another Freehold's names may begin alike.

use std::collections::HashMap;

use crate::base::ids::InstallationId;

use super::spec::Kind;

/// Says whose an object is.
pub(super) const INSTALLATION: &str = "freehold.installation";
pub(super) const ROW: &str = "freehold.row";
pub(super) const KIND: &str = "freehold.kind";
pub(super) const OWNER: &str = "freehold.owner";
pub(super) const SPEC: &str = "freehold.spec";
const NETWORK: &str = "freehold.network";
const VOLUME: &str = "freehold.volume";

/// Names and labels of one installation.
#[derive(Clone, Debug)]
pub(super) struct Names {
    installation: String,
    prefix: String,
}

impl Names {
    pub(super) fn new(installation: &InstallationId) -> Self {
        let whole = installation.as_str();
        let first: String = whole.chars().take(6).collect();
        Self {
            installation: whole.to_owned(),
            prefix: format!("fh-{first}-"),
        }
    }

    /// The engine's name of a container, network or volume of ours.
    pub(super) fn of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// `freehold.installation=<id>`, for filters.
    pub(super) fn filter(&self) -> String {
        format!("{INSTALLATION}={}", self.installation)
    }

    pub(super) fn is_ours(&self, labels: &HashMap<String, String>) -> bool {
        labels.get(INSTALLATION) == Some(&self.installation)
    }

    pub(super) fn container(
        &self,
        row: i64,
        kind: Kind,
        owner: &str,
        spec_hash: &str,
    ) -> HashMap<String, String> {
        self.labels([
            (ROW, row.to_string()),
            (KIND, kind.as_str().to_owned()),
            (OWNER, owner.to_owned()),
            (SPEC, spec_hash.to_owned()),
        ])
    }

    pub(super) fn network(&self, name: &str) -> HashMap<String, String> {
        self.labels([(NETWORK, name.to_owned())])
    }

    pub(super) fn volume(&self, name: &str) -> HashMap<String, String> {
        self.labels([(VOLUME, name.to_owned())])
    }

    fn labels<const N: usize>(&self, more: [(&str, String); N]) -> HashMap<String, String> {
        more.into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .chain([(INSTALLATION.to_owned(), self.installation.clone())])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f9_a_look_alike_is_not_ours() {
        let ours = Names::new(&InstallationId::parse("abcdef123").unwrap());
        let other = Names::new(&InstallationId::parse("abcdef999").unwrap());
        assert_eq!(ours.of("x"), other.of("x"));
        assert!(ours.is_ours(&ours.network("x")));
        assert!(!ours.is_ours(&other.network("x")));
        assert!(!ours.is_ours(&HashMap::new()));
    }
}
