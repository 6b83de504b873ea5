//! Where a deploy stands, and what may follow.
//!
//! Before `Switching` nothing that is live is touched; from `Switching` on a
//! deploy only goes forward, but for one that has not written its switch and
//! misses a container: that is checked again.

use std::fmt;
use std::time::Duration;

use crate::base::crash_point;

/// A deploy's state, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for its turn.
    Queued,
    /// Brings commit, upload or image here.
    Fetching,
    /// Builds the image.
    Building,
    /// Runs the release command.
    Releasing,
    /// Makes the new containers.
    Starting,
    /// Waits until they are healthy.
    Checking,
    /// Makes the new release live and waits until it gets the traffic.
    Switching,
    /// Live and watched, while the old containers finish and are stopped.
    Draining,
    /// Live; goes back if the new release dies soon after its switch.
    Watching,
    /// Live, and stayed so.
    Live,
    /// Died soon after the switch; the release before came back.
    Returned,
    /// Went wrong; nothing changed for visitors.
    Failed,
    /// Stopped by a person.
    Cancelled,
    /// A newer one took its place: before it began, or before it could switch.
    Superseded,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Queued,
        Self::Fetching,
        Self::Building,
        Self::Releasing,
        Self::Starting,
        Self::Checking,
        Self::Switching,
        Self::Draining,
        Self::Watching,
        Self::Live,
        Self::Returned,
        Self::Failed,
        Self::Cancelled,
        Self::Superseded,
    ];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Fetching => "fetching",
            Self::Building => "building",
            Self::Releasing => "releasing",
            Self::Starting => "starting",
            Self::Checking => "checking",
            Self::Switching => "switching",
            Self::Draining => "draining",
            Self::Watching => "watching",
            Self::Live => "live",
            Self::Returned => "returned",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// The state a stored word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// Whether a delivery that led to a deploy in this state may lead to another.
    pub fn may_repeat(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled | Self::Returned)
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Live | Self::Returned | Self::Failed | Self::Cancelled | Self::Superseded
        )
    }

    /// Whether its own job is done, and the app's next work may begin: what follows, the end of the old containers
    /// and the watch, are jobs that stand in nobody's way.
    pub fn is_handed_on(self) -> bool {
        self == Self::Draining || self.is_settled()
    }

    /// Whether all that follows is watched from outside.
    pub fn is_settled(self) -> bool {
        self == Self::Watching || self.is_final()
    }

    /// Whether the deploy brought its release to the visitors.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Watching | Self::Live)
    }

    /// Whether what is live is untouched yet, so that it may fail or be cancelled.
    pub fn is_before_switch(self) -> bool {
        matches!(
            self,
            Self::Queued
                | Self::Fetching
                | Self::Building
                | Self::Releasing
                | Self::Starting
                | Self::Checking
        )
    }

    /// What the log says when it begins.
    pub fn headline(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Fetching => "Fetching the code",
            Self::Building => "Building the image",
            Self::Releasing => "Release command",
            Self::Starting => "Starting the new containers",
            Self::Checking => "Waiting until they are healthy",
            Self::Switching => "Moving the traffic",
            Self::Draining => "Letting the old containers finish",
            Self::Watching => "Live",
            Self::Live => "Live and well",
            Self::Returned => "Returned to the release before",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Superseded => "A newer deploy took its place",
        }
    }

    /// The longest this state may last, where the settings say nothing else: a drain, beyond what its requests may take.
    pub fn deadline(self, build: Duration) -> Duration {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        match self {
            Self::Fetching => minutes(20),
            Self::Building => build,
            Self::Releasing => minutes(30),
            Self::Starting => minutes(5),
            Self::Checking => minutes(15),
            Self::Switching => minutes(2),
            Self::Draining => minutes(20),
            _ => minutes(1),
        }
    }

    fn point(self, side: &str) -> String {
        format!("deploy.{}.{side}", self.as_str())
    }

    /// Passed just before this state is written.
    pub(super) fn crash_before(self) {
        crash_point::hit(&self.point("before"));
    }

    /// Passed just after this state was written.
    pub(super) fn crash_after(self) {
        crash_point::hit(&self.point("after"));
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every write of a deploy's state around which the tests kill the daemon. `Superseded` is
/// written in the transaction of the newer deploy's `Queued`: its two points lie
/// inside it, and a kill there leaves neither.
pub(super) fn points() -> Vec<String> {
    State::ALL
        .into_iter()
        .flat_map(|s| [s.point("before"), s.point("after")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_every_state_has_a_word_and_two_crash_points() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(points().len(), 2 * State::ALL.len());
        assert_eq!(State::parse("nonsense"), None);
    }

    #[test]
    fn f8_a_state_is_before_the_switch_or_after_it_or_final() {
        for state in State::ALL {
            let after = matches!(state, State::Switching | State::Draining | State::Watching);
            let count = [state.is_before_switch(), after, state.is_final()];
            assert_eq!(count.into_iter().filter(|b| *b).count(), 1, "{state}");
        }
    }
}
