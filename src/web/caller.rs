//! Who makes a request.

use crate::users::Role;

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
        role: Role,
        /// The cookie's value, to tell this session from others.
        token: String,
    },
    /// Somebody on the box, over `freehold.sock`.
    Local {
        /// The kernel's word on who it is.
        uid: u32,
    },
}

impl Caller {
    /// Whether this caller may do what an owner may.
    pub fn is_owner(&self) -> bool {
        match self {
            Self::Nobody => false,
            Self::User { role, .. } => *role == Role::Owner,
            Self::Local { .. } => true,
        }
    }

    /// For the activity: "owner", "uid 0 on the box".
    pub fn who(&self) -> String {
        match self {
            Self::Nobody => "nobody".into(),
            Self::User { name, .. } => name.clone(),
            Self::Local { uid } => format!("uid {uid} on the box"),
        }
    }
}
