//! Coming in: by a one-time link, by name and password; and the proof that it is still oneself.

use std::net::IpAddr;

use super::store_sessions::Beginning;
use super::throttle::{self, Counted, Tally};
use super::{
    SESSION_IDLE, UserError, Users, authority, password, password_rule, store,
    store_devices as devices, store_second as second, store_sessions as sessions,
};
use crate::base::clock::UnixMs;
use crate::base::secret::{Secret, random_token, sha256_hex};
use crate::events::{self, Level, NewEvent};

/// Nobody's password is this box's kind of name.
const PRODUCT: &str = "freehold";

/// Where somebody comes from: for the sessions list, and to slow strangers down.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The client's address as the edge saw it.
    pub address: Option<IpAddr>,
    /// The browser's own words, cut short.
    pub agent: String,
    /// The value of the cookie by which accounts know a browser.
    pub device: Option<Secret>,
    /// The name the box was asked by; no password is made of it.
    pub host: String,
}

/// What a name and a password led to.
#[derive(Clone, Debug)]
pub enum SignedIn {
    /// In.
    Whole(Entered),
    /// A code is asked for too: what goes into the cookie until then. It gives no access.
    Half(Secret),
}

/// That it is oneself: the password again, and a code where the account asks for one.
#[derive(Clone, Debug)]
pub struct Proof {
    /// As at sign-in.
    pub password: Secret,
    /// Of the authenticator, or a recovery code; empty where none is asked for.
    pub code: String,
}

impl Origin {
    fn device_digest(&self) -> Option<String> {
        self.device
            .as_ref()
            .map(|token| sha256_hex(token.expose().as_bytes()))
    }
}

/// Somebody who came in: what goes into the cookies.
#[derive(Clone, Debug)]
pub struct Entered {
    /// The session's.
    pub session: Secret,
    /// The browser's, by which the account knows it from now on.
    pub device: Secret,
}

/// An account as a try meets it.
pub(super) struct Account {
    pub id: i64,
    pub name: String,
    pub hash: String,
    pub tally: Tally,
}

/// The name of who signs in, as it is kept, of what they typed.
pub fn signs_in_as(typed: &str) -> String {
    typed.trim().to_lowercase()
}

/// That a password was right, and for which: whoever comes in by it later looks whether it still is.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub user: i64,
    hash: String,
}

impl Checked {
    /// That the password is the same one as when it was looked at: argon2 takes its time, and a change or a link may
    /// have come in between, which ended every session there was then.
    pub(super) fn still(&self, tx: &rusqlite::Transaction<'_>) -> Result<(), UserError> {
        match store::account_by_id(tx, self.user)? {
            Some(account) if account.hash == self.hash => Ok(()),
            _ => Err(UserError::WrongPassword),
        }
    }
}

impl Users {
    /// Whom the open link `token` is for.
    ///
    /// # Errors
    /// [`UserError::LinkInvalid`], [`UserError::SlowDown`], or the database's.
    pub async fn link_is_for(
        &self,
        token: &str,
        from: &Origin,
        now: UnixMs,
    ) -> Result<String, UserError> {
        let counted = throttle::by_address(from.address);
        self.begin(&counted, now)?;
        let digest = sha256_hex(token.as_bytes());
        let link = self
            .db
            .read(move |c| store::open_link(c, &digest, now).map_err(UserError::from))
            .await?
            .ok_or(UserError::LinkInvalid)?;
        self.throttle().take_back(&counted);
        Ok(link.user)
    }

    /// Whom the open link `token` is for, for what is written down of a try: it is told to nobody who tries, and so not
    /// counted among tries.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn whose_link(&self, token: &str, now: UnixMs) -> Result<Option<String>, UserError> {
        let digest = sha256_hex(token.as_bytes());
        let link = self
            .db
            .read(move |c| store::open_link(c, &digest, now).map_err(UserError::from))
            .await?;
        Ok(link.map(|link| link.user))
    }

    /// Uses up the link, sets the password of the user it is for (who is made
    /// where there is none yet), ends their other sessions and signs in.
    ///
    /// # Errors
    /// [`UserError::LinkInvalid`], [`UserError::PasswordRule`], [`UserError::SlowDown`], or the database's.
    pub async fn set_up(
        &self,
        token: &str,
        password: Secret,
        from: Origin,
        now: UnixMs,
    ) -> Result<Entered, UserError> {
        let name = self.link_is_for(token, &from, now).await?;
        password_rule::rule(&password, &[name.as_str(), from.host.as_str(), PRODUCT])?;
        let hash = self.hash(password).await?;
        let digest = sha256_hex(token.as_bytes());
        let (entered, user) = self
            .enter(from, now, move |tx| {
                let Some(link) = store::open_link(tx, &digest, now)? else {
                    return Err(UserError::LinkInvalid);
                };
                // What its maker may give can have become less since, and whom it is for more.
                let account = store::account_by_name(tx, &link.user)?;
                let gives = match &account {
                    Some(account) => store::role_of(tx, account.id)?.unwrap_or(link.role),
                    None => link.role,
                };
                if !authority::may(tx, link.maker, gives)? {
                    return Err(UserError::LinkInvalid);
                }
                store::use_link(tx, &digest, now)?;
                let user = store::upsert_user(tx, &link, &hash, now)?;
                sessions::end_all(tx, user, None)?;
                devices::forget(tx, user, None)?;
                second::end_halves(tx, user)?;
                let was_on = match second::remove(tx, user)? {
                    true => " Their second factor is off.",
                    false => "",
                };
                let text = format!("{} set a password by a one-time link.{was_on}", link.user);
                let event = NewEvent::new("user.setup", Level::Info, "box", text);
                events::record(tx, now, &event)?;
                Ok(Some(user))
            })
            .await?
            .ok_or(UserError::LinkInvalid)?;
        let account = Some((user, Tally::default()));
        self.throttle()
            .forget(&throttle::counted(&name, None, account, None));
        Ok(entered)
    }

    /// Signs in, or asks for the code where the account has a second factor.
    ///
    /// # Errors
    /// [`UserError::WrongPassword`], [`UserError::SlowDown`], or the database's.
    pub async fn sign_in(
        &self,
        name: &str,
        password: Secret,
        from: Origin,
        now: UnixMs,
    ) -> Result<SignedIn, UserError> {
        let name = signs_in_as(name);
        let wanted = name.clone();
        let account = self
            .db
            .read(move |c| store::account_by_name(c, &wanted).map_err(UserError::from))
            .await?;
        let given = (password, false);
        let (checked, counted) = self.check(&name, account, given, &from, now).await?;
        if self.second_factor(checked.user).await?.active.is_some() {
            // What was counted before stays: a right password opens no more tries at the code.
            self.throttle().take_back(&counted);
            return Ok(SignedIn::Half(self.begin_half(checked, now).await?));
        }
        self.come_in(checked, from, &counted, now).await
    }

    /// In, by a password that was right: unless it, or what is asked beside it, changed meanwhile.
    pub(super) async fn come_in(
        &self,
        checked: Checked,
        from: Origin,
        counted: &Counted,
        now: UnixMs,
    ) -> Result<SignedIn, UserError> {
        let entered = self
            .enter(from, now, move |tx| {
                checked.still(tx)?;
                // One that was turned on in between asks for its code.
                match second::standing(tx, checked.user)?.active {
                    Some(_) => Err(UserError::WrongPassword),
                    None => Ok(Some(checked.user)),
                }
            })
            .await
            .and_then(|entered| entered.ok_or(UserError::WrongPassword));
        let entered = match entered {
            Ok((entered, _)) => entered,
            Err(error) => {
                self.throttle().take_back(counted);
                return Err(error);
            }
        };
        self.succeeded(counted).await?;
        Ok(SignedIn::Whole(entered))
    }

    /// That it is `user` who asks: their password again, and a code where one is asked for.
    ///
    /// # Errors
    /// [`UserError::WrongPassword`], [`UserError::CodeNeeded`], [`UserError::WrongCode`],
    /// [`UserError::SlowDown`], or the database's.
    pub(super) async fn prove(
        &self,
        user: i64,
        proof: Proof,
        from: &Origin,
        now: UnixMs,
    ) -> Result<(), UserError> {
        let account = self
            .db
            .read(move |c| store::account_by_id(c, user).map_err(UserError::from))
            .await?;
        let name = account.as_ref().map_or(String::new(), |a| a.name.clone());
        let password = proof.password;
        let given = (password, true);
        let (_, counted) = self.check(&name, account, given, from, now).await?;
        if self.code_is_right(user, &proof.code, now).await? {
            return self.succeeded(&counted).await;
        }
        if proof.code.trim().is_empty() {
            self.throttle().take_back(&counted);
            return Err(UserError::CodeNeeded);
        }
        self.failed(&counted).await?;
        Err(UserError::WrongCode)
    }

    /// Changes the password of `user` and ends every session but the one of `token`, which goes on
    /// under the cookie returned.
    ///
    /// # Errors
    /// [`UserError::WrongPassword`], [`UserError::PasswordRule`], [`UserError::SlowDown`], or the database's.
    pub async fn change_password(
        &self,
        (user, token): (i64, &str),
        proof: Proof,
        new: Secret,
        from: &Origin,
        now: UnixMs,
    ) -> Result<Secret, UserError> {
        let name = self.name_of(user).await?;
        password_rule::rule(&new, &[name.as_str(), from.host.as_str(), PRODUCT])?;
        self.prove(user, proof, from, now).await?;
        let hash = self.hash(new).await?;
        let fresh = random_token()?;
        let (old, new) = (
            sha256_hex(token.as_bytes()),
            sha256_hex(fresh.expose().as_bytes()),
        );
        self.db
            .write(move |tx| {
                store::set_hash(tx, user, &hash)?;
                if !sessions::renew(tx, &old, &new, user, now)? {
                    return Err(UserError::NoSession);
                }
                devices::forget(tx, user, Some(&new))?;
                sessions::end_all(tx, user, Some(&new))?;
                second::end_halves(tx, user)?;
                // A link sets the password too: whoever has one must not undo this.
                store::end_links_for(tx, &name)?;
                let text = format!("{name} changed their password.");
                let event = NewEvent::new("user.password", Level::Info, "box", text);
                events::record(tx, now, &event)?;
                Ok(())
            })
            .await?;
        Ok(fresh)
    }

    /// By what the password of `user` is told from another: whether it changed, and nothing of what it is.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn password_mark(&self, user: i64) -> Result<Secret, UserError> {
        let account = self
            .db
            .read(move |c| store::account_by_id(c, user).map_err(UserError::from))
            .await?;
        let hash = account.map_or(String::new(), |a| sha256_hex(a.hash.as_bytes()));
        Ok(Secret::new(hash))
    }

    async fn name_of(&self, user: i64) -> Result<String, UserError> {
        let account = self
            .db
            .read(move |c| store::account_by_id(c, user).map_err(UserError::from))
            .await?;
        account.map(|a| a.name).ok_or(UserError::NoSession)
    }

    /// Looks at a password, slowly when there were many wrong ones. The try stays counted until
    /// [`Self::succeeded`] says otherwise. `known` is somebody who is in already.
    pub(super) async fn check(
        &self,
        name: &str,
        account: Option<Account>,
        (password, known): (Secret, bool),
        from: &Origin,
        now: UnixMs,
    ) -> Result<(Checked, Counted), UserError> {
        let counted = self.counted(name, account.as_ref(), from).await?;
        let device =
            |(subject, _): &(throttle::Subject, _)| matches!(subject, throttle::Subject::Device(_));
        let known = known || counted.iter().any(device);
        self.begin(&counted, now)?;
        let hash = account
            .as_ref()
            .map_or(password::DECOY, |a| a.hash.as_str())
            .to_owned();
        let good = match self.verify(known, password, hash).await {
            Ok(good) => good,
            Err(error) => {
                // Nobody looked at it, so it was no wrong one.
                self.throttle().take_back(&counted);
                return Err(error);
            }
        };
        match account {
            Some(account) if good => {
                let checked = Checked {
                    user: account.id,
                    hash: account.hash,
                };
                Ok((checked, counted))
            }
            _ => {
                self.failed(&counted).await?;
                tracing::warn!(address = ?from.address, "a password was refused");
                Err(UserError::WrongPassword)
            }
        }
    }

    /// What a try at this account from there counts for.
    pub(super) async fn counted(
        &self,
        name: &str,
        account: Option<&Account>,
        from: &Origin,
    ) -> Result<Counted, UserError> {
        let account = account.map(|a| (a.id, a.tally));
        let device = match (account, from.device_digest()) {
            (Some((user, _)), Some(digest)) => {
                self.db
                    .read(move |c| devices::known(c, &digest, user).map_err(UserError::from))
                    .await?
            }
            _ => None,
        };
        Ok(throttle::counted(name, from.address, account, device))
    }

    pub(super) fn begin(&self, counted: &Counted, now: UnixMs) -> Result<(), UserError> {
        let begun = self.throttle().begin(counted, now);
        begun.map_err(|wait| UserError::SlowDown(wait.as_secs().max(1)))
    }

    /// What was counted stays, over a restart too.
    pub(super) async fn failed(&self, counted: &Counted) -> Result<(), UserError> {
        self.keep_tallies(counted).await
    }

    /// It was right: what is counted is forgotten.
    pub(super) async fn succeeded(&self, counted: &Counted) -> Result<(), UserError> {
        let none_kept = counted.iter().all(|(_, stored)| stored.failures == 0);
        self.throttle().forget(counted);
        match none_kept {
            true => Ok(()),
            false => self.keep_tallies(counted).await,
        }
    }

    async fn keep_tallies(&self, counted: &Counted) -> Result<(), UserError> {
        let tallies = self.throttle().to_keep(counted);
        if tallies.is_empty() {
            return Ok(());
        }
        self.db
            .write(move |tx| {
                for (subject, tally) in tallies {
                    devices::set_tally(tx, subject, tally)?;
                }
                Ok::<_, UserError>(())
            })
            .await
    }

    /// Begins a session of the user that `who` tells, in the same transaction; none when it tells nobody, and what it
    /// wrote stays.
    pub(super) async fn enter(
        &self,
        from: Origin,
        now: UnixMs,
        who: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<Option<i64>, UserError> + Send + 'static,
    ) -> Result<Option<(Entered, i64)>, UserError> {
        let entered = Entered {
            session: random_token()?,
            device: random_token()?,
        };
        let digest = sha256_hex(entered.session.expose().as_bytes());
        let device = sha256_hex(entered.device.expose().as_bytes());
        let user = self
            .db
            .write(move |tx| {
                let Some(user) = who(tx)? else {
                    return Ok(None);
                };
                let old = from.device_digest();
                let device = devices::came_in(tx, old.as_deref(), &device, user, now)?;
                let new = Beginning {
                    digest: &digest,
                    user,
                    from: &from,
                    device,
                    expires: now.plus(SESSION_IDLE),
                };
                sessions::insert(tx, &new, now)?;
                Ok::<_, UserError>(Some(user))
            })
            .await?;
        Ok(user.map(|user| (entered, user)))
    }
}
