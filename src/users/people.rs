//! The people of the box: asked in by a link, given a role, taken out again.

use std::time::Duration;

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
        let text = "A new setup link was made on the box.".to_owned();
        self.link(
            OWNER,
            Role::Owner,
            Vec::new(),
            "the box",
            LINK_LIFE,
            text,
            now,
        )
        .await
    }

    /// Asks somebody in: a one-time token by which they set their password. Asking again ends the
    /// earlier one.
    ///
    /// # Errors
    /// [`UserError::Invalid`] for what is wrong with it, [`UserError::NameTaken`], or the database's.
    pub async fn invite(
        &self,
        new: NewUser,
        by: &str,
        now: UnixMs,
    ) -> Result<(String, Secret), UserError> {
        let name = parse_name(&new.name)?;
        let apps = bound(new.role, new.apps)?;
        let wanted = name.clone();
        let taken = self
            .db
            .read(move |c| store::account_by_name(c, &wanted).map_err(UserError::from))
            .await?;
        if taken.is_some() {
            return Err(UserError::NameTaken(name));
        }
        let text = format!("{name} was asked in as {} by {by}.", new.role.as_str());
        let token = self
            .link(&name, new.role, apps, by, INVITATION_LIFE, text, now)
            .await?;
        Ok((name, token))
    }

    /// A new one-time token for somebody who cannot come in any more.
    ///
    /// # Errors
    /// [`UserError::NotFound`], or the database's.
    pub async fn reset(&self, name: &str, by: &str, now: UnixMs) -> Result<Secret, UserError> {
        let person = self.person(name, now).await?;
        // One who has not come in yet keeps what the first link would have made of them.
        let wanted = name.to_owned();
        let apps = self
            .db
            .read(move |c| store::invited_for(c, &wanted).map_err(UserError::from))
            .await?;
        let text = format!("A new link for {name} was made by {by}.");
        self.link(name, person.role, apps, by, LINK_LIFE, text, now)
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
            .ok_or_else(|| UserError::NotFound(name.chars().take(NAME).collect()))
    }

    /// Gives somebody another role or other apps. It counts from their next request.
    ///
    /// # Errors
    /// [`UserError::NotFound`], [`UserError::Invalid`], [`UserError::LastOwner`], or the database's.
    pub async fn change_role(
        &self,
        name: &str,
        role: Role,
        apps: Vec<i64>,
        by: &str,
        now: UnixMs,
    ) -> Result<(), UserError> {
        let apps = bound(role, apps)?;
        let (name, by) = (name.to_owned(), by.to_owned());
        self.db
            .write(move |tx| {
                let Some(user) = store::account_by_name(tx, &name)?.map(|a| a.id) else {
                    return Err(UserError::NotFound(name));
                };
                let owners = store::owners(tx)?;
                store::set_role(tx, user, role, &apps)?;
                if owners > 0 && store::owners(tx)? == 0 {
                    return Err(UserError::LastOwner);
                }
                let text = format!("{name} is {} now, by {by}.", role.as_str());
                events::record(tx, now, &told("user.role", text))?;
                Ok(())
            })
            .await
    }

    /// Takes somebody out: their sessions end with this; an invitation is taken back.
    ///
    /// # Errors
    /// [`UserError::NotFound`], [`UserError::LastOwner`], or the database's.
    pub async fn remove_user(&self, name: &str, by: &str, now: UnixMs) -> Result<(), UserError> {
        let (name, by) = (name.to_owned(), by.to_owned());
        self.db
            .write(move |tx| {
                let owners = store::owners(tx)?;
                let gone = store::remove_user(tx, &name)?;
                if !gone {
                    return Err(UserError::NotFound(name));
                }
                if owners > 0 && store::owners(tx)? == 0 {
                    return Err(UserError::LastOwner);
                }
                let text = format!("{name} was taken out by {by}.");
                events::record(tx, now, &told("user.removed", text))?;
                Ok(())
            })
            .await
    }

    #[expect(clippy::too_many_arguments, reason = "what a link says, each once")]
    async fn link(
        &self,
        name: &str,
        role: Role,
        apps: Vec<i64>,
        by: &str,
        life: Duration,
        text: String,
        now: UnixMs,
    ) -> Result<Secret, UserError> {
        let token = random_token()?;
        let link = Link {
            digest: sha256_hex(token.expose().as_bytes()),
            user: name.to_owned(),
            role,
            apps,
            made_by: by.to_owned(),
        };
        let user = self
            .db
            .write(move |tx| {
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
