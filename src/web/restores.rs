//! Asking for a restore: what pages and API have in common.

use super::audit::Telling;
use super::caller::Caller;
use super::error::Failure;
use super::services::App;
use crate::backup::Restore;

/// Brings the backup `id` back, onto its own server or the one called `into`; tells the audit log which restore this is,
/// where it goes and what is kept beside it.
///
/// # Errors
/// When it is not stored, or the server is not there, not ready or too old.
pub async fn ask(
    app: &App,
    caller: &Caller,
    telling: &Telling,
    (id, into): (i64, Option<&str>),
) -> Result<Restore, Failure> {
    let restore = app.backups.restore(id, into, &caller.who()).await?;
    telling.tell("restore", restore.id);
    telling.tell("part", restore.logical.as_str());
    telling.tell("kept", restore.kept.as_str());
    if let Some(server) = app.databases.by_id(restore.database).await? {
        telling.tell("into", server.name.to_string());
    }
    Ok(restore)
}
