//! A piece of a long list: rows with falling numbers, from a number downwards.

/// Which rows of a list are wanted, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Only rows with a number below this one.
    pub before: Option<i64>,
    /// Only rows in this state.
    pub state: Option<String>,
    /// At most so many.
    pub limit: u32,
}

impl From<u32> for Slice {
    fn from(limit: u32) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }
}
