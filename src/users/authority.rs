//! Who acts on people, and whether they still may: looked at in the transaction that writes.
//!
//! A request's caller was read before its handler ran. Between the two they may have been made less, their
//! token may have ended, and whom they act on may have been made more; so what is done to somebody asks here
//! again, among the rows as they are at that moment.

use rusqlite::Transaction;

use super::store_tokens as tokens;
use super::{Role, UserError, store};
use crate::base::clock::UnixMs;

/// Who makes, changes or takes out somebody, or ends what is theirs.
#[derive(Clone, Debug)]
pub struct By {
    /// In words, for the activity.
    pub who: String,
    /// Whose rows say what they may do.
    pub actor: Actor,
}

/// What kind of caller, and by which row it is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The box itself, over its own socket or from within: everything.
    Box,
    /// Somebody who signed in: what their role allows.
    Person(i64),
    /// A program: what its token allows, and its user.
    Token(i64),
    /// Somebody nobody knows: nothing.
    Nobody,
}

impl By {
    /// The box itself.
    pub fn the_box(who: impl Into<String>) -> Self {
        Self {
            who: who.into(),
            actor: Actor::Box,
        }
    }

    /// Whether what is done to `user` is done by themselves.
    pub(super) fn is(&self, user: i64) -> bool {
        self.actor == Actor::Person(user)
    }

    /// The row of who makes a link or gives a role; none for the box itself. A program does neither: what it
    /// made would outlive its token.
    pub(super) fn in_person(&self) -> Result<Option<i64>, UserError> {
        match self.actor {
            Actor::Box => Ok(None),
            Actor::Person(user) => Ok(Some(user)),
            Actor::Token(_) | Actor::Nobody => Err(UserError::NotInCharge),
        }
    }
}

/// Whether `maker` may give `role` now; no row is the box itself, which may give every one.
pub(super) fn may(tx: &Transaction<'_>, maker: Option<i64>, role: Role) -> Result<bool, UserError> {
    let Some(maker) = maker else { return Ok(true) };
    let has = store::role_of(tx, maker)?;
    Ok(has.is_some_and(|has| has.may_give(role)))
}

/// That `by` may now change somebody of this role, or what is theirs.
///
/// # Errors
/// [`UserError::OnlyOwners`] for an owner, [`UserError::NotInCharge`] for anybody.
pub(super) fn insist(
    tx: &Transaction<'_>,
    by: &By,
    role: Role,
    now: UnixMs,
) -> Result<(), UserError> {
    let has = match by.actor {
        Actor::Box => Some(Role::Owner),
        Actor::Person(user) => store::role_of(tx, user)?,
        // Bound to apps or to a lesser verb, it has no people at all.
        Actor::Token(id) => tokens::grant_of(tx, id, now)?
            .filter(|grant| grant.changes_box())
            .map(|grant| grant.role),
        Actor::Nobody => None,
    };
    match has {
        Some(has) if has.may_give(role) => Ok(()),
        Some(Role::Admin) => Err(UserError::OnlyOwners),
        _ => Err(UserError::NotInCharge),
    }
}

/// [`insist`], unless it is their own; the role is that of the user's row, and one who is gone has nothing.
///
/// # Errors
/// [`UserError::NoSession`] when there is no such user any more, or what [`insist`] says.
pub(super) fn insist_or_own(
    tx: &Transaction<'_>,
    by: &By,
    user: i64,
    now: UnixMs,
) -> Result<(), UserError> {
    if by.is(user) {
        return Ok(());
    }
    let role = store::role_of(tx, user)?.ok_or(UserError::NoSession)?;
    insist(tx, by, role, now)
}
