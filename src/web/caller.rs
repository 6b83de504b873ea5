//! Who makes a request.

use std::sync::Arc;

use crate::apps::{Over, Standing};
use crate::base::clock::UnixMs;
use crate::base::secret::sha256_hex;
use crate::users::{Actor, By, Grant};

/// Decided once per request, before any handler runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody is signed in.
    Nobody,
    /// A signed-in user.
    User {
        /// The row.
        id: i64,
        /// The name.
        name: String,
        /// What they may do.
        grant: Grant,
        /// The cookie's value, to tell this session from others.
        token: String,
        /// When the password was last given in it.
        confirmed: UnixMs,
    },
    /// A program with a token.
    Program {
        /// The token's row.
        id: i64,
        /// The token's name.
        name: String,
        /// Whose it is; none for the box's own.
        user: Option<String>,
        /// What it may do.
        grant: Grant,
    },
    /// Somebody on the box, over `freehold.sock`.
    Local {
        /// The kernel's word on who it is.
        uid: u32,
    },
}

impl Caller {
    /// What this caller may do; nothing for nobody.
    pub fn grant(&self) -> Option<Grant> {
        match self {
            Self::Nobody => None,
            Self::User { grant, .. } | Self::Program { grant, .. } => Some(grant.clone()),
            Self::Local { .. } => Some(Grant::everything()),
        }
    }

    /// Whether this caller may know of the app: what lists leave out for the others.
    pub fn sees_app(&self, app: &str) -> bool {
        self.grant().is_some_and(|grant| grant.sees_app(app))
    }

    /// Whether this caller may know of the box as a whole.
    pub fn sees_box(&self) -> bool {
        self.grant().is_some_and(|grant| grant.sees_box())
    }

    /// How this caller stands to each app, for decisions that meet apps beside the one in the path.
    pub fn over(&self) -> Over {
        let grant = self.grant();
        Arc::new(move |app: &str| match &grant {
            Some(grant) if grant.changes_app(app) => Standing::Changes,
            Some(grant) if grant.sees_app(app) => Standing::Sees,
            _ => Standing::Hidden,
        })
    }

    /// The digest of this session's token, whose beginning marks it in lists.
    pub fn session_digest(&self) -> Option<String> {
        match self {
            Self::User { token, .. } => Some(sha256_hex(token.as_bytes())),
            _ => None,
        }
    }

    /// For the activity: "owner", "uid 0 on the box".
    pub fn who(&self) -> String {
        match self {
            Self::Nobody => "nobody".into(),
            Self::User { name, .. } => name.clone(),
            Self::Program { name, user, .. } => match user {
                Some(user) => format!("{user} by the token {name}"),
                None => format!("the token {name}"),
            },
            Self::Local { uid } => format!("uid {uid} on the box"),
        }
    }

    /// As they stand behind what they do to people: what they may is looked at again in the write.
    pub fn by(&self) -> By {
        By {
            who: self.who(),
            actor: match self {
                Self::Nobody => Actor::Nobody,
                Self::User { id, .. } => Actor::Person(*id),
                Self::Program { id, .. } => Actor::Token(*id),
                Self::Local { .. } => Actor::Box,
            },
        }
    }
}
