//! The people of the box: asked in by a link, given a role, taken out again.

use std::time::Duration;

use super::authority::{By, insist};
use super::store::{self, Link};
use super::throttle::{Subject, Tally};
use super::{
    OWNER, Role, UserError, Users, store_devices as devices, store_second as second,
    store_sessions as sessions,
};
use crate::base::clock::UnixMs;
use crate::base::secret::{Secret, random_token, sha256_hex};
use crate::events::{self, Level, NewEvent};

/// How long a setup link works.
pub(super) const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long an invitation works: people are away for a weekend.
const INVITATION_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);
/// People of one box, those asked in among them.
const MOST: usize = 1000;
/// A name's longest; an e-mail address fits.
const NAME: usize = 80;

/// A user as others see them in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The row; none until an invitation is taken.
    pub id: Option<i64>,
    /// The name they sign in with.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// A developer's apps, by name.
    pub apps: Vec<String>,
    /// When they were made, or asked in.
    pub since: UnixMs,
    /// When they were last here.
    pub seen: Option<UnixMs>,
    /// Whether a code is asked of them at sign-in.
    pub second_factor: bool,
    /// Until when the invitation works; none for those who have taken it.
    pub invited_until: Option<UnixMs>,
}

/// Whom to ask in.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name they will sign in with.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Ids of a developer's apps.
    pub apps: Vec<i64>,
}

/// A name to sign in with: what an e-mail address or a short name is made of.
fn parse_name(text: &str) -> Result<String, UserError> {
    let text = text.trim().to_lowercase();
    let good = (1..=NAME).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "@._+-".contains(c));
    match good {
        true => Ok(text),
        false => Err(UserError::Invalid(format!(
            "this cannot be a user's name: use an e-mail address, or up to {NAME} letters, digits and . _ + -"
        ))),
    }
}

fn bound(role: Role, apps: Vec<i64>) -> Result<Vec<i64>, UserError> {
    match role {
        Role::Developer if apps.is_empty() => Err(UserError::Invalid(
            "a developer needs at least one app: name it, or choose another role".into(),
        )),
        Role::Developer => Ok(apps),
        _ => Ok(Vec::new()),
    }
}

fn not_found(name: &str) -> UserError {
    UserError::NotFound(name.chars().take(NAME).collect())
}

fn told(kind: &'static str, text: String) -> NewEvent {
    NewEvent::new(kind, Level::Info, "box", text)
}

impl Users {
    /// Everybody, by name; those whose invitation is still open among them.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn people(&self, now: UnixMs) -> Result<Vec<Person>, UserError> {
        self.db
            .read(move |c| store::people(c, now).map_err(UserError::from))
            .await
    }

    /// A new one-time token for the owner's setup page; an earlier one ends.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn new_setup_link(&self, now: UnixMs) -> Result<Secret, UserError> {
        let by = By::the_box("the box");
        self.link(OWNER.to_owned(), by, LINK_LIFE, now, |_, _, _| {
            let text = "A new setup link was made on the box.".to_owned();
            Ok((Role::Owner, Vec::new(), text))
        })
        .await
    }

    /// Asks somebody in: a one-time token by which they set their password. Asking again ends the
    /// earlier one.
    ///
    /// # Errors
    /// [`UserError::Invalid`] for what is wrong with it, [`UserError::NameTaken`], [`UserError::OnlyOwners`],
    /// [`UserError::NotInCharge`], or the database's.
    pub async fn invite(
        &self,
        new: NewUser,
        by: By,
        now: UnixMs,
    ) -> Result<(String, Secret), UserError> {
        let name = parse_name(&new.name)?;
        let apps = bound(new.role, new.apps)?;
        let token = self
            .link(name.clone(), by, INVITATION_LIFE, now, move |tx, name, by| {
                // In the write: an invitation that is taken in between must not become a new password for who took it.
                if store::account_by_name(tx, name)?.is_some() {
                    return Err(UserError::NameTaken(name.to_owned()));
                }
                // What somebody else asked them in as is theirs to take back who may give it.
                match store::open_link_for(tx, name, now)? {
                    Some((role, _)) => insist(tx, by, role, now)?,
                    None if store::count(tx, now)? >= MOST => {
                        return Err(UserError::Invalid(format!(
                            "there are {MOST} people already: take out those who do not come any more"
                        )));
                    }
                    None => (),
                }
                let text = format!("{name} was asked in as {} by {}.", new.role.as_str(), by.who);
                Ok((new.role, apps, text))
            })
            .await?;
        Ok((name, token))
    }

    /// A new one-time token for somebody who cannot come in any more.
    ///
    /// # Errors
    /// [`UserError::NotFound`], [`UserError::OnlyOwners`], [`UserError::NotInCharge`], or the database's.
    pub async fn reset(&self, name: &str, by: By, now: UnixMs) -> Result<Secret, UserError> {
        self.link(name.to_owned(), by, LINK_LIFE, now, move |tx, name, by| {
            let (role, apps) = match store::account_by_name(tx, name)? {
                Some(account) => (store::role_of(tx, account.id)?, Vec::new()),
                // One who has not come in yet keeps what the first link would have made of them.
                None => match store::open_link_for(tx, name, now)? {
                    Some((role, apps)) => (Some(role), apps),
                    None => (None, Vec::new()),
                },
            };
            let role = role.ok_or_else(|| not_found(name))?;
            let text = format!("A new link for {name} was made by {}.", by.who);
            Ok((role, apps, text))
        })
        .await
    }

    /// The user of that name, or who was asked in by it.
    ///
    /// # Errors
    /// [`UserError::NotFound`], or the database's.
    pub async fn person(&self, name: &str, now: UnixMs) -> Result<Person, UserError> {
        let all = self.people(now).await?;
        all.into_iter()
            .find(|p| p.name == name)
            .ok_or_else(|| not_found(name))
    }

    /// By what the open link for `name` is told from another; empty where there is none.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn link_mark(&self, name: &str, now: UnixMs) -> Result<Secret, UserError> {
        let name = name.to_owned();
        let mark = self
            .db
            .read(move |c| store::open_link_digest(c, &name, now).map_err(UserError::from))
            .await?;
        Ok(Secret::new(mark.unwrap_or_default()))
    }

    /// Gives somebody another role or other apps. It counts from their next request. With another role the open links for
    /// them end, and with a lesser one those they made.
    ///
    /// # Errors
    /// [`UserError::NotFound`], [`UserError::NotInYet`], [`UserError::Invalid`], [`UserError::OnlyOwners`],
    /// [`UserError::NotInCharge`], [`UserError::LastOwner`], or the database's.
    pub async fn change_role(
        &self,
        name: &str,
        role: Role,
        apps: Vec<i64>,
        by: By,
        now: UnixMs,
    ) -> Result<(), UserError> {
        let apps = bound(role, apps)?;
        let name = name.to_owned();
        self.db
            .write(move |tx| {
                let Some(user) = store::account_by_name(tx, &name)?.map(|a| a.id) else {
                    return Err(match store::open_link_for(tx, &name, now)? {
                        Some(_) => UserError::NotInYet(name),
                        None => not_found(&name),
                    });
                };
                by.in_person()?;
                let before = store::role_of(tx, user)?;
                insist(tx, &by, before.unwrap_or(role).max(role), now)?;
                let owners = store::owners(tx)?;
                store::set_role(tx, user, role, &apps)?;
                if owners > 0 && store::owners(tx)? == 0 {
                    return Err(UserError::LastOwner);
                }
                if before != Some(role) {
                    store::end_links_for(tx, &name)?;
                }
                if before.is_none_or(|before| role < before) {
                    store::end_links_by(tx, user)?;
                }
                let text = format!("{name} is {} now, by {}.", role.as_str(), by.who);
                events::record(tx, now, &told("user.role", text))?;
                Ok(())
            })
            .await
    }

    /// Takes somebody out: their sessions and the links they made end with this; an invitation is taken back.
    ///
    /// # Errors
    /// [`UserError::NotFound`], [`UserError::OnlyOwners`], [`UserError::NotInCharge`], [`UserError::LastOwner`], or the
    /// database's.
    pub async fn remove_user(&self, name: &str, by: By, now: UnixMs) -> Result<(), UserError> {
        let name = name.to_owned();
        self.db
            .write(move |tx| {
                let role = match store::account_by_name(tx, &name)? {
                    Some(account) => store::role_of(tx, account.id)?,
                    None => store::open_link_for(tx, &name, now)?.map(|(role, _)| role),
                };
                if let Some(role) = role {
                    insist(tx, &by, role, now)?;
                }
                let owners = store::owners(tx)?;
                let gone = store::remove_user(tx, &name)?;
                if !gone {
                    return Err(not_found(&name));
                }
                if owners > 0 && store::owners(tx)? == 0 {
                    return Err(UserError::LastOwner);
                }
                let text = format!("{name} was taken out by {}.", by.who);
                events::record(tx, now, &told("user.removed", text))?;
                Ok(())
            })
            .await
    }

    /// Makes a link for `name`. `what` looks, in the write, whether it may be and what it gives: the role, ids of apps,
    /// and the sentence for the activity.
    async fn link(
        &self,
        name: String,
        by: By,
        life: Duration,
        now: UnixMs,
        what: impl FnOnce(
            &rusqlite::Transaction<'_>,
            &str,
            &By,
        ) -> Result<(Role, Vec<i64>, String), UserError>
        + Send
        + 'static,
    ) -> Result<Secret, UserError> {
        let token = random_token()?;
        let digest = sha256_hex(token.expose().as_bytes());
        let user = self
            .db
            .write(move |tx| {
                let maker = by.in_person()?;
                let (role, apps, text) = what(tx, &name, &by)?;
                insist(tx, &by, role, now)?;
                let link = Link {
                    digest,
                    user: name,
                    role,
                    apps,
                    made_by: by.who,
                    maker,
                };
                store::insert_link(tx, &link, now, now.plus(life))?;
                events::record(tx, now, &told("user.link", text))?;
                // Who needs a link has lost their password, or should not be in at all.
                let account = store::account_by_name(tx, &link.user)?;
                if let Some(account) = &account {
                    sessions::end_all(tx, account.id, None)?;
                    devices::forget(tx, account.id, None)?;
                    second::end_halves(tx, account.id)?;
                    devices::set_tally(tx, Subject::Account(account.id), Tally::default())?;
                }
                Ok::<_, UserError>(account.map(|a| a.id))
            })
            .await?;
        if let Some(user) = user {
            let counted = vec![(Subject::Account(user), Tally::default())];
            self.throttle().forget(&counted);
        }
        Ok(token)
    }
}
