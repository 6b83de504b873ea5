//! A folder as a build context: a tar file, made in constant memory.
//!
//! Symbolic links are packed as links and never followed, so a context cannot
//! reach outside its folder. Owners are dropped; times and modes stay.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::ignore::Ignore;

/// What was packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of the tar file.
    pub bytes: u64,
}

/// Packs the folder `from` into the tar file `to`, leaving out what
/// `.dockerignore` names, save for the Dockerfile, `.dockerignore` and
/// `freehold.toml` themselves. Blocking work is done on the blocking pool.
///
/// # Errors
/// When a file cannot be read or written, or the context grows beyond `limit` bytes.
pub async fn pack_context(
    from: PathBuf,
    dockerfile: String,
    to: PathBuf,
    limit: u64,
) -> io::Result<Packed> {
    tokio::task::spawn_blocking(move || pack(&from, &dockerfile, &to, limit))
        .await
        .map_err(io::Error::other)?
}

fn pack(from: &Path, dockerfile: &str, to: &Path, limit: u64) -> io::Result<Packed> {
    let rules = [format!("{dockerfile}.dockerignore"), ".dockerignore".into()]
        .iter()
        .find_map(|name| fs::read_to_string(from.join(name)).ok())
        .unwrap_or_default();
    let mut packer = Packer {
        ignore: Ignore::parse(&rules),
        // The app's own settings are often left out of the image, and are needed here all the same.
        always: [
            dockerfile.trim_start_matches("./"),
            ".dockerignore",
            "freehold.toml",
        ]
        .map(str::to_owned),
        tar: tar::Builder::new(BufWriter::with_capacity(256 << 10, File::create(to)?)),
        packed: Packed::default(),
        limit,
    };
    packer.tar.follow_symlinks(false);
    packer.folder(from, &mut Vec::new())?;
    packer.tar.into_inner()?.into_inner()?.sync_data()?;
    packer.packed.bytes = fs::metadata(to)?.len();
    Ok(packer.packed)
}

struct Packer {
    ignore: Ignore,
    always: [String; 3],
    tar: tar::Builder<BufWriter<File>>,
    packed: Packed,
    limit: u64,
}

/// Folders inside folders; deeper is a loop or an attack.
const DEEPEST: usize = 100;

impl Packer {
    fn folder(&mut self, at: &Path, path: &mut Vec<String>) -> io::Result<()> {
        if path.len() > DEEPEST {
            return Err(io::Error::other(format!(
                "folders are nested more than {DEEPEST} deep at {}",
                path.join("/")
            )));
        }
        let mut entries = fs::read_dir(at)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else {
                return Err(io::Error::other(format!(
                    "the file name {:?} in {} is not UTF-8: rename it",
                    entry.file_name(),
                    path.join("/")
                )));
            };
            path.push(name);
            self.entry(&entry, path)?;
            path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, entry: &fs::DirEntry, path: &mut Vec<String>) -> io::Result<()> {
        let kind = entry.file_type()?;
        let name = path.join("/");
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let needed = self.always.contains(&name);
        let out = !needed && self.ignore.leaves_out(&parts);
        if kind.is_dir() {
            let leads_to_needed = self
                .always
                .iter()
                .any(|a| a.starts_with(&format!("{name}/")));
            if out && !leads_to_needed && !self.ignore.may_take_back() {
                return Ok(());
            }
            if !out {
                let mut header = header(&entry.metadata()?, tar::EntryType::Directory);
                self.tar
                    .append_data(&mut header, format!("{name}/"), io::empty())?;
                self.packed.entries += 1;
            }
            return self.folder(&entry.path(), path);
        }
        if out {
            return Ok(());
        }
        if kind.is_symlink() {
            let mut header = header(&entry.metadata()?, tar::EntryType::Symlink);
            let target = fs::read_link(entry.path())?;
            self.tar.append_link(&mut header, &name, target)?;
        } else if kind.is_file() {
            self.file(entry, &name)?;
        } else {
            // Sockets, pipes and devices mean nothing to a build.
            return Ok(());
        }
        self.packed.entries += 1;
        Ok(())
    }

    fn file(&mut self, entry: &fs::DirEntry, name: &str) -> io::Result<()> {
        let file = File::open(entry.path())?;
        let metadata = file.metadata()?;
        let size = metadata.len();
        self.packed.bytes += size + 512;
        if self.packed.bytes > self.limit {
            return Err(io::Error::other(format!(
                "the build context is larger than {} MB: name what the build does not need in .dockerignore",
                self.limit >> 20
            )));
        }
        let mut header = header(&metadata, tar::EntryType::Regular);
        header.set_size(size);
        // A file that grows while it is read must not spill into the next entry.
        self.tar
            .append_data(&mut header, name, io::Read::take(file, size))
    }
}

fn header(metadata: &fs::Metadata, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(metadata);
    header.set_entry_type(kind);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tar_file: &Path) -> Vec<String> {
        let mut archive = tar::Archive::new(File::open(tar_file).unwrap());
        archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir_all(at.join("src/deep")).unwrap();
        fs::create_dir_all(at.join(".git")).unwrap();
        for (name, text) in [
            ("Dockerfile", "FROM scratch"),
            (".dockerignore", ".git\nDockerfile\nfreehold.toml\n*.log"),
            ("freehold.toml", ""),
            (".git/config", "x"),
            ("src/main.py", "y"),
            ("src/deep/a.log", "z"),
            ("b.log", "z"),
        ] {
            fs::write(at.join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", at.join("link")).unwrap();
        folder
    }

    #[test]
    fn f4_the_context_leaves_out_what_dockerignore_names() {
        let folder = folder();
        let tar = tempfile::NamedTempFile::new().unwrap();
        let packed = pack(folder.path(), "Dockerfile", tar.path(), 1 << 20).unwrap();
        assert_eq!(
            names(tar.path()),
            [
                ".dockerignore",
                "Dockerfile",
                "freehold.toml",
                "link",
                "src/",
                "src/deep/",
                "src/deep/a.log",
                "src/main.py"
            ]
        );
        assert_eq!(packed.entries, 8);
    }

    #[test]
    fn f4_a_link_is_packed_as_a_link() {
        let folder = folder();
        let tar = tempfile::NamedTempFile::new().unwrap();
        pack(folder.path(), "Dockerfile", tar.path(), 1 << 20).unwrap();
        let mut archive = tar::Archive::new(File::open(tar.path()).unwrap());
        let link = archive
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .find(|e| e.path().unwrap().as_ref() == Path::new("link"))
            .unwrap();
        assert_eq!(link.header().entry_type(), tar::EntryType::Symlink);
        assert_eq!(link.size(), 0);
    }

    #[test]
    fn f4_a_context_beyond_its_limit_names_dockerignore() {
        let folder = folder();
        let tar = tempfile::NamedTempFile::new().unwrap();
        let error = pack(folder.path(), "Dockerfile", tar.path(), 600).unwrap_err();
        assert!(error.to_string().contains(".dockerignore"));
    }
}
