//! The journal: files of changes, one following the other, each synced before its change is committed.
//!
//! A file is called by the number of its first change, and is followed by another when it is large or a snapshot was taken. It is written in room made beforehand (zeros), so that a sync
//! has nothing to do but those bytes; where there is no room left on the disk, it is the change that fails. A number
//! that is written twice was given up the first time: the last one counts. What stands in a record is left to
//! `record.rs`, when files are no longer needed to `snapshot.rs`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::record::{self, Change, Entry};
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// Room is made by this many bytes.
const ROOM: u64 = 256 * 1024;
const PREFIX: &str = "journal-";

/// The writing end.
pub(super) struct Journal {
    folder: PathBuf,
    file: Option<File>,
    /// The number of the newest change.
    number: u64,
    /// The number that the file's first change has or will have.
    first: u64,
    /// Where the next record goes.
    at: u64,
    /// How far the file was filled with zeros.
    room: u64,
}

/// A record that is written and not yet kept.
#[derive(Debug)]
pub(in crate::db) struct Written {
    pub(super) number: u64,
    at: u64,
    pub(super) length: u64,
}

/// A file of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

impl Journal {
    /// Goes on after change `number`: in the newest file where it ends with that, else in a new one. Makes nothing
    /// yet, so that a full disk is no reason not to start.
    pub(super) fn after(folder: &Path, number: u64, tail: Option<&Tail>) -> Self {
        let mut journal = Self {
            folder: folder.to_owned(),
            file: None,
            number,
            first: number + 1,
            at: 0,
            room: 0,
        };
        let goes_on =
            |tail: &&Tail| tail.whole && tail.file.first <= number && tail.newest == Some(number);
        let Some(tail) = tail.filter(goes_on) else {
            return journal;
        };
        if let Ok(file) = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&tail.file.path)
        {
            journal.at = tail.end;
            journal.room = tail.length;
            journal.first = tail.file.first;
            journal.file = Some(file);
        }
        journal
    }

    /// The number of the newest change.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes in the file that is written.
    pub(super) fn length(&self) -> u64 {
        self.at
    }

    /// Writes a change, not yet synced.
    pub(super) fn append(&mut self, change: &Change) -> Result<Written, DbError> {
        let number = self.number + 1;
        let bytes = record::change(number, change).map_err(DbError::Unavailable)?;
        let length = bytes.len() as u64;
        let room = self.make_room(length);
        let at = self.at;
        let written = room.and_then(|()| match &self.file {
            Some(file) => file.write_all_at(&bytes, at),
            None => Err(io::Error::other("the journal has no file")),
        });
        if let Err(error) = written {
            // Half of it may stand there.
            self.erase(at, length);
            return Err(self.trouble(&error));
        }
        self.at += length;
        self.number = number;
        Ok(Written { number, at, length })
    }

    /// Returns when what was written is on the disk.
    pub(super) fn sync(&self) -> Result<(), DbError> {
        match &self.file {
            Some(file) => file.sync_data().map_err(|e| self.trouble(&e)),
            None => Ok(()),
        }
    }

    /// Notes that a change was committed. Not synced: that another follows says it as well.
    pub(super) fn kept(&mut self, number: u64) {
        let bytes = record::kept(number);
        let Some(file) = &self.file else { return };
        match file.write_all_at(&bytes, self.at) {
            Ok(()) => self.at += bytes.len() as u64,
            Err(error) => tracing::debug!(%error, "the journal could not note a commit"),
        }
    }

    /// Takes a change back that was not committed.
    pub(super) fn give_up(&mut self, written: &Written) {
        self.erase(written.at, written.length);
        self.at = written.at;
        self.number = written.number - 1;
    }

    fn erase(&self, at: u64, length: u64) {
        let Some(file) = &self.file else { return };
        let zeros = vec![0; usize::try_from(length.min(self.room.saturating_sub(at))).unwrap_or(0)];
        let erased = file
            .write_all_at(&zeros, at)
            .and_then(|()| file.sync_data());
        if let Err(error) = erased {
            tracing::warn!(%error, "a change that was not made could not be taken out of the journal; the next takes its number");
        }
    }

    /// The next change goes into a new file.
    pub(super) fn turn(&mut self) {
        if self.number >= self.first {
            self.file = None;
            self.first = self.number + 1;
        }
    }

    fn make_room(&mut self, length: u64) -> io::Result<()> {
        if self.file.is_none() {
            self.begin()?;
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        let wanted = self.at + length + record::HEAD as u64;
        if wanted > self.room {
            let room = wanted.div_ceil(ROOM) * ROOM;
            let zeros = vec![0; usize::try_from(room - self.room).unwrap_or(0)];
            file.write_all_at(&zeros, self.room)?;
            self.room = room;
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        private_folder(&self.folder)?;
        self.first = self.number + 1;
        let path = self.folder.join(format!("{PREFIX}{:020}", self.first));
        if path.try_exists()? {
            // What stands in it was never kept, or cannot be read.
            let aside = format!("damaged-{}-{PREFIX}{:020}", UnixMs::now().0, self.first);
            fs::rename(&path, self.folder.join(aside))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        File::open(&self.folder)?.sync_all()?;
        (self.file, self.at, self.room) = (Some(file), 0, 0);
        Ok(())
    }

    fn trouble(&self, error: &io::Error) -> DbError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DbError::DiskFull,
            _ => DbError::Unavailable(format!(
                "the journal of changes in {} cannot be written, so the change was not made: {error}",
                self.folder.display()
            )),
        }
    }
}

/// Makes the folder, for its owner alone.
pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// The journal's files, oldest first.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    } {
        let entry = entry?;
        let name = entry.file_name();
        let first = name
            .to_str()
            .and_then(|n| n.strip_prefix(PREFIX)?.parse().ok());
        found.extend(first.map(|first| Segment {
            first,
            path: entry.path(),
        }));
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// How far the journal goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// The newest change in it.
    pub(super) last: u64,
    /// The newest of which is known that it was committed.
    pub(super) kept: u64,
}

/// The journal's newest file, and what was read in it: it is read once a start.
#[derive(Clone, Debug)]
pub(in crate::db) struct Tail {
    file: Segment,
    pub(super) reach: Reach,
    /// Everything in it is a record.
    whole: bool,
    /// The newest change that stands in this file.
    newest: Option<u64>,
    /// Where the last record ends.
    end: u64,
    length: u64,
}

/// The end of the journal in `folder`; nothing where there is none.
///
/// # Errors
/// When it cannot be read.
pub(super) fn tail(folder: &Path) -> io::Result<Option<Tail>> {
    let Some(file) = segments(folder)?.pop() else {
        return Ok(None);
    };
    let bytes = fs::read(&file.path)?;
    let before = file.first - 1;
    let mut tail = Tail {
        file,
        reach: Reach {
            last: before,
            kept: before,
        },
        whole: true,
        newest: None,
        end: record::end(&bytes) as u64,
        length: bytes.len() as u64,
    };
    for entry in record::entries(&bytes) {
        match entry {
            Entry::Change(number, _) => {
                tail.reach.last = number;
                tail.reach.kept = tail.reach.kept.max(number - 1);
                tail.newest = Some(number);
            }
            Entry::Kept(number) => tail.reach.kept = tail.reach.kept.max(number),
            Entry::Unreadable { .. } => tail.whole = false,
        }
    }
    Ok(Some(tail))
}

/// Bytes of all its files.
pub(super) fn bytes(folder: &Path) -> u64 {
    let sizes = segments(folder).unwrap_or_default().into_iter();
    sizes
        .filter_map(|s| s.path.metadata().ok())
        .map(|m| m.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(words: &str) -> Change {
        Change {
            at_ms: UnixMs(1),
            schema: 1,
            about: vec![words.into()],
            rows: 1,
            statements: vec!["x".repeat(1_000)],
        }
    }

    fn after(folder: &Path, number: u64) -> Journal {
        Journal::after(folder, number, tail(folder).unwrap().as_ref())
    }

    fn reach(folder: &Path) -> Option<Reach> {
        tail(folder).unwrap().map(|tail| tail.reach)
    }

    fn numbers(folder: &Path) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        for segment in segments(folder).unwrap() {
            for entry in record::entries(&fs::read(segment.path).unwrap()) {
                if let Entry::Change(number, change) = entry {
                    found.push((number, change.about[0].clone()));
                }
            }
        }
        found
    }

    #[test]
    fn n7_the_journal_goes_on_where_it_ended_and_in_a_new_file_after_a_turn() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().join("safe");
        assert_eq!(reach(&here), None);
        let mut journal = after(&here, 0);
        for words in ["a", "b"] {
            let written = journal.append(&change(words)).unwrap();
            journal.sync().unwrap();
            journal.kept(written.number);
        }
        drop(journal);
        assert_eq!(reach(&here), Some(Reach { last: 2, kept: 2 }));
        let mut journal = after(&here, 2);
        journal.append(&change("c")).unwrap();
        assert_eq!(reach(&here), Some(Reach { last: 3, kept: 2 }));
        journal.kept(3);
        journal.turn();
        journal.turn();
        journal.append(&change("d")).unwrap();
        journal.append(&change("e")).unwrap();
        let names = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(numbers(&here), (1..).zip(names).collect::<Vec<_>>());
        assert_eq!(segments(&here).unwrap().len(), 2);
        assert_eq!(reach(&here), Some(Reach { last: 5, kept: 4 }));
    }

    #[test]
    fn n7_a_change_that_was_given_up_is_not_in_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = after(folder.path(), 0);
        journal.append(&change("a")).unwrap();
        let written = journal.append(&change("refused")).unwrap();
        journal.give_up(&written);
        assert_eq!(numbers(folder.path()), [(1, "a".into())]);
        journal.append(&change("b")).unwrap();
        assert_eq!(numbers(folder.path()), [(1, "a".into()), (2, "b".into())]);
    }

    #[test]
    fn n7_after_a_torn_end_writing_goes_on_in_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = after(folder.path(), 0);
        journal.append(&change("a")).unwrap();
        journal.append(&change("torn")).unwrap();
        let path = segments(folder.path()).unwrap()[0].path.clone();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0; 40], journal.length() - 40).unwrap();
        let mut journal = after(folder.path(), 1);
        journal.append(&change("b")).unwrap();
        assert_eq!(numbers(folder.path()), [(1, "a".into()), (2, "b".into())]);
        assert_eq!(segments(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn n7_a_journal_that_cannot_be_written_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().join("safe");
        fs::write(&here, "a file in its place").unwrap();
        let error = Journal::after(&here, 0, None)
            .append(&change("a"))
            .unwrap_err();
        assert!(
            error.to_string().contains("the change was not made"),
            "{error}"
        );
    }
}
