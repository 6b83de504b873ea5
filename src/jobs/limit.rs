//! How long one run of a kind of work may take.

use std::sync::Arc;
use std::time::Duration;

/// The longest a run may take; looked at when it begins.
#[derive(Clone)]
pub struct Limit(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Limit {
    /// One that follows the settings.
    pub fn asked(limit: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(limit))
    }

    pub(super) fn now(&self) -> Duration {
        (self.0)()
    }
}

impl From<Duration> for Limit {
    fn from(limit: Duration) -> Self {
        Self::asked(move || limit)
    }
}

/// What is said of a run that took longer.
pub(super) fn over(limit: Duration) -> String {
    let words = match limit.as_secs() {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} minutes", s / 60),
        s => format!("{} hours", s / 3_600),
    };
    format!("the work did not end within {words} and was stopped; see the daemon's log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n6_a_limit_is_told_in_words() {
        let told = |secs| over(Duration::from_secs(secs));
        assert!(told(90).contains("within 90 s and"));
        assert!(told(1_800).contains("within 30 minutes and"));
        assert!(told(26 * 3_600).contains("within 26 hours and"));
    }
}
