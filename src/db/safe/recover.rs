//! Whether the database can be used as it lies there, and what is done where it cannot.
//!
//! It cannot where SQLite finds it damaged, where it is gone though there are snapshots of it, and where changes that
//! were acknowledged are not in it. Then the newest snapshot that is whole and the journal make it anew, beside; what
//! was there is moved aside, never removed; then the new one takes its place. Where that leaves something out, and the
//! database is whole though short, a copy of itself is tried as the beginning, too: what goes further is taken. A
//! recovery that breaks off anywhere is done again from the beginning at the next start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::journal::{Reach, Tail, tail};
use super::notice::{self, Made};
use super::replay::{missing, replay};
use super::snapshot::{self, Snapshot, gone};
use crate::base::clock::UnixMs;
use crate::db::{DbError, migrations, open};

/// The database as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Absent,
    /// SQLite finds nothing wrong; the newest change in it, where there is anything in it.
    Whole(Option<u64>),
    /// SQLite finds nothing wrong, and it is of a Freehold that kept no journal.
    Older,
    /// What SQLite found, and the newest change in it, where that could be read.
    Damaged(String, Option<u64>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Use,
    /// Used; snapshots and journal are of another one and are moved aside.
    UseWithout,
    /// Nothing that was acknowledged is missing; what was about to be committed is.
    Redo(u64),
    /// Made anew, because of this.
    Recover(String),
    /// Damaged, and there is nothing to make it anew from.
    Refuse(String),
}

fn judge(found: &Found, snapshot: Option<u64>, reach: Reach) -> Verdict {
    let recover = |why: String| match snapshot {
        Some(_) => Verdict::Recover(why),
        None => Verdict::Use,
    };
    let known = reach.kept.max(snapshot.unwrap_or(0));
    match found {
        Found::Absent => recover("it was gone".into()),
        Found::Damaged(what, _) => match snapshot {
            Some(_) => Verdict::Recover(format!("SQLite found it damaged: {what}")),
            None => Verdict::Refuse(what.clone()),
        },
        Found::Whole(None) => recover("it was empty".into()),
        // Whoever put it there went back to it: what it has is newer than what lies beside it.
        Found::Older if snapshot.is_some() || reach.last > 0 => Verdict::UseWithout,
        Found::Older => Verdict::Use,
        Found::Whole(Some(held)) if *held < known => {
            let short = known - held;
            Verdict::Recover(match short {
                1 => "the last acknowledged change was not in it".into(),
                _ => format!("the last {short} acknowledged changes were not in it"),
            })
        }
        Found::Whole(Some(held)) if *held < reach.last => Verdict::Redo(*held),
        Found::Whole(Some(_)) => Verdict::Use,
    }
}

/// A database that can be used.
#[derive(Debug, Default)]
pub(in crate::db) struct Usable {
    /// It was made anew.
    pub(super) anew: bool,
    /// The end of its journal.
    pub(super) tail: Option<Tail>,
}

/// Leaves a database at `path` that can be used, or says why there is none.
///
/// # Errors
/// [`DbError::Damaged`] where it is damaged and nothing is left to make it anew from; that the disk is full or that
/// files cannot be read.
pub(in crate::db) fn usable(path: &Path, now: UnixMs) -> Result<Usable, DbError> {
    let folder = super::folder(path);
    let unread =
        |e: io::Error| DbError::Unavailable(format!("{} cannot be read: {e}", folder.display()));
    let found = look(path)?;
    let is_whole = matches!(found, Found::Whole(Some(_)) | Found::Older);
    let (snapshots, tail) = match snapshot::all(&folder).and_then(|all| Ok((all, tail(&folder)?))) {
        Ok(both) => both,
        // One of two copies is enough to go on with.
        Err(error) if is_whole => {
            tracing::error!(%error, "the snapshots and the journal of the state in {} cannot be read. {} is whole and is used", folder.display(), path.display());
            return Ok(Usable::default());
        }
        Err(error) => return Err(unread(error)),
    };
    let reach = tail.as_ref().map(|tail| tail.reach).unwrap_or_default();
    let known = reach.kept.max(snapshots.first().map_or(0, |s| s.number));
    let used = |anew| Ok(Usable { anew, tail });
    match judge(&found, snapshots.first().map(|s| s.number), reach) {
        Verdict::Use => used(false),
        Verdict::Redo(held) => {
            let mut connection = Connection::open(path)?;
            let done = replay(&mut connection, &folder, held)?;
            if done.losses.is_empty() {
                tracing::info!(
                    changes = done.made,
                    "what was about to be committed when the daemon ended is committed now"
                );
                return used(false);
            }
            drop(connection);
            let why = "a change that the journal has could not be made in it";
            recover(path, &folder, &snapshots, (why, known), &found, now)?;
            used(true)
        }
        Verdict::UseWithout => {
            set_aside(&folder, now).map_err(unread)?;
            Ok(Usable::default())
        }
        Verdict::Refuse(what) => Err(open::damaged(path, what)),
        Verdict::Recover(why) => {
            tracing::error!(
                "{} cannot be used ({why}): it is made anew from a snapshot and the journal of changes",
                path.display()
            );
            match recover(path, &folder, &snapshots, (&why, known), &found, now) {
                // An older state beside an older Freehold: somebody went back to both. One that was upgraded is no older state.
                Err(DbError::Newer { .. }) if is_whole && !migrations::is_newer(path)? => {
                    set_aside(&folder, now).map_err(unread)?;
                    Ok(Usable::default())
                }
                recovered => recovered.and_then(|()| used(true)),
            }
        }
    }
}

/// Keeps snapshots and journal of another state than the one that is used.
fn set_aside(folder: &Path, now: UnixMs) -> io::Result<()> {
    let aside = suffixed(folder, &format!(".aside-{}", now.0));
    tracing::error!(
        "the state is of an older Freehold than the snapshots and the journal in {}: it is used as it is, and they are kept as {}",
        folder.display(),
        aside.display()
    );
    fs::rename(folder, aside)
}

fn look(path: &Path) -> Result<Found, DbError> {
    let there = path
        .try_exists()
        .map_err(|e| DbError::Unavailable(format!("{}: {e}", path.display())))?;
    if !there {
        return Ok(Found::Absent);
    }
    match examine(path) {
        Err(DbError::Sqlite(error))
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ) =>
        {
            Ok(Found::Damaged(error.to_string(), None))
        }
        looked => looked,
    }
}

/// A connection that leaves whatever it finds as it is.
fn as_it_lies(path: &Path) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(open::BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "cache_size", -1024)?;
    Ok(connection)
}

fn examine(path: &Path) -> Result<Found, DbError> {
    let connection = as_it_lies(path)?;
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    let held = super::held(&connection);
    let version: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap_or(0);
    Ok(match said == "ok" {
        true => match held? {
            None if version > 0 => Found::Older,
            held => Found::Whole(held),
        },
        false => Found::Damaged(said, held.ok().flatten()),
    })
}

/// What the database is made anew from.
enum Base<'a> {
    Snapshot(&'a Snapshot),
    /// A copy of itself, as it lies there: SQLite finds nothing wrong with it.
    Itself(&'a Path),
}

fn recover(
    path: &Path,
    folder: &Path,
    snapshots: &[Snapshot],
    (why, known): (&str, u64),
    found: &Found,
    now: UnixMs,
) -> Result<(), DbError> {
    let beside = path.with_extension("recovering");
    let other = path.with_extension("recovering-itself");
    let aside = there(path).then(|| suffixed(path, &format!(".damaged-{}", now.0)));
    let held = match found {
        Found::Damaged(_, held) | Found::Whole(held) => *held,
        Found::Absent | Found::Older => None,
    };
    // What is known to have been there and is not found is a loss.
    let until = known.max(held.unwrap_or(0));
    let made_of = |snapshot| Made {
        at: now,
        why,
        snapshot,
        aside: aside.as_deref(),
        knows_its_end: held.is_some(),
    };
    let mut last = DbError::Unavailable("there is no snapshot".into());
    let mut best: Option<(&Path, Built)> = None;
    for snapshot in snapshots {
        let base = Base::Snapshot(snapshot);
        match build(&base, &beside, folder, until, &made_of(snapshot.at)) {
            Ok(built) => {
                best = Some((&beside, built));
                break;
            }
            Err(error @ (DbError::DiskFull | DbError::Newer { .. })) => return Err(error),
            Err(error) => {
                tracing::error!(file = %snapshot.path.display(), %error, "a snapshot cannot be used; an older one is tried");
                last = error;
            }
        }
    }
    // Trusted less than a snapshot, whose bytes are known to be those that were written; but better than a loss.
    if matches!(found, Found::Whole(Some(_))) && best.as_ref().is_none_or(|(_, b)| b.is_short) {
        match build(&Base::Itself(path), &other, folder, until, &made_of(now)) {
            Ok(built) if best.as_ref().is_none_or(|(_, b)| b.reached < built.reached) => {
                tracing::error!(
                    "no snapshot goes as far as what is left of it: it is made anew from a copy of itself"
                );
                best = Some((&other, built));
            }
            Ok(_) => {}
            Err(error @ (DbError::DiskFull | DbError::Newer { .. })) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "nor can a copy of itself be used");
                last = error;
            }
        }
    }
    let Some((made, _)) = best else {
        return Err(open::damaged(
            path,
            format!("{why}; and no snapshot of it can be used: {last}"),
        ));
    };
    let told = |e: io::Error| DbError::Unavailable(format!("{}: {e}", path.display()));
    replace(path, made, aside.as_deref()).map_err(told)?;
    for left in [&beside, &other] {
        gone(left).map_err(told)?;
    }
    Ok(())
}

/// What came of making it anew.
struct Built {
    /// Up to which change all of them are there.
    reached: u64,
    is_short: bool,
}

/// Makes the database anew at `beside`.
fn build(
    base: &Base<'_>,
    beside: &Path,
    folder: &Path,
    until: u64,
    made: &Made<'_>,
) -> Result<Built, DbError> {
    let trouble = |e: io::Error| match e.kind() {
        io::ErrorKind::StorageFull => DbError::DiskFull,
        _ => DbError::Unavailable(format!("{}: {e}", beside.display())),
    };
    gone(beside).map_err(trouble)?;
    match base {
        Base::Snapshot(snapshot) if !snapshot::is_whole(snapshot) => {
            return Err(DbError::Unreadable("its bytes have changed since".into()));
        }
        Base::Snapshot(snapshot) => {
            fs::copy(&snapshot.path, beside).map_err(trouble)?;
        }
        Base::Itself(path) => {
            let source = as_it_lies(path)?;
            snapshot::copy(&source, beside)?;
        }
    }
    let mut connection = Connection::open(beside)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "journal_mode", "MEMORY")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let number = snapshot::whole(&connection)?;
    let mut done = replay(&mut connection, folder, number)?;
    missing(&mut done, until);
    let transaction = connection.transaction()?;
    super::hold(&transaction, done.last)?;
    notice::write(&transaction, made, &done)?;
    transaction.commit()?;
    snapshot::whole(&connection)?;
    connection.close().map_err(|(_, e)| DbError::from(e))?;
    File::open(beside)
        .and_then(|file| file.sync_all())
        .map_err(trouble)?;
    Ok(Built {
        reached: done.reached,
        is_short: !done.losses.is_empty(),
    })
}

fn replace(path: &Path, beside: &Path, aside: Option<&Path>) -> io::Result<()> {
    for tail in ["", "-wal", "-shm"] {
        let from = suffixed(path, tail);
        if there(&from) {
            // A log without its file is kept, too, and must not lie beside the new one.
            let to = aside.map_or_else(|| suffixed(path, ".damaged"), Path::to_owned);
            fs::rename(&from, suffixed(&to, tail))?;
        }
    }
    fs::rename(beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn suffixed(path: &Path, tail: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(tail);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(found: Found, snapshot: Option<u64>, last: u64, kept: u64) -> Verdict {
        judge(&found, snapshot, Reach { last, kept })
    }

    #[test]
    fn n7_what_is_whole_and_has_all_is_used() {
        let whole = |held| Found::Whole(Some(held));
        assert_eq!(verdict(Found::Absent, None, 0, 0), Verdict::Use);
        assert_eq!(verdict(Found::Whole(None), None, 0, 0), Verdict::Use);
        assert_eq!(verdict(whole(7), Some(3), 7, 7), Verdict::Use);
        // An older Freehold went on for a while, or the journal is gone.
        assert_eq!(verdict(whole(9), Some(3), 7, 7), Verdict::Use);
        assert_eq!(verdict(whole(9), None, 0, 0), Verdict::Use);
    }

    /// An upgrade that was taken back, with the state from before it.
    #[test]
    fn n7_the_state_of_an_older_freehold_is_used_and_the_journal_beside_it_is_not() {
        assert_eq!(verdict(Found::Older, Some(3), 7, 7), Verdict::UseWithout);
        assert_eq!(verdict(Found::Older, None, 2, 2), Verdict::UseWithout);
        assert_eq!(verdict(Found::Older, None, 0, 0), Verdict::Use);
    }

    #[test]
    fn n7_what_was_not_acknowledged_is_no_damage() {
        let held = Found::Whole(Some(6));
        assert_eq!(verdict(held.clone(), Some(3), 7, 6), Verdict::Redo(6));
        assert!(matches!(
            verdict(held, Some(3), 7, 7),
            Verdict::Recover(why) if why == "the last acknowledged change was not in it"
        ));
    }

    #[test]
    fn n7_damage_and_absence_are_recovered_from_where_there_is_a_snapshot() {
        let damaged = || Found::Damaged("a page".into(), None);
        for found in [Found::Absent, Found::Whole(None), damaged()] {
            assert!(matches!(verdict(found, Some(0), 0, 0), Verdict::Recover(_)));
        }
        assert_eq!(
            verdict(damaged(), None, 9, 9),
            Verdict::Refuse("a page".into())
        );
        assert!(matches!(
            verdict(Found::Whole(Some(2)), Some(5), 5, 5),
            Verdict::Recover(why) if why.contains("last 3 acknowledged")
        ));
    }
}
