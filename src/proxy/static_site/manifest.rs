//! Manifest: the files of a folder, read once, each with what an answer needs to know of it.
//!
//! What is not in it does not exist for the edge: nothing whose name begins with a dot (but `.well-known`), no symbolic
//! link, no device. Read with blocking calls, never on a worker.
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{self, Context, SHA256};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

use super::record::Record;

/// Files and folders of one site.
pub(super) const MOST_NAMES: usize = 20_000;
/// Folders inside each other.
const DEEPEST: usize = 32;
/// A file of the settings' folders beyond this is known by its inode, length and date: reading it for a tag would keep
/// the folder dark at every start.
const LARGE: u64 = 1 << 20;

/// The beginning of a SHA-256: what a file's tag says.
pub(super) type Digest = [u8; 16];

/// What is known of a folder's files before it is read.
pub(super) enum Known<'a> {
    /// Nothing; large files are not read.
    Nothing,
    /// Nothing; every file is read.
    ToRecord,
    /// What an earlier reading found.
    Earlier(&'a Files),
    /// What was written down when the files were laid down.
    Recorded(&'a Record),
}

impl Known<'_> {
    fn digest(&self, name: &str, state: &State) -> Option<Digest> {
        match self {
            Known::Nothing | Known::ToRecord => None,
            Known::Earlier(files) => {
                let listed = files.get(name).filter(|listed| listed.state == *state)?;
                Some(listed.digest)
            }
            Known::Recorded(record) => record.digest(name, state),
        }
    }
}

/// Why a folder is not served.
#[derive(Debug, thiserror::Error)]
pub enum Unserved {
    #[error("the folder {} cannot be read: {error}. Check its path and that the daemon may read it", folder.display())]
    Unreadable { folder: PathBuf, error: io::Error },
    #[error("the folder {} has more than {MOST_NAMES} files and folders, which is as many as are served. Serve a smaller one, or put the files into a bucket", folder.display())]
    TooMany { folder: PathBuf },
    #[error("the folder {} has folders more than {DEEPEST} deep inside each other, which is as deep as is served. Make it flatter", folder.display())]
    TooDeep { folder: PathBuf },
    #[error("what was found in the folder {} could not be written down: {error}", folder.display())]
    Unrecorded { folder: PathBuf, error: io::Error },
    #[error("the folder {} is not whole: {lacking} of its {of} files are missing or are of another length. Deploy the site anew", folder.display())]
    NotWhole {
        folder: PathBuf,
        lacking: usize,
        of: usize,
    },
}

/// What tells one state of a file from another without a look at its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) length: u64,
    inode: u64,
    /// Seconds since 1970, and nanoseconds.
    pub(super) modified: (i64, u64),
}

impl State {
    /// Nothing for what is no regular file.
    pub(super) fn of(stat: &Stat) -> Option<State> {
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| State {
            length: stat.st_size.try_into().unwrap_or(0),
            inode: stat.st_ino,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
        })
    }

    /// In the place of the content's. As strong as what we know of a file at all: one that is changed while it is sent
    /// breaks the answer off.
    fn digest(&self) -> Digest {
        let (seconds, nanos) = self.modified;
        let text = format!("{} {} {seconds} {nanos}", self.inode, self.length);
        begin(digest::digest(&SHA256, text.as_bytes()))
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) state: State,
    /// Of its content; of a large one of the settings' folders, of its state.
    pub(super) digest: Digest,
}

/// Files by their names below the folder: `assets/app.js`.
pub(super) type Files = HashMap<Box<str>, Listed>;

pub(super) struct Listing {
    pub(super) root: OwnedFd,
    pub(super) files: Files,
    /// Names that are left out: dotfiles, links, devices, what is not UTF-8 or may not be read.
    pub(super) left_out: usize,
}

/// How a file below the folder is opened, now and later: no link on the way, no way out, no wait for a pipe's writer.
pub(super) fn open(
    root: BorrowedFd<'_>,
    name: &str,
    how: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(
        root,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | how,
    )
}

/// Reads the folder; the digest of a file that looks as it did in `known` is taken from there.
pub(super) fn list(folder: &Path, known: &Known<'_>) -> Result<Listing, Unserved> {
    let unreadable = |error: io::Error| Unserved::Unreadable {
        folder: folder.to_owned(),
        error,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| unreadable(error.into()))?;
    let (mut files, mut left_out, mut names) = (Files::new(), 0, 0);
    let mut open_folders = vec![(String::new(), 0)];
    while let Some((within, depth)) = open_folders.pop() {
        let handle = match within.as_str() {
            "" => open(root.as_fd(), ".", ResolveFlags::empty()),
            within => open(root.as_fd(), within, ResolveFlags::empty()),
        };
        let entries = match handle.and_then(Dir::new) {
            Ok(entries) => entries,
            Err(error) if within.is_empty() => return Err(unreadable(error.into())),
            Err(_) => {
                left_out += 1;
                continue;
            }
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(error.into()))?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            names += 1;
            if names > MOST_NAMES {
                return Err(Unserved::TooMany {
                    folder: folder.to_owned(),
                });
            }
            let Some(name) = below(&within, entry.file_name()) else {
                left_out += 1;
                continue;
            };
            match look(&root, &name, known) {
                Ok(Found::File(listed)) => {
                    files.insert(name.into(), listed);
                }
                Ok(Found::Folder) if depth == DEEPEST => {
                    return Err(Unserved::TooDeep {
                        folder: folder.to_owned(),
                    });
                }
                Ok(Found::Folder) => open_folders.push((name, depth + 1)),
                Ok(Found::Other) | Err(_) => left_out += 1,
            }
        }
    }
    Ok(Listing {
        root,
        files,
        left_out,
    })
}

/// The name below the folder, if it may be served at all.
fn below(within: &str, name: &CStr) -> Option<String> {
    let name = name.to_str().ok()?;
    let is_public = !name.starts_with('.') || (within.is_empty() && name == ".well-known");
    is_public.then(|| match within {
        "" => name.to_owned(),
        within => format!("{within}/{name}"),
    })
}

enum Found {
    File(Listed),
    Folder,
    Other,
}

fn look(root: &OwnedFd, name: &str, known: &Known<'_>) -> io::Result<Found> {
    // Without opening it: that alone can do something to a device.
    let stat = rustix::fs::statat(root, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Ok(Found::Folder),
        _ => return Ok(Found::Other),
    }
    let file = File::from(open(root.as_fd(), name, ResolveFlags::empty())?);
    let Some(state) = State::of(&rustix::fs::fstat(&file)?) else {
        return Ok(Found::Other);
    };
    let digest = match known.digest(name, &state) {
        Some(digest) => digest,
        None if state.length > LARGE && !matches!(known, Known::ToRecord) => state.digest(),
        None => content(file)?,
    };
    Ok(Found::File(Listed { state, digest }))
}

fn content(mut file: File) -> io::Result<Digest> {
    let mut sum = Context::new(&SHA256);
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => sum.update(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(begin(sum.finish()))
}

fn begin(sum: digest::Digest) -> Digest {
    let mut begin = Digest::default();
    begin.copy_from_slice(&sum.as_ref()[..16]);
    begin
}
