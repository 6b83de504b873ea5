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
        .is_some_and(|grant| grant.changes_box() && grant.role.may_give(role))
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
        false => Err(UserError::OnlyOwners.into()),
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
        false => Err(UserError::OnlyOwners.into()),
    }
}

/// The row of the user of that name, whom `caller` may change.
///
/// # Errors
/// That there is none yet of somebody asked in, or what [`in_charge_of`] says.
pub async fn row_of(app: &App, caller: &Caller, name: &str) -> Result<i64, Failure> {
    in_charge_of(app, caller, name).await?;
    let person = app.users.person(name, UnixMs::now()).await?;
    person
        .id
        .ok_or_else(|| UserError::NotInYet(name.to_owned()).into())
}

/// Apps that can be named at once; the bodies' types say the same.
const MOST_APPS: usize = 100;

/// The names in a form's field, between commas.
pub fn typed(field: &str) -> impl Iterator<Item = &str> {
    let names = field.split(',').map(str::trim);
    names.filter(|name| !name.is_empty())
}

/// The names as they were given, each once. A blank one is no name: left out, it could leave a list empty that then means
/// something else.
///
/// # Errors
/// That one is blank, or that there are too many.
pub fn names<'a>(given: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, Failure> {
    let mut names = Vec::new();
    for (count, name) in given.map(str::trim).enumerate() {
        let wrong = match name {
            _ if count >= MOST_APPS => Some(format!("more than {MOST_APPS} apps are named")),
            "" => Some("an app in the list has no name".to_owned()),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(Problem::new(ProblemKind::Invalid, wrong)
                .remedy("Name each app by the name that `freehold app list` shows.")
                .into());
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The ids of the apps with these names.
///
/// # Errors
/// That one is blank or not there, or that there are too many.
pub async fn apps<'a>(
    app: &App,
    given: impl Iterator<Item = &'a str>,
) -> Result<Vec<i64>, Failure> {
    let mut ids = Vec::new();
    for name in names(given)? {
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
    fn a3_a_list_of_apps_is_bounded_and_has_no_blank_names() {
        let some = |count: usize| (0..count).map(|n| format!("app-{n}")).collect::<Vec<_>>();
        let told = |all: &[String]| names(all.iter().map(String::as_str)).map(|n| n.len());
        assert_eq!(told(&some(100)).unwrap(), 100);
        assert!(told(&some(101)).is_err());
        assert!(names(["shop", " "].into_iter()).is_err());
        let twice = names(["shop", "blog", " shop"].into_iter()).unwrap();
        assert_eq!(twice, ["shop", "blog"]);
        assert_eq!(typed(" shop,, blog ").collect::<Vec<_>>(), ["shop", "blog"]);
        assert_eq!(typed(" , ").count(), 0);
    }

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
