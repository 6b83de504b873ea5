//! Maintenance: an app's requests are held, then answered with a page, until it is switched off or its time is over.
//!
//! Like every pause it is a row with a deadline: what somebody forgets, or a crash leaves, ends by itself. What is over
//! is as good as off at once; [`Apps::end_pauses`] clears it away and says so.

use std::time::Duration;

use super::error::AppError;
use super::{Apps, pause, record, store};
use crate::base::clock::UnixMs;
use crate::base::units;

/// How long, where nobody says.
pub const USUAL: Duration = Duration::from_secs(24 * 3_600);
const SHORTEST: Duration = Duration::from_secs(60);
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How long a switch to `on` lasts, by its form; `None` is off.
///
/// # Errors
/// When the time is none, too short or too long, or stands beside off.
pub fn lasts(on: bool, time: Option<&str>) -> Result<Option<Duration>, AppError> {
    let time = time.map(str::trim).filter(|text| !text.is_empty());
    match (on, time) {
        (true, None) => Ok(Some(USUAL)),
        (true, Some(text)) => {
            let time = units::duration(text).map_err(AppError::Invalid)?;
            if !(SHORTEST..=LONGEST).contains(&time) {
                return Err(AppError::Invalid(format!(
                    "maintenance lasts from 1m to 30d, not {text}: it can be switched on again at any time"
                )));
            }
            Ok(Some(time))
        }
        (false, None) => Ok(None),
        (false, Some(_)) => Err(AppError::Invalid(
            "maintenance that is switched off lasts no time: leave the time away".to_owned(),
        )),
    }
}

impl Apps {
    /// Holds the app's requests for so long, then answers them with a maintenance page; `None` ends it. Switched on
    /// again it lasts so long from now. Says whether anything changed.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn set_maintenance(
        &self,
        app: i64,
        lasts: Option<Duration>,
        by: &str,
        now: UnixMs,
    ) -> Result<bool, AppError> {
        let until = lasts.map(|time| now.plus(time));
        let message = match until {
            Some(until) => format!(
                "Maintenance was switched on by {by}, until {} at the latest.",
                until.iso()
            ),
            None => format!("Maintenance was switched off by {by}."),
        };
        self.db
            .write(move |tx| {
                let changed = store::set_maintenance(tx, app, until)?;
                record(tx, now, app, "app.maintenance", message)?;
                Ok(changed)
            })
            .await
    }

    /// Clears away pauses and maintenance whose time is over.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn end_pauses(&self, now: UnixMs) -> Result<(), AppError> {
        self.db
            .write(move |tx| {
                pause::store::end(tx, now)?;
                for app in store::end_maintenance(tx, now)? {
                    let message = "Maintenance ended by itself: its time was over.".to_owned();
                    record(tx, now, app, "app.maintenance", message)?;
                }
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n6_maintenance_lasts_a_day_or_what_is_said_within_bounds() {
        let hours = |n: u64| Some(Duration::from_secs(n * 3_600));
        assert_eq!(lasts(true, None).unwrap(), hours(24));
        assert_eq!(lasts(true, Some(" ")).unwrap(), hours(24), "an empty field");
        assert_eq!(lasts(true, Some("2h")).unwrap(), hours(2));
        assert_eq!(lasts(false, None).unwrap(), None);
        for (on, bad, says) in [
            (true, "soon", "is not a duration"),
            (true, "59s", "from 1m to 30d"),
            (true, "31d", "from 1m to 30d"),
            (false, "2h", "leave the time away"),
        ] {
            let error = lasts(on, Some(bad)).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
