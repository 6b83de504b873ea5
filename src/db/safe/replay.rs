//! Changes of the journal made again on an older copy, one transaction each.
//!
//! A change is believed only when it changes as many rows as it did the first time. From the first that is missing or
//! does not on, nothing more is made: rows would get other numbers than the first time, and what comes later would be
//! done to the wrong ones. All of it is listed by name, and the state is that of one moment.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::journal::segments;
use super::record::{self, Change, Entry};
use crate::db::{DbError, Kind, migrations};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Changes that were made again.
    pub(super) made: u64,
    /// The newest change of which the journal knows.
    pub(super) last: u64,
    /// Up to which change all of them are there.
    pub(super) reached: u64,
    /// What is missing, by name.
    pub(super) losses: Vec<String>,
}

/// Makes every change after `from` again.
///
/// # Errors
/// When the journal cannot be read at all, or a newer Freehold wrote it. What single changes meet is a loss.
pub(super) fn replay(
    connection: &mut Connection,
    folder: &Path,
    from: u64,
) -> Result<Replayed, DbError> {
    let unread = |e: std::io::Error| {
        DbError::Unavailable(format!("the journal in {}: {e}", folder.display()))
    };
    let files = segments(folder).map_err(unread)?;
    let begin = files
        .iter()
        .rposition(|file| file.first <= from + 1)
        .unwrap_or(0);
    let mut done = Replayed {
        last: from,
        reached: from,
        ..Replayed::default()
    };
    // Held back until another number follows: one that comes again was given up the first time.
    let mut waiting: Option<(u64, Change)> = None;
    let mut torn = false;
    for file in &files[begin..] {
        let bytes = match fs::read(&file.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(file = %file.path.display(), %error, "a file of the journal cannot be read");
                Vec::new()
            }
        };
        for entry in record::entries(&bytes) {
            match entry {
                Entry::Change(number, _) if number <= from => {}
                Entry::Change(number, change) => {
                    if let Some((before, change)) = waiting.take().filter(|(n, _)| *n != number) {
                        one(connection, before, &change, &mut done)?;
                    }
                    torn = false;
                    waiting = Some((number, change));
                }
                Entry::Unreadable { .. } => torn = true,
                Entry::Kept(_) => {}
            }
        }
    }
    if let Some((number, change)) = waiting {
        one(connection, number, &change, &mut done)?;
    }
    if torn {
        done.losses.push(format!(
            "The journal breaks off after change {}: what came after it, if anything, cannot be read.",
            done.last
        ));
    }
    Ok(done)
}

fn one(
    connection: &mut Connection,
    number: u64,
    change: &Change,
    done: &mut Replayed,
) -> Result<(), DbError> {
    if number <= done.last {
        return Ok(());
    }
    missing(done, number - 1);
    done.last = number;
    migrations::migrate_to(connection, Kind::State, change.schema)?;
    let made = match done.losses.is_empty() {
        true => again(connection, number, change)?,
        false => Err("it came after what is missing".into()),
    };
    match made {
        Ok(()) => {
            done.made += 1;
            done.reached = number;
        }
        Err(why) => done.losses.push(format!(
            "{}: {} ({why}).",
            change.at_ms.iso(),
            change.about.join("; ")
        )),
    }
    Ok(())
}

/// Lists what lies between the newest change that was read and `until`, if anything does.
pub(super) fn missing(done: &mut Replayed, until: u64) {
    let first = done.last + 1;
    if until < first {
        return;
    }
    done.losses.push(match until - first {
        0 => format!("Change {first} cannot be read in the journal."),
        _ => format!("Changes {first} to {until} cannot be read in the journal."),
    });
    done.last = until;
}

/// Says why it cannot be made; nothing of it is kept then.
///
/// # Errors
/// What is of the moment and not of the change: that the disk is full, or cannot be read or written. Taken for a loss it
/// would be one for ever.
fn again(
    connection: &mut Connection,
    number: u64,
    change: &Change,
) -> Result<Result<(), String>, DbError> {
    let transaction = connection.transaction()?;
    let before = transaction.total_changes();
    for statement in &change.statements {
        match transaction.execute_batch(statement) {
            Ok(()) => {}
            // It did not pass the first time either, or the count of rows says that it did.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {}
            Err(error) if is_of_the_moment(&error) => return Err(error.into()),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    let rows = transaction.total_changes() - before;
    if rows != change.rows {
        return Ok(Err(format!(
            "made again it changes {rows} rows and not {}",
            change.rows
        )));
    }
    super::hold(&transaction, number)?;
    transaction.commit()?;
    Ok(Ok(()))
}

fn is_of_the_moment(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
        )
    )
}
