//! Who may make whom: what pages and API ask before they touch a user.

use super::caller::Caller;
use super::error::Failure;
use super::services::App;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::{Role, UserError};
use crate::wire::problem::{Problem, ProblemKind};

/// Whether `caller` may give this role, and change or take out those who have it: only owners touch owners.
pub fn may_give(caller: &Caller, role: Role) -> bool {
    caller
        .grant()
        .is_some_and(|grant| grant.changes_box() && role <= grant.role)
}

/// The role of that name, if `caller` may give it.
///
/// # Errors
/// That there is none, or that they may not.
pub fn role(caller: &Caller, text: &str) -> Result<Role, Failure> {
    let Some(role) = Role::parse(text.trim()) else {
        let all: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
        let text = format!("a role is one of {}", all.join(", "));
        return Err(Failure::new(ProblemKind::Invalid, text));
    };
    match may_give(caller, role) {
        true => Ok(role),
        false => Err(only_owners()),
    }
}

/// That `caller` may change the user of that name.
///
/// # Errors
/// That there is none, or that they may not.
pub async fn in_charge_of(app: &App, caller: &Caller, name: &str) -> Result<(), Failure> {
    let person = app.users.person(name, UnixMs::now()).await?;
    match may_give(caller, person.role) {
        true => Ok(()),
        false => Err(only_owners()),
    }
}

/// The row of the user of that name, whom `caller` may change.
///
/// # Errors
/// That there is none yet of somebody asked in, or what [`in_charge_of`] says.
pub async fn row_of(app: &App, caller: &Caller, name: &str) -> Result<i64, Failure> {
    in_charge_of(app, caller, name).await?;
    let person = app.users.person(name, UnixMs::now()).await?;
    person.id.ok_or_else(|| UserError::NoSession.into())
}

fn only_owners() -> Failure {
    Problem::new(
        ProblemKind::Forbidden,
        "only an owner may make, change or take out an owner",
    )
    .remedy("Ask an owner of this box to do it.")
    .into()
}

/// The ids of the apps with these names; empty names are left out.
///
/// # Errors
/// That one is not there.
pub async fn apps<'a>(
    app: &App,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<i64>, Failure> {
    let mut ids = Vec::new();
    for name in names.map(str::trim).filter(|name| !name.is_empty()) {
        ids.push(app.apps.find(name).await?.id);
    }
    Ok(ids)
}

/// That tokens of somebody go on though their sessions ended, and how to end them; nothing where there are none.
pub fn tokens_go_on(count: usize, name: &str) -> String {
    let what = match count {
        0 => return String::new(),
        1 => format!("A token of {name} goes on"),
        n => format!("{n} tokens of {name} go on"),
    };
    format!(
        "{what}: a program that has one still comes in. `freehold token list` on the box shows them, `freehold token rm` ends one."
    )
}

/// The address of a one-time link.
pub fn link(app: &App, token: &Secret) -> String {
    format!("{}/setup/{}", app.dashboard_url(), token.expose())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::{Grant, Verb};

    #[test]
    fn a2_only_owners_touch_owners() {
        let user = |role| Caller::User {
            id: 1,
            name: "ana".into(),
            grant: Grant {
                role,
                apps: [].into(),
                verb: Verb::Change,
            },
            token: String::new(),
            confirmed: UnixMs(0),
        };
        assert!(may_give(&user(Role::Owner), Role::Owner));
        assert!(!may_give(&user(Role::Admin), Role::Owner));
        assert!(may_give(&user(Role::Admin), Role::Admin));
        for role in Role::ALL {
            assert!(!may_give(&user(Role::Viewer), role));
            assert!(!may_give(&user(Role::Developer), role));
            assert!(!may_give(&Caller::Nobody, role));
            assert!(may_give(&Caller::Local { uid: 0 }, role));
        }
    }
}
