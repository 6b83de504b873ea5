//! Copies of the whole database, each checked before it counts; three are kept, and the journal since the oldest.
//!
//! A copy is made beside, read through, synced and renamed into place, under a name that says up to which change it
//! goes, when it was made, and the beginning of its SHA-256. Nothing is removed before its successor stands.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::journal::{private_folder, segments};
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// How many are kept.
const KEPT: usize = 3;
/// Beside the copy itself, so much must stay free on the disk.
const FREE: u64 = 16 * 1024 * 1024;

/// A copy in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The newest change in it.
    pub(super) number: u64,
    /// When it was made.
    pub(super) at: UnixMs,
    sum: String,
    pub(super) path: PathBuf,
}

/// Those in `folder`, newest first.
pub(super) fn all(folder: &Path) -> io::Result<Vec<Snapshot>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        found.extend(parse(&path));
    }
    found.sort_by_key(|s| std::cmp::Reverse((s.number, s.at)));
    Ok(found)
}

fn parse(path: &Path) -> Option<Snapshot> {
    let name = path.file_name()?.to_str()?;
    let mut parts = name
        .strip_prefix("snapshot-")?
        .strip_suffix(".db")?
        .split('-');
    let snapshot = Snapshot {
        number: parts.next()?.parse().ok()?,
        at: UnixMs(parts.next()?.parse().ok()?),
        sum: parts.next()?.to_owned(),
        path: path.to_owned(),
    };
    parts.next().is_none().then_some(snapshot)
}

/// Whether its bytes are those that were written.
pub(super) fn is_whole(snapshot: &Snapshot) -> bool {
    sum(&snapshot.path).is_ok_and(|sum| sum == snapshot.sum)
}

fn sum(path: &Path) -> io::Result<String> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            n => context.update(&buffer[..n]),
        }
    }
    Ok(hex::encode(&context.finish().as_ref()[..8]))
}

/// Makes one of what `source` sees now, and removes what is no longer needed.
///
/// # Errors
/// When the disk is too full, or the copy is not whole: then the database itself is not.
pub(super) fn take(source: &Connection, folder: &Path, now: UnixMs) -> Result<Snapshot, DbError> {
    let unwritten =
        |e: io::Error| DbError::Unavailable(format!("no snapshot in {}: {e}", folder.display()));
    private_folder(folder).map_err(unwritten)?;
    let pages: i64 = source.query_row("PRAGMA page_count", [], |r| r.get(0))?;
    let page: i64 = source.query_row("PRAGMA page_size", [], |r| r.get(0))?;
    let size = u64::try_from(pages.saturating_mul(page)).unwrap_or(u64::MAX);
    let disk = rustix::fs::statvfs(folder).map_err(|e| unwritten(e.into()))?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < size.saturating_add(FREE) {
        return Err(DbError::Unavailable(format!(
            "the disk has no room for a snapshot of {} MB",
            size.div_ceil(1024 * 1024)
        )));
    }
    let beside = folder.join("snapshot.new");
    gone(&beside).map_err(unwritten)?;
    let taken = copy(source, &beside).and_then(|number| {
        File::open(&beside)
            .and_then(|file| file.sync_all())
            .and_then(|()| {
                let sum = sum(&beside)?;
                let path = folder.join(format!("snapshot-{number:020}-{}-{sum}.db", now.0));
                fs::rename(&beside, &path)?;
                File::open(folder)?.sync_all()?;
                Ok(Snapshot {
                    number,
                    at: now,
                    sum,
                    path,
                })
            })
            .map_err(unwritten)
    });
    match taken {
        Ok(snapshot) => {
            prune(folder).map_err(unwritten)?;
            Ok(snapshot)
        }
        Err(error) => {
            gone(&beside).map_err(unwritten)?;
            Err(error)
        }
    }
}

/// Copies and checks; says up to which change it goes.
pub(super) fn copy(source: &Connection, to: &Path) -> Result<u64, DbError> {
    let mut copied = Connection::open(to)?;
    restrict(to)?;
    copied.pragma_update(None, "synchronous", "OFF")?;
    // In one step: one moment of the database, and its writer is not held up by it.
    let step = Backup::new(source, &mut copied)?.step(-1)?;
    if step != StepResult::Done {
        return Err(DbError::Unavailable(
            "the database was busy while a snapshot was made".into(),
        ));
    }
    // One file, with nothing beside it.
    copied.pragma_update(None, "journal_mode", "DELETE")?;
    whole(&copied)
}

/// Reads all of a copy; says up to which change it goes.
pub(super) fn whole(copied: &Connection) -> Result<u64, DbError> {
    let found: String = copied.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(DbError::Unavailable(format!(
            "the copy of the database is damaged, and so is the database ({found})"
        )));
    }
    super::held(copied)?.ok_or_else(|| DbError::Unreadable("the copy knows no journal".into()))
}

fn restrict(path: &Path) -> Result<(), DbError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|e| DbError::Unavailable(format!("{}: {e}", path.display())))
}

/// Removes a file; one that is not there is well.
pub(super) fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps the newest snapshots, and every file of the journal with a change after the oldest of them.
fn prune(folder: &Path) -> io::Result<()> {
    let mut kept = all(folder)?;
    for old in kept.split_off(KEPT.min(kept.len())) {
        fs::remove_file(old.path)?;
    }
    let Some(oldest) = kept.last() else {
        return Ok(());
    };
    let files = segments(folder)?;
    for (file, next) in files.iter().zip(files.iter().skip(1)) {
        if next.first <= oldest.number + 1 {
            fs::remove_file(&file.path)?;
        }
    }
    Ok(())
}
