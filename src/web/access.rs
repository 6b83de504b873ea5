//! Who may use a route: the one decision, made before any handler runs.

use super::caller::Caller;
use crate::users::Role;

/// What a route needs of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: sign-in, static files, health.
    Nobody,
    /// Nothing; the handler checks a signature or one-time token itself.
    Proof,
    /// To be somebody; the handler shows each their own.
    User,
    /// To know of the app in the path.
    SeeApp,
    /// To be in charge of the app in the path.
    ChangeApp,
    /// To know of the whole box.
    SeeBox,
    /// To be in charge of the box: databases, targets, checks, people.
    ChangeBox,
    /// To come over `freehold.sock`.
    Local,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Yes,
    /// Sign in first: 401.
    SignIn,
    /// You may not: 403.
    No,
    /// As if the app were not there: 404, for it is none of their business whether it is.
    Hidden,
}

/// Whether `caller` may use a route that needs `needs`; `app` is the app its path names.
pub fn decide(needs: Needs, caller: &Caller, app: Option<&str>) -> Verdict {
    let Some(grant) = caller.grant() else {
        return match needs {
            Needs::Nobody | Needs::Proof => Verdict::Yes,
            _ => Verdict::SignIn,
        };
    };
    let allowed = match needs {
        Needs::Nobody | Needs::Proof | Needs::User => true,
        Needs::SeeApp | Needs::ChangeApp => {
            // A route without an app in its path has no app that anybody could be in charge of.
            let Some(app) = app else { return Verdict::No };
            if !grant.sees_app(app) {
                return Verdict::Hidden;
            }
            needs == Needs::SeeApp || grant.changes_app(app)
        }
        Needs::SeeBox => grant.sees_box(),
        Needs::ChangeBox => grant.changes_box(),
        Needs::Local => matches!(caller, Caller::Local { .. }),
    };
    match allowed {
        true => Verdict::Yes,
        false => Verdict::No,
    }
}

/// Why a caller with this role may not, and who could.
pub fn remedy(needs: Needs, role: Role) -> &'static str {
    match (needs, role) {
        (Needs::Local, _) => "It can only be done on the box, with the freehold command.",
        (_, Role::Viewer) => {
            "You are a viewer: ask an admin of this box to do it, or for another role."
        }
        (_, Role::Developer) => {
            "You are a developer of single apps: ask an admin of this box to do it."
        }
        (_, Role::Admin | Role::Owner) => "Only an owner may do it.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::users::Grant;

    fn user(role: Role) -> Caller {
        Caller::User {
            id: 1,
            name: "ana".into(),
            grant: Grant {
                role,
                apps: BTreeSet::from(["shop".to_owned()]),
            },
            token: String::new(),
        }
    }

    #[test]
    fn a4_what_each_may() {
        use Needs::{ChangeApp, ChangeBox, Local, Nobody, SeeApp, SeeBox, User};
        use Verdict::{Hidden, No, SignIn, Yes};
        let all = [Nobody, User, SeeApp, ChangeApp, SeeBox, ChangeBox, Local];
        let rows = [
            (
                Caller::Nobody,
                "shop",
                [Yes, SignIn, SignIn, SignIn, SignIn, SignIn, SignIn],
            ),
            (
                user(Role::Developer),
                "shop",
                [Yes, Yes, Yes, Yes, No, No, No],
            ),
            (
                user(Role::Developer),
                "blog",
                [Yes, Yes, Hidden, Hidden, No, No, No],
            ),
            (user(Role::Viewer), "blog", [Yes, Yes, Yes, No, Yes, No, No]),
            (
                user(Role::Admin),
                "blog",
                [Yes, Yes, Yes, Yes, Yes, Yes, No],
            ),
            (
                user(Role::Owner),
                "blog",
                [Yes, Yes, Yes, Yes, Yes, Yes, No],
            ),
            (Caller::Local { uid: 0 }, "blog", [Yes; 7]),
        ];
        for (caller, app, verdicts) in rows {
            for (needs, verdict) in all.into_iter().zip(verdicts) {
                assert_eq!(
                    decide(needs, &caller, Some(app)),
                    verdict,
                    "{caller:?} {app} {needs:?}"
                );
            }
        }
    }

    #[test]
    fn a4_no_app_in_the_path_is_nobodys_app() {
        assert_eq!(
            decide(Needs::ChangeApp, &user(Role::Owner), None),
            Verdict::No
        );
    }
}
