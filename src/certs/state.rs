//! The states of an order, and the crash points that follow from them.
//!
//! `Prepared → Ordered → ChallengeLive → Validated → Finalizing → Issued`, or
//! `Failed` from anywhere. Each state is written in one transaction; what a
//! state promises is true before it is written, except that `Finalizing` says
//! only that the request may have been sent.

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderState {
    /// The key and the request for it are stored; nobody was asked.
    Prepared,
    /// The server has given the order a URL.
    Ordered,
    /// Port 80 answers the challenge.
    ChallengeLive,
    /// The server has seen the answer.
    Validated,
    /// The stored request is sent, perhaps.
    Finalizing,
    /// The certificate is stored.
    Issued,
    /// Given up; another try makes another order.
    Failed,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Prepared,
        Self::Ordered,
        Self::ChallengeLive,
        Self::Validated,
        Self::Finalizing,
        Self::Issued,
        Self::Failed,
    ];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Ordered => "ordered",
            Self::ChallengeLive => "challenge_live",
            Self::Validated => "validated",
            Self::Finalizing => "finalizing",
            Self::Issued => "issued",
            Self::Failed => "failed",
        }
    }

    /// The state of a stored word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether nothing follows.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Issued | Self::Failed)
    }

    pub(super) fn before(self) -> String {
        format!("certs.order.{}.before", self.as_str())
    }

    pub(super) fn after(self) -> String {
        format!("certs.order.{}.after", self.as_str())
    }
}

/// Every crash point of this domain; each has a test that kills there.
pub fn crash_points() -> Vec<String> {
    OrderState::ALL
        .into_iter()
        .flat_map(|s| [s.before(), s.after()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_every_state_has_its_word_and_two_crash_points() {
        for state in OrderState::ALL {
            assert_eq!(OrderState::parse(state.as_str()), Some(state));
        }
        assert_eq!(crash_points().len(), 14);
        assert!(crash_points().contains(&"certs.order.finalizing.before".to_owned()));
    }
}
