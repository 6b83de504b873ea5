//! Who may use a route: the one decision, made before any handler runs.

use super::caller::Caller;
use crate::base::clock::UnixMs;
use crate::users::{Role, is_fresh};

/// What a route needs of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: sign-in, static files, health.
    Nobody,
    /// Nothing; the handler checks a signature or one-time token itself.
    Proof,
    /// To be somebody; the handler shows each their own.
    User,
    /// To be a person, and not a program: one's own password, sessions and tokens.
    Person,
    /// To know of the app in the path.
    SeeApp,
    /// To deploy the app in the path.
    DeployApp,
    /// To be in charge of the app in the path.
    ChangeApp,
    /// To know of the whole box.
    SeeBox,
    /// To answer for the box: an admin or owner, also by a token that only looks. Not a viewer: the audit
    /// log tells where colleagues sign in from, what they were refused, and which names strangers try.
    SeeAudit,
    /// To be in charge of the box: databases, targets, checks, people.
    ChangeBox,
    /// To be in charge of the box, and a person: who comes in, and as what. What a program made would outlive its token.
    ChangePeople,
    /// To come over `freehold.sock`.
    Local,
}

impl Needs {
    /// In words, for the API's description.
    pub fn words(self) -> &'static str {
        match self {
            Self::Nobody => "Nothing.",
            Self::Proof => "A signature or a one-time token in the request itself.",
            Self::User => "To be signed in; one sees one's own.",
            Self::Person => "To be signed in as a person, not as a program.",
            Self::SeeApp => "To know of the app; to others it is not there.",
            Self::DeployApp => {
                "To deploy the app; to those who do not know of it, it is not there."
            }
            Self::ChangeApp => {
                "To be in charge of the app; to those who do not know of it, it is not there."
            }
            Self::SeeBox => "To know of the whole box: a viewer, admin or owner.",
            Self::SeeAudit => {
                "To answer for the box: an admin or owner, also by a token that reads."
            }
            Self::ChangeBox => "To be in charge of the box: an admin or owner.",
            Self::ChangePeople => {
                "To be in charge of the box, as a person and not as a program: an admin or owner."
            }
            Self::Local => "To be on the box, with the freehold command.",
        }
    }
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
        Needs::Person => is_person(caller),
        Needs::SeeApp | Needs::DeployApp | Needs::ChangeApp => {
            // A route without an app in its path has no app that anybody could be in charge of.
            let Some(app) = app else { return Verdict::No };
            if !grant.sees_app(app) {
                return Verdict::Hidden;
            }
            match needs {
                Needs::SeeApp => true,
                Needs::DeployApp => grant.deploys_app(app),
                _ => grant.changes_app(app),
            }
        }
        Needs::SeeBox => grant.sees_box(),
        Needs::SeeAudit => grant.sees_audit(),
        Needs::ChangeBox => grant.changes_box(),
        Needs::ChangePeople => grant.changes_box() && is_person(caller),
        Needs::Local => matches!(caller, Caller::Local { .. }),
    };
    match allowed {
        true => Verdict::Yes,
        false => Verdict::No,
    }
}

/// Whoever came in is a person, or a program with a token.
fn is_person(caller: &Caller) -> bool {
    !matches!(caller, Caller::Program { .. })
}

/// Whether `caller` has to give their password again before something dangerous. Programs and the
/// box's own socket have none.
pub fn must_confirm(caller: &Caller, now: UnixMs) -> bool {
    matches!(caller, Caller::User { confirmed, .. } if !is_fresh(*confirmed, now))
}

/// Why this caller may not, and who could.
pub fn remedy(needs: Needs, caller: &Caller) -> &'static str {
    if !is_person(caller) && needs != Needs::Local {
        if matches!(needs, Needs::Person | Needs::ChangePeople) {
            return "No token goes so far: a person does it, signed in to the dashboard, or on the box with the freehold command.";
        }
        return "This token does not go so far: make one with another verb or for other apps.";
    }
    let role = caller.grant().map_or(Role::Developer, |grant| grant.role);
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
    use crate::users::{Grant, Verb};

    fn grant(role: Role, verb: Verb) -> Grant {
        Grant {
            role,
            apps: BTreeSet::from(["shop".to_owned()]),
            verb,
        }
    }

    fn user(role: Role) -> Caller {
        Caller::User {
            id: 1,
            name: "ana".into(),
            grant: grant(role, Verb::Change),
            token: String::new(),
            confirmed: UnixMs(0),
        }
    }

    fn program(role: Role, verb: Verb) -> Caller {
        Caller::Program {
            id: 1,
            name: "ci".into(),
            user: None,
            grant: grant(role, verb),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a4_what_each_may() {
        use Needs::{ChangeApp, ChangeBox, ChangePeople, DeployApp, Local, Nobody, Person, SeeApp, SeeBox, User};
        use Verdict::{Hidden, No, SignIn, Yes};
        let all = [Nobody, User, Person, SeeApp, DeployApp, ChangeApp, SeeBox, ChangeBox, ChangePeople, Local];
        let rows = [
            (Caller::Nobody, "shop", [Yes, SignIn, SignIn, SignIn, SignIn, SignIn, SignIn, SignIn, SignIn, SignIn]),
            (user(Role::Developer), "shop", [Yes, Yes, Yes, Yes, Yes, Yes, No, No, No, No]),
            (user(Role::Developer), "blog", [Yes, Yes, Yes, Hidden, Hidden, Hidden, No, No, No, No]),
            (user(Role::Viewer), "blog", [Yes, Yes, Yes, Yes, No, No, Yes, No, No, No]),
            (user(Role::Admin), "blog", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, No]),
            (user(Role::Owner), "blog", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, No]),
            (program(Role::Developer, Verb::Deploy), "shop", [Yes, Yes, No, Yes, Yes, No, No, No, No, No]),
            (program(Role::Developer, Verb::Deploy), "blog", [Yes, Yes, No, Hidden, Hidden, Hidden, No, No, No, No]),
            (program(Role::Owner, Verb::Read), "blog", [Yes, Yes, No, Yes, No, No, Yes, No, No, No]),
            (program(Role::Owner, Verb::Change), "blog", [Yes, Yes, No, Yes, Yes, Yes, Yes, Yes, No, No]),
            (Caller::Local { uid: 0 }, "blog", [Yes; 10]),
        ];
        for (caller, app, verdicts) in rows {
            for (needs, verdict) in all.into_iter().zip(verdicts) {
                assert_eq!(decide(needs, &caller, Some(app)), verdict, "{caller:?} {app} {needs:?}");
            }
        }
    }

    #[test]
    fn a2_only_a_person_has_a_password_to_give_again() {
        let now = UnixMs(10_000_000);
        let mut person = user(Role::Owner);
        assert!(must_confirm(&person, now));
        if let Caller::User { confirmed, .. } = &mut person {
            *confirmed = now;
        }
        assert!(!must_confirm(&person, now));
        assert!(!must_confirm(&program(Role::Owner, Verb::Change), now));
        assert!(!must_confirm(&Caller::Local { uid: 0 }, now));
    }

    #[test]
    fn a5_the_audit_log_is_for_those_who_answer_for_the_box() {
        use Verdict::{No, SignIn, Yes};
        for (caller, verdict) in [
            (Caller::Nobody, SignIn),
            (user(Role::Developer), No),
            (user(Role::Viewer), No),
            (user(Role::Admin), Yes),
            (user(Role::Owner), Yes),
            (program(Role::Admin, Verb::Read), Yes),
            (program(Role::Viewer, Verb::Read), No),
            (program(Role::Developer, Verb::Change), No),
            (Caller::Local { uid: 0 }, Yes),
        ] {
            assert_eq!(
                decide(Needs::SeeAudit, &caller, None),
                verdict,
                "{caller:?}"
            );
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
