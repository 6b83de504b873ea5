//! Keeps a second copy of the state: a snapshot at the start and every hour, and a loud word where one was needed.
//!
//! What is copied how, and how a damaged state is made anew, is left to `db`.

use std::time::Duration;

use tokio::sync::watch;

use crate::base::clock::UnixMs;
use crate::base::shutdown::Tasks;
use crate::db::{self, Db, DbError, Recovery};
use crate::events::{self, Level, NewEvent};

const HOUR: Duration = Duration::from_secs(3_600);
/// After a snapshot that failed.
const AGAIN: Duration = Duration::from_secs(60);
/// Not right behind another, however fast the journal grows.
const APART: Duration = Duration::from_secs(30);

/// Takes snapshots until shutdown. The receiver says why there is none of the last hour, while that is so.
pub fn start(db: Db, tasks: &Tasks) -> watch::Receiver<Option<String>> {
    let (tell, told) = watch::channel(None);
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("snapshots", async move {
        loop {
            tell_recoveries(&db).await;
            let fault = db.snapshot(UnixMs::now()).await.err();
            let (rest, word) = match &fault {
                None => (HOUR, None),
                Some(error) => {
                    tracing::warn!(%error, "no snapshot of the state could be taken; it is tried again");
                    let grown = db.journal_bytes().div_ceil(1024 * 1024);
                    let told = format!("{error}; the journal takes {grown} MB meanwhile");
                    (AGAIN, Some(told))
                }
            };
            tell.send_replace(word);
            let soon = async {
                tokio::time::sleep(APART).await;
                db.journal_is_large().await;
            };
            tokio::select! {
                () = shutdown.begun() => return,
                () = tokio::time::sleep(rest) => {}
                () = soon => {}
            }
        }
    });
    told
}

/// Records an event of every recovery of which none is recorded yet.
async fn tell_recoveries(db: &Db) {
    let told = async {
        for recovery in db.recoveries().await?.into_iter().filter(|r| !r.told) {
            let now = UnixMs::now();
            db.write(move |tx| {
                events::record(tx, now, &event(&recovery))?;
                db::mark_recovery_told(tx, recovery.id, now)
            })
            .await?;
        }
        Ok::<_, DbError>(())
    };
    if let Err(error) = told.await {
        tracing::warn!(%error, "the event of a recovery could not be recorded; it is tried again");
    }
}

fn event(recovery: &Recovery) -> NewEvent {
    let lost = match recovery.losses.len() {
        0 => "nothing is missing".to_owned(),
        n => format!("{n} of what was there could not be brought back"),
    };
    NewEvent::new(
        "state.recovered",
        Level::Error,
        "box",
        format!(
            "state.db could not be used ({}), so it was made anew from the snapshot of {} and {} changes of the journal: {lost}.",
            recovery.why,
            recovery.snapshot.iso(),
            recovery.replayed
        ),
    )
    .with(serde_json::json!({
        "aside": recovery.aside.as_ref().map(|p| p.display().to_string()),
        "losses": recovery.losses,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_the_event_of_a_recovery_says_what_was_taken_and_what_is_missing() {
        let recovery = Recovery {
            id: 1,
            at: UnixMs(0),
            why: "it was gone".into(),
            snapshot: UnixMs(0),
            replayed: 3,
            aside: None,
            losses: vec!["Change 2 cannot be read in the journal.".into()],
            told: false,
        };
        let event = event(&recovery);
        assert_eq!(
            event.message,
            "state.db could not be used (it was gone), so it was made anew from the snapshot of 1970-01-01T00:00:00Z and 3 changes of the journal: 1 of what was there could not be brought back."
        );
        assert!(event.data.to_string().contains("Change 2"));
    }
}
