//! Record: what was known of a folder's files when they were laid down, in a file outside of the folder.
//!
//! With it a folder that nobody changes is served as soon as its names are read, and one that is not whole any more is
//! told from one that is. It holds no inodes: a folder that was copied elsewhere and back is still the same.
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::manifest::{Digest, Files, State};

/// More than the names of any folder that is served take.
const LARGEST: u64 = 64 << 20;

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Record {
    files: HashMap<Box<str>, Recorded>,
}

#[derive(Serialize, Deserialize)]
struct Recorded {
    length: u64,
    modified: (i64, u64),
    digest: String,
}

impl Record {
    pub(super) fn of(files: &Files) -> Record {
        let recorded = files.iter().map(|(name, listed)| {
            let recorded = Recorded {
                length: listed.state.length,
                modified: listed.state.modified,
                digest: hex::encode(listed.digest),
            };
            (name.clone(), recorded)
        });
        Record {
            files: recorded.collect(),
        }
    }

    /// Nothing where there is none that can be read: the folder is served without it, after a longer look.
    pub(super) fn read(path: &Path) -> Option<Record> {
        let mut text = Vec::new();
        let file = File::open(path).ok()?;
        file.take(LARGEST).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The whole of it or nothing; on the disk when this returns.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let mut file = File::create(&part)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&part, path)
    }

    /// The digest of a file that looks as it did.
    pub(super) fn digest(&self, name: &str, state: &State) -> Option<Digest> {
        let recorded = self.files.get(name)?;
        if (recorded.length, recorded.modified) != (state.length, state.modified) {
            return None;
        }
        let mut digest = Digest::default();
        hex::decode_to_slice(&recorded.digest, &mut digest).ok()?;
        Some(digest)
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// How many of its files are not among these, or are of another length.
    pub(super) fn lacking(&self, files: &Files) -> usize {
        let is_there = |name: &str, recorded: &Recorded| {
            let found = files.get(name);
            found.is_some_and(|listed| listed.state.length == recorded.length)
        };
        let all = self.files.iter();
        all.filter(|(name, recorded)| !is_there(name, recorded))
            .count()
    }
}
