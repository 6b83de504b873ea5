//! The second factor: a key shared with an authenticator, and recovery codes for when that is lost.
//!
//! The key is sealed with `master.key`; it counts once a first code has proved
//! that the authenticator has it. Each code works once, a recovery code too.

use std::time::Duration;

use super::authority::{By, insist_or_own};
use super::sign_in::{Checked, Entered, Origin};
use super::{UserError, Users, store, store_second as second, store_sessions as sessions, totp};
use crate::base::clock::UnixMs;
use crate::base::secret::{MasterKey, Secret, fill_random, random_id, random_token, sha256_hex};
use crate::events::{self, Level, NewEvent};

/// Recovery codes made at once.
const CODES: usize = 10;
/// Letters of one: 79 random bits, so that a plain digest keeps it.
const LETTERS: usize = 16;
/// Time between the password and the code.
const HALF_WAY: Duration = Duration::from_secs(300);
/// Wrong codes until the password is asked for again.
const TRIES: i64 = 5;
/// A key that was shown and never used is not shown again after this.
const OFFERED: Duration = Duration::from_secs(3600);

/// How somebody stands with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Since when a code is asked for; none where it is not.
    pub active: Option<UnixMs>,
    /// Recovery codes not used yet.
    pub codes_left: u32,
}

/// A key to put into an authenticator.
#[derive(Clone, Debug)]
pub struct Offer {
    /// As it is typed.
    pub key: Secret,
    /// As it is read from a QR code.
    pub url: Secret,
}

fn context(user: i64) -> String {
    format!("second_factors:{user}:secret")
}

/// The digest of a recovery code, however it was typed.
fn recovery_digest(user: i64, given: &str) -> String {
    let plain: String = given
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .collect();
    sha256_hex(format!("{user}:{}", plain.to_ascii_lowercase()).as_bytes())
}

/// Whether `given` lets `user` in: a code of theirs, used up by this.
pub(super) fn spend(
    tx: &rusqlite::Transaction<'_>,
    key: &MasterKey,
    user: i64,
    given: &str,
    now: UnixMs,
) -> Result<bool, UserError> {
    let Some(factor) = second::find(tx, user)? else {
        return Ok(false);
    };
    let secret = key.open(&context(user), &factor.sealed)?;
    let typed: String = given.chars().filter(|c| !c.is_whitespace()).collect();
    if let Some(step) = totp::step_of(&secret, &typed, now, factor.last_step) {
        second::spend_step(tx, user, step)?;
        return Ok(true);
    }
    Ok(factor.active && second::spend_recovery(tx, user, &recovery_digest(user, given), now)?)
}

fn new_codes(user: i64) -> Result<(Vec<Secret>, Vec<String>), UserError> {
    let mut codes = Vec::new();
    for _ in 0..CODES {
        let letters = random_id(LETTERS)?;
        let groups: Vec<&str> = (0..LETTERS / 4)
            .filter_map(|n| letters.get(n * 4..n * 4 + 4))
            .collect();
        codes.push(Secret::new(groups.join("-")));
    }
    let digests = codes.iter().map(|c| recovery_digest(user, c.expose()));
    let digests = digests.collect();
    Ok((codes, digests))
}

fn told(kind: &'static str, text: String) -> NewEvent {
    NewEvent::new(kind, Level::Info, "box", text)
}

impl Users {
    /// How `user` stands with it.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn second_factor(&self, user: i64) -> Result<Standing, UserError> {
        self.db
            .read(move |c| second::standing(c, user).map_err(UserError::from))
            .await
    }

    /// By what the key of `user` and their recovery codes are told from others: whether they changed, and nothing of what
    /// they are. Empty where there are none.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn second_factor_marks(&self, user: i64) -> Result<(Secret, Secret), UserError> {
        self.db
            .read(move |c| {
                let sealed = second::find(c, user)?.map(|factor| sha256_hex(&factor.sealed));
                let codes = second::codes(c, user)?;
                Ok((Secret::new(sealed.unwrap_or_default()), Secret::new(codes)))
            })
            .await
    }

    /// Makes a key for `user`; it counts from [`Self::activate_second_factor`] on.
    ///
    /// # Errors
    /// [`UserError::SecondFactor`] when one is on already, or the database's.
    pub async fn offer_second_factor(&self, user: i64, now: UnixMs) -> Result<(), UserError> {
        let mut secret = [0u8; totp::KEY];
        fill_random(&mut secret)?;
        let sealed = self.key.seal(&context(user), &secret)?;
        self.db
            .write(move |tx| {
                if second::standing(tx, user)?.active.is_some() {
                    return Err(UserError::SecondFactor(
                        "a second factor is on already: turn it off before you set up another",
                    ));
                }
                Ok(second::begin(tx, user, &sealed, now)?)
            })
            .await
    }

    /// The key that was made for `user` and is not on yet, if there is one.
    ///
    /// # Errors
    /// Only the database's, or a seal that does not open.
    pub async fn offered_second_factor(
        &self,
        user: i64,
        issuer: &str,
        now: UnixMs,
    ) -> Result<Option<Offer>, UserError> {
        let (account, factor) = self
            .db
            .read(move |c| {
                let account = store::account_by_id(c, user)?;
                Ok::<_, UserError>((account, second::find(c, user)?))
            })
            .await?;
        let (Some(account), Some(factor)) = (account, factor) else {
            return Ok(None);
        };
        if factor.active || now.since(factor.created) > OFFERED {
            return Ok(None);
        }
        let secret = self.key.open(&context(user), &factor.sealed)?;
        Ok(Some(Offer {
            key: totp::base32(&secret),
            url: totp::url(&secret, &account.name, issuer),
        }))
    }

    /// A first code proves that the authenticator has the key: from now on codes are asked for.
    /// Other sessions end, since they came in without. The recovery codes are told here and
    /// nowhere else.
    ///
    /// # Errors
    /// [`UserError::WrongCode`], [`UserError::SecondFactor`], [`UserError::SlowDown`], or the database's.
    pub async fn activate_second_factor(
        &self,
        (user, token): (i64, &str),
        code: &str,
        from: &Origin,
        now: UnixMs,
    ) -> Result<Vec<Secret>, UserError> {
        let account = self
            .db
            .read(move |c| store::account_by_id(c, user).map_err(UserError::from))
            .await?
            .ok_or(UserError::NoSession)?;
        let counted = self.counted(&account.name, Some(&account), from).await?;
        self.begin(&counted, now)?;
        let (codes, digests) = new_codes(user)?;
        let (key, code) = (self.key.clone(), code.to_owned());
        let keep = sha256_hex(token.as_bytes());
        let done = self
            .db
            .write(move |tx| {
                let offered = second::find(tx, user)?
                    .filter(|f| !f.active && now.since(f.created) <= OFFERED);
                if offered.is_none() {
                    return Err(UserError::SecondFactor(
                        "there is no key to confirm: begin setting up a second factor again",
                    ));
                }
                if !spend(tx, &key, user, &code, now)? {
                    return Ok(false);
                }
                second::activate(tx, user, now)?;
                second::set_recovery(tx, user, &digests)?;
                sessions::end_all(tx, user, Some(&keep))?;
                let text = format!("{} turned their second factor on.", account.name);
                events::record(tx, now, &told("user.second_factor", text))?;
                Ok(true)
            })
            .await?;
        self.judge(done, &counted).await?;
        Ok(codes)
    }

    /// New recovery codes for `user`; those of before work no more.
    ///
    /// # Errors
    /// [`UserError::SecondFactor`] when none is on, or the database's.
    pub async fn new_recovery_codes(
        &self,
        user: i64,
        now: UnixMs,
    ) -> Result<Vec<Secret>, UserError> {
        let (codes, digests) = new_codes(user)?;
        self.db
            .write(move |tx| {
                let account = store::account_by_id(tx, user)?.ok_or(UserError::NoSession)?;
                if second::standing(tx, user)?.active.is_none() {
                    return Err(UserError::SecondFactor(
                        "no second factor is on: set one up first",
                    ));
                }
                second::set_recovery(tx, user, &digests)?;
                let text = format!("{} made new recovery codes.", account.name);
                events::record(tx, now, &told("user.second_factor", text))?;
                Ok(())
            })
            .await?;
        Ok(codes)
    }

    /// Turns the second factor of the user of that name off: by themselves, or by who is in charge of them. A program
    /// does it for nobody: what it took away would stay away when its token has ended.
    ///
    /// # Errors
    /// [`UserError::NotFound`], [`UserError::SecondFactor`] when none is on, [`UserError::OnlyOwners`],
    /// [`UserError::NotInCharge`], or the database's.
    pub async fn remove_second_factor(
        &self,
        name: &str,
        by: By,
        now: UnixMs,
    ) -> Result<(), UserError> {
        let name = name.to_owned();
        self.db
            .write(move |tx| {
                let Some(account) = store::account_by_name(tx, &name)? else {
                    return Err(UserError::NotFound(name));
                };
                by.in_person()?;
                insist_or_own(tx, &by, account.id, now)?;
                if !second::remove(tx, account.id)? {
                    return Err(UserError::SecondFactor(
                        "no second factor is on, so there is none to turn off",
                    ));
                }
                let text = format!("The second factor of {name} was turned off by {}.", by.who);
                events::record(tx, now, &told("user.second_factor", text))?;
                Ok(())
            })
            .await
    }

    /// The password was right: the half-way sign-in that the code completes.
    pub(super) async fn begin_half(
        &self,
        checked: Checked,
        now: UnixMs,
    ) -> Result<Secret, UserError> {
        let half = random_token()?;
        let digest = sha256_hex(half.expose().as_bytes());
        self.db
            .write(move |tx| {
                checked.still(tx)?;
                second::insert_half(tx, &digest, checked.user, now.plus(HALF_WAY), now)
                    .map_err(UserError::from)
            })
            .await?;
        Ok(half)
    }

    /// Whose half-way sign-in this is, while it is open.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn who_is_half_way(
        &self,
        half: &str,
        now: UnixMs,
    ) -> Result<Option<String>, UserError> {
        let digest = sha256_hex(half.as_bytes());
        self.db
            .read(move |c| match second::half(c, &digest, now)? {
                Some(user) => Ok(store::account_by_id(c, user)?.map(|a| a.name)),
                None => Ok(None),
            })
            .await
    }

    /// The code after the password: signs in.
    ///
    /// # Errors
    /// [`UserError::HalfWayOver`], [`UserError::WrongCode`], [`UserError::SlowDown`], or the database's.
    pub async fn finish_sign_in(
        &self,
        half: &str,
        code: &str,
        from: Origin,
        now: UnixMs,
    ) -> Result<Entered, UserError> {
        let digest = sha256_hex(half.as_bytes());
        let wanted = digest.clone();
        let account = self
            .db
            .read(move |c| match second::half(c, &wanted, now)? {
                Some(user) => Ok::<_, UserError>(store::account_by_id(c, user)?),
                None => Ok(None),
            })
            .await?
            .ok_or(UserError::HalfWayOver)?;
        let counted = self.counted(&account.name, Some(&account), &from).await?;
        self.begin(&counted, now)?;
        let (key, code, user) = (self.key.clone(), code.to_owned(), account.id);
        // In one step: a new password ends halves, and nobody may stand between the half and the session.
        let entered = self
            .enter(from, now, move |tx| {
                if second::half(tx, &digest, now)?.is_none() {
                    return Err(UserError::HalfWayOver);
                }
                if !spend(tx, &key, user, &code, now)? {
                    second::half_failed(tx, &digest, TRIES)?;
                    return Ok(None);
                }
                second::end_half(tx, &digest)?;
                Ok(Some(user))
            })
            .await?;
        self.judge(entered.is_some(), &counted).await?;
        entered
            .map(|(entered, _)| entered)
            .ok_or(UserError::WrongCode)
    }

    /// Whether `user` gives a right code, where one is asked for.
    pub(super) async fn code_is_right(
        &self,
        user: i64,
        code: &str,
        now: UnixMs,
    ) -> Result<bool, UserError> {
        let (key, code) = (self.key.clone(), code.to_owned());
        self.db
            .write(move |tx| match second::standing(tx, user)?.active {
                Some(_) => spend(tx, &key, user, &code, now),
                None => Ok(true),
            })
            .await
    }

    async fn judge(&self, good: bool, counted: &super::throttle::Counted) -> Result<(), UserError> {
        if good {
            return self.succeeded(counted).await;
        }
        self.failed(counted).await?;
        tracing::warn!("a code was refused");
        Err(UserError::WrongCode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_recovery_codes_are_typed_in_any_way_and_belong_to_one() {
        let (codes, digests) = new_codes(1).unwrap();
        assert_eq!((codes.len(), digests.len()), (CODES, CODES));
        let code = codes[0].expose();
        assert_eq!(code.len(), LETTERS + 3);
        let loud = format!(" {} ", code.replace('-', " ").to_uppercase());
        assert_eq!(recovery_digest(1, &loud), digests[0]);
        assert_ne!(recovery_digest(2, code), digests[0]);
    }
}
