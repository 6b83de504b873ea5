//! What somebody may do, and for which apps.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A role; each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything of the apps they are named for, and sees nothing else.
    Developer,
    /// Sees everything but secrets, changes nothing.
    Viewer,
    /// Everything but the owners.
    Admin,
    /// Everything.
    Owner,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Developer, Self::Viewer, Self::Admin, Self::Owner];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Developer => "developer",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether somebody of this role may give `other`, and change or take out those who have it: only owners touch owners.
    pub fn may_give(self, other: Self) -> bool {
        self >= Self::Admin && other <= self
    }

    /// A sentence on what it means.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Developer => "Deploys and changes the apps named here, and sees no others.",
            Self::Viewer => "Sees everything but secrets, changes nothing.",
            Self::Admin => "Does everything but make, change or remove owners.",
            Self::Owner => "Does everything.",
        }
    }
}

/// How far a program may go; a person goes as far as their role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Looks.
    Read,
    /// Looks, deploys, goes back to an earlier release.
    Deploy,
    /// Everything of the role.
    Change,
}

impl Verb {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Deploy, Self::Change];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Change => "change",
        }
    }

    /// The verb of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }
}

/// A role with the apps it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Names of a developer's apps; nobody else is bound to any.
    pub apps: BTreeSet<String>,
    /// How far it goes.
    pub verb: Verb,
}

impl Grant {
    /// Everything.
    pub fn everything() -> Self {
        Self {
            role: Role::Owner,
            apps: BTreeSet::new(),
            verb: Verb::Change,
        }
    }

    /// What a token of somebody with this grant may do: never more than they may themselves.
    #[must_use]
    pub fn narrowed(self, apps: Option<BTreeSet<String>>, verb: Verb) -> Self {
        // A viewer's token looks, whatever it says.
        let most = match self.role {
            Role::Viewer => Verb::Read,
            _ => self.verb,
        };
        let verb = verb.min(most);
        match apps {
            None => Self { verb, ..self },
            Some(mut apps) => {
                apps.retain(|app| self.sees_app(app));
                Self {
                    role: Role::Developer,
                    apps,
                    verb,
                }
            }
        }
    }

    /// Whether this one may know of the app.
    pub fn sees_app(&self, app: &str) -> bool {
        self.role != Role::Developer || self.apps.contains(app)
    }

    /// Whether this one may know of the box as a whole, and of every app on it.
    pub fn sees_box(&self) -> bool {
        self.role >= Role::Viewer
    }

    /// Whether this one may read who did what.
    pub fn sees_audit(&self) -> bool {
        self.role >= Role::Admin
    }

    fn in_charge_of(&self, app: &str) -> bool {
        match self.role {
            Role::Developer => self.apps.contains(app),
            Role::Viewer => false,
            Role::Admin | Role::Owner => true,
        }
    }

    /// Whether this one may deploy the app and take it back to an earlier release.
    pub fn deploys_app(&self, app: &str) -> bool {
        self.verb >= Verb::Deploy && self.in_charge_of(app)
    }

    /// Whether this one may change the app.
    pub fn changes_app(&self, app: &str) -> bool {
        self.verb == Verb::Change && self.in_charge_of(app)
    }

    /// Whether this one may change what is not an app: databases, targets, checks, people.
    pub fn changes_box(&self) -> bool {
        self.verb == Verb::Change && self.role >= Role::Admin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(role: Role) -> Grant {
        Grant {
            role,
            apps: BTreeSet::from(["shop".to_owned()]),
            verb: Verb::Change,
        }
    }

    #[test]
    fn a3_a_token_never_does_more_than_its_user() {
        let only = |app: &str| Some(BTreeSet::from([app.to_owned()]));
        let of_owner = grant(Role::Owner).narrowed(only("blog"), Verb::Deploy);
        assert!(of_owner.deploys_app("blog") && !of_owner.changes_app("blog"));
        assert!(!of_owner.sees_app("shop") && !of_owner.sees_box() && !of_owner.changes_box());
        let of_developer = grant(Role::Developer).narrowed(only("blog"), Verb::Change);
        assert!(!of_developer.sees_app("blog") && !of_developer.sees_app("shop"));
        let of_viewer = grant(Role::Viewer).narrowed(only("blog"), Verb::Change);
        assert!(of_viewer.sees_app("blog") && !of_viewer.deploys_app("blog"));
        let reader = grant(Role::Admin).narrowed(None, Verb::Read);
        assert!(reader.sees_box() && !reader.changes_box() && !reader.deploys_app("shop"));
    }

    #[test]
    fn a3_every_verb_is_read_as_it_is_written() {
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.as_str()), Some(verb));
        }
    }

    #[test]
    fn a2_a_developer_has_the_named_apps_and_nothing_else() {
        let developer = grant(Role::Developer);
        assert!(developer.sees_app("shop") && developer.changes_app("shop"));
        assert!(!developer.sees_app("blog") && !developer.changes_app("blog"));
        assert!(!developer.sees_box() && !developer.changes_box());
    }

    #[test]
    fn a2_a_viewer_sees_all_and_changes_nothing() {
        let viewer = grant(Role::Viewer);
        assert!(viewer.sees_app("shop") && viewer.sees_app("blog") && viewer.sees_box());
        assert!(!viewer.changes_app("shop") && !viewer.changes_box());
    }

    #[test]
    fn a2_admins_and_owners_change_all() {
        for role in [Role::Admin, Role::Owner] {
            let grant = grant(role);
            assert!(grant.changes_app("blog") && grant.changes_box() && grant.sees_box());
        }
    }

    #[test]
    fn a2_every_role_is_read_as_it_is_written() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("root"), None);
    }
}
