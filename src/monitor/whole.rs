//! Whether the file of the figures is whole: read through after the start, when the box serves
//! already, and told when it is not.
//!
//! A year of figures takes longer to read than all the rest of a start. Nothing but graphs and
//! shares stands on them, so apps are served meanwhile, and afterwards too: damage is an event
//! and the first thing the overview, `status` and `doctor` name, until the file was replaced.

use std::time::Duration;

use tokio::sync::watch;

use crate::base::clock::UnixMs;
use crate::base::shutdown::Shutdown;
use crate::db::{Db, DbError};
use crate::events::{self, Level, NewEvent};

/// The start has the processor and the disk for itself.
const AFTER: Duration = Duration::from_secs(3);

/// Looks once; `damage` is what is wrong.
pub(super) async fn look(
    state: Db,
    metrics: Db,
    damage: watch::Sender<Option<String>>,
    shutdown: Shutdown,
) {
    tokio::select! {
        () = shutdown.begun() => return,
        () = tokio::time::sleep(AFTER) => {}
    }
    // A read that is under way when the daemon stops is not waited for.
    let checked = tokio::select! {
        () = shutdown.begun() => return,
        checked = metrics.check() => checked,
    };
    let Err(error) = checked else {
        return;
    };
    let why = error.to_string();
    tracing::error!(%error, "the figures cannot be relied on; apps are served all the same");
    damage.send_replace(Some(why.clone()));
    let event = NewEvent::new("figures.damaged", Level::Error, "box", why);
    let told: Result<i64, DbError> = state
        .write(move |tx| events::record(tx, UnixMs::now(), &event))
        .await;
    if let Err(error) = told {
        tracing::error!(%error, "that the figures are damaged could not be written down");
    }
}
