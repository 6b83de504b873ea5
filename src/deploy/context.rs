//! The tree to build, as a tar: looked through before the builder sees it.
//!
//! Nothing is unpacked on this box. What `.dockerignore` names is left out of
//! the copy that the builder gets; a path that leads out of the tree is refused.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Component, Path};

use crate::docker::Ignore;

use super::app_file::{AppFile, FILE_NAME};
use super::source::Site;

/// What a tree was found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// `freehold.toml`, if it is there.
    pub app_file: Option<String>,
    /// Things a person should know, such as submodules that were not fetched.
    pub notes: Vec<String>,
    /// The paths of Dockerfiles seen, for a helpful refusal.
    dockerfiles: Vec<String>,
    ignore: Vec<(String, String)>,
    files: u64,
}

/// The largest settings file that is read.
const LARGEST_TEXT: u64 = 256 << 10;
/// Entries in a tree at most.
const MOST_ENTRIES: u64 = 500_000;
/// Files with rules of what to leave out, and Dockerfiles, kept in memory at most.
const MOST_NAMED: usize = 200;
/// Links followed to a Dockerfile at most.
const MOST_LINKS: usize = 5;
/// The longest header that comes before an entry: a path that does not fit, extended attributes.
const LONGEST_HEADER: u64 = 64 << 10;

/// Looks through the tar at `tar`.
///
/// # Errors
/// A sentence when it is no tar, is cut short, or leads out of its own tree.
pub fn look(tar: &Path) -> Result<Tree, String> {
    let mut tree = Tree::default();
    each(tar, |name, entry| {
        tree.files += 1;
        if tree.files > MOST_ENTRIES {
            return Err(format!("the tree has more than {MOST_ENTRIES} files"));
        }
        if !entry.header().entry_type().is_file() {
            return Ok(());
        }
        let file = name.rsplit('/').next().unwrap_or(name);
        if file == "Dockerfile" || file.starts_with("Dockerfile.") || file.ends_with(".Dockerfile")
        {
            few(tree.dockerfiles.len(), "Dockerfiles")?;
            tree.dockerfiles.push(name.to_owned());
        }
        if name == FILE_NAME {
            tree.app_file = Some(text(entry, name)?);
        } else if name == ".gitmodules" {
            tree.notes
                .push("The repository has submodules; they are not fetched.".into());
        } else if name == ".gitattributes" && text(entry, name)?.contains("filter=lfs") {
            tree.notes.push(
                "The repository uses Git LFS; the build sees pointers, not the files.".into(),
            );
        } else if file == ".dockerignore" || file.ends_with(".dockerignore") {
            few(tree.ignore.len(), ".dockerignore files")?;
            let rules = text(entry, name)?;
            tree.ignore.push((name.to_owned(), rules));
        }
        Ok(())
    })?;
    if tree.files == 0 {
        return Err("the tree is empty: there is nothing to build".into());
    }
    Ok(tree)
}

/// What the builder will read as `dockerfile` of the tar at `tar`; more than one where the
/// tar holds it more than once. A link is followed inside the tree.
///
/// # Errors
/// A sentence when there is no such file, or it is not text.
pub fn dockerfile(tar: &Path, dockerfile: &str) -> Result<Vec<String>, String> {
    let missing = || {
        format!(
            "there is no file {dockerfile} in the tree: name the Dockerfile itself under [build] dockerfile in freehold.toml"
        )
    };
    let mut wanted = plain(Path::new(dockerfile)).ok_or_else(missing)?;
    for _ in 0..=MOST_LINKS {
        let (mut texts, mut link) = (Vec::new(), None);
        let mut archive = tar::Archive::new(BufReader::new(File::open(tar).map_err(told)?));
        for entry in archive.entries_with_seek().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let path = entry.path().map_err(broken)?.into_owned();
            if plain(&path).as_deref() != Some(wanted.as_str()) {
                continue;
            }
            let kind = entry.header().entry_type();
            if kind.is_file() {
                texts.push(text(&mut entry, dockerfile)?);
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name().map_err(broken)?.ok_or_else(missing)?;
                // A hard link's target is told from the root of the tree.
                let folder = match kind.is_symlink() {
                    true => Path::new(&wanted).parent().map(Path::to_owned),
                    false => None,
                };
                let folder = folder.unwrap_or_default();
                link = Some(joined(&folder, &target).ok_or_else(missing)?);
            }
        }
        match (texts.is_empty(), link) {
            (false, None) => return Ok(texts),
            (true, Some(link)) => wanted = link,
            _ => return Err(missing()),
        }
    }
    Err(missing())
}

/// Where a link in `folder` leads, while it stays inside.
fn joined(folder: &Path, target: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in folder.components().chain(target.components()) {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

impl Tree {
    /// The app's settings, or the defaults; `site`: as a folder of files, because the deploy says so.
    ///
    /// # Errors
    /// The first mistake in the file, or that the Dockerfile is missing.
    pub fn settings(&self, site: Option<&Site>) -> Result<AppFile, String> {
        let file = match &self.app_file {
            Some(text) => AppFile::parse(text).map_err(|e| e.to_string())?,
            None => AppFile::default(),
        };
        let file = match site {
            Some(site) => file.as_site(site)?,
            None => file,
        };
        if file.static_folder.is_some() || self.dockerfiles.contains(&file.dockerfile) {
            return Ok(file);
        }
        let named = file.dockerfile != "Dockerfile";
        if named && self.dockerfiles.is_empty() {
            // A Dockerfile may have any name; the builder will say if it is not there.
            return Ok(file);
        }
        Err(match self.dockerfiles.as_slice() {
            [] => "there is no Dockerfile at the root of the tree: add one, or name it under [build] dockerfile in freehold.toml; a folder of files needs none: static = \"dist\"".into(),
            [one] => format!(
                "there is no {} in the tree, but there is {one}: write dockerfile = \"{one}\" under [build] in freehold.toml",
                file.dockerfile
            ),
            many => format!(
                "there is no {} in the tree, but there are {}: name one under [build] dockerfile in freehold.toml",
                file.dockerfile,
                many.join(", ")
            ),
        })
    }

    fn rules(&self, dockerfile: &str) -> Option<&str> {
        let own = format!("{dockerfile}.dockerignore");
        let find = |wanted: &str| self.ignore.iter().find(|(name, _)| name == wanted);
        find(&own)
            .or_else(|| find(".dockerignore"))
            .map(|(_, rules)| rules.as_str())
    }

    /// Writes the tree without what `.dockerignore` names from `tar` to `to`.
    /// Says whether anything had to be done: without rules `tar` itself will do.
    ///
    /// # Errors
    /// A sentence when a file cannot be read or written.
    pub fn trim(&self, dockerfile: &str, tar: &Path, to: &Path) -> Result<bool, String> {
        let Some(rules) = self.rules(dockerfile) else {
            return Ok(false);
        };
        let ignore = Ignore::parse(rules);
        let file = File::create(to).map_err(told)?;
        let mut out = tar::Builder::new(BufWriter::with_capacity(256 << 10, file));
        let needed = [
            dockerfile.to_owned(),
            ".dockerignore".to_owned(),
            format!("{dockerfile}.dockerignore"),
        ];
        each(tar, |name, entry| {
            let parts: Vec<&str> = name.split('/').collect();
            if !needed.iter().any(|n| n == name) && ignore.leaves_out(&parts) {
                return Ok(());
            }
            copy(&mut out, name, entry).map_err(told)
        })?;
        out.into_inner()
            .and_then(|inner| inner.into_inner().map_err(|e| e.into_error()))
            .map_err(told)?;
        Ok(true)
    }
}

fn told(error: io::Error) -> String {
    format!("the tree could not be read or written: {error}")
}

pub(super) type Entry<'a> = tar::Entry<'a, BufReader<File>>;

fn copy(
    out: &mut tar::Builder<BufWriter<File>>,
    name: &str,
    entry: &mut Entry<'_>,
) -> io::Result<()> {
    let mut header = entry.header().clone();
    match entry.link_name()? {
        Some(target) if !header.entry_type().is_file() => {
            let target = target.into_owned();
            out.append_link(&mut header, name, target)
        }
        _ => {
            let size = entry.size();
            header.set_size(size);
            out.append_data(&mut header, name, entry)
        }
    }
}

fn text(entry: &mut Entry<'_>, name: &str) -> Result<String, String> {
    let mut text = String::new();
    entry
        .take(LARGEST_TEXT + 1)
        .read_to_string(&mut text)
        .map_err(|_| format!("{name} is not UTF-8 text"))?;
    match text.len() as u64 > LARGEST_TEXT {
        true => Err(format!("{name} is larger than {} KB", LARGEST_TEXT >> 10)),
        false => Ok(text),
    }
}

fn few(count: usize, what: &str) -> Result<(), String> {
    match count < MOST_NAMED {
        true => Ok(()),
        false => Err(format!(
            "the tree has more than {MOST_NAMED} {what}: deploy the app's own folder alone"
        )),
    }
}

/// Headers are read whole into memory by what reads a tar, and files with holes are filled by it: both are found
/// before that.
fn headers_are_short(tar: &Path) -> Result<(), String> {
    let mut archive = tar::Archive::new(File::open(tar).map_err(told)?);
    for entry in archive.entries_with_seek().map_err(broken)?.raw(true) {
        let entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_sparse() {
            return Err("the tree holds a sparse file, which would be as large as it says once copied: leave it out, or pack it without --sparse".into());
        }
        let before = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if before && entry.size() > LONGEST_HEADER {
            return Err(format!(
                "the tree has a path or an attribute of more than {} KB: shorten it",
                LONGEST_HEADER >> 10
            ));
        }
    }
    Ok(())
}

fn broken(error: io::Error) -> String {
    format!("the tree is not a whole tar archive ({error}): send it again")
}

/// Calls `on` for every entry, its name without `./` and a slash at its end.
pub(super) fn each(
    tar: &Path,
    mut on: impl FnMut(&str, &mut Entry<'_>) -> Result<(), String>,
) -> Result<(), String> {
    headers_are_short(tar)?;
    let file = File::open(tar).map_err(told)?;
    let mut archive = tar::Archive::new(BufReader::with_capacity(256 << 10, file));
    let mut links: HashSet<String> = HashSet::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let Some(name) = plain(&path) else {
            return Err(format!(
                "the tree holds \"{}\", which leads out of it: pack the folder itself, without .. and absolute paths",
                path.display()
                    .to_string()
                    .chars()
                    .take(100)
                    .collect::<String>()
            ));
        };
        let kind = entry.header().entry_type();
        let known = kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link();
        if name.is_empty() || kind.is_pax_global_extensions() {
            continue;
        }
        // The engine would follow the link and write over what was looked at.
        let mut above = name.match_indices('/').map(|(at, _)| &name[..at]);
        if above.any(|folder| links.contains(folder)) {
            return Err(format!(
                "\"{name}\" lies below a link: pack the folder that the link leads to"
            ));
        }
        if kind.is_symlink() || kind.is_hard_link() {
            links.insert(name.clone());
        }
        if !known {
            return Err(format!(
                "\"{name}\" is neither a file, a folder nor a link: leave it out"
            ));
        }
        on(&name, &mut entry)?;
    }
    Ok(())
}

/// A path of the tree as its entries are named; nothing for one that leads out of it.
pub(super) fn plain(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(folder: &tempfile::TempDir, files: &[(&str, &str)]) -> std::path::PathBuf {
        let path = folder.path().join("tree.tar");
        let mut out = tar::Builder::new(File::create(&path).unwrap());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            out.append(&header, text.as_bytes()).unwrap();
        }
        out.into_inner().unwrap();
        path
    }

    fn names(tar: &Path) -> Vec<String> {
        let mut all = Vec::new();
        each(tar, |name, _| {
            all.push(name.to_owned());
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn f4_a_path_out_of_the_tree_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["../evil", "/etc/passwd", "a/../../b"] {
            let error = look(&pack(&folder, &[(bad, "x")])).unwrap_err();
            assert!(error.contains("leads out of it"), "{bad}: {error}");
        }
        let path = folder.path().join("junk.tar");
        std::fs::write(&path, vec![b'x'; 2_000]).unwrap();
        assert!(look(&path).unwrap_err().contains("not a whole tar"));
        std::fs::write(&path, b"").unwrap();
        assert!(look(&path).unwrap_err().contains("nothing to build"));
    }

    #[test]
    fn a6_a_tree_made_to_fill_memory_or_disk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tree.tar");
        // A path of 16 MB, and a sparse file of 8 TB in 512 bytes.
        for (kind, real, words) in [
            (tar::EntryType::GNULongName, 16 << 20, "more than 64 KB"),
            (tar::EntryType::XHeader, 16 << 20, "more than 64 KB"),
            (tar::EntryType::GNUSparse, 0, "a sparse file"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(real);
            header.set_mode(0o644);
            header.set_path("big").unwrap();
            if let (true, Some(gnu)) = (kind.is_gnu_sparse(), header.as_gnu_mut()) {
                gnu.set_real_size(8 << 40);
                gnu.set_is_extended(false);
            }
            header.set_cksum();
            let mut out = tar::Builder::new(File::create(&path).unwrap());
            out.append(&header, io::repeat(b'a').take(real)).unwrap();
            out.into_inner().unwrap();
            let error = look(&path).unwrap_err();
            assert!(error.contains(words), "{kind:?}: {error}");
        }
        let many: Vec<String> = (0..MOST_NAMED + 1)
            .map(|n| format!("{n}/.dockerignore"))
            .collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
        let error = look(&pack(&folder, &many)).unwrap_err();
        assert!(error.contains("more than 200"), "{error}");
    }

    #[test]
    fn f4_a_cut_tar_is_not_built() {
        let folder = tempfile::tempdir().unwrap();
        let path = pack(
            &folder,
            &[("Dockerfile", "FROM x"), ("b", &"y".repeat(5_000))],
        );
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..3_000]).unwrap();
        assert!(look(&path).unwrap_err().contains("not a whole tar"));
    }

    #[test]
    fn f4_a_missing_dockerfile_gets_a_sentence_that_helps() {
        let folder = tempfile::tempdir().unwrap();
        let settings = |files: &[(&str, &str)]| look(&pack(&folder, files)).unwrap().settings(None);
        assert!(settings(&[("Dockerfile", "FROM x")]).is_ok());
        let none = settings(&[("main.py", "")]).unwrap_err();
        assert!(none.contains("no Dockerfile at the root"), "{none}");
        let other = settings(&[("docker/Dockerfile", "")]).unwrap_err();
        assert!(
            other.contains("dockerfile = \"docker/Dockerfile\""),
            "{other}"
        );
        let named = "[build]\ndockerfile = \"docker/Dockerfile\"";
        assert!(settings(&[("./docker/Dockerfile", ""), ("freehold.toml", named)]).is_ok());
        let bad = settings(&[("Dockerfile", ""), ("freehold.toml", "x = 1")]).unwrap_err();
        assert!(bad.contains("line 1"), "{bad}");
    }

    #[test]
    fn a4_nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tree.tar");
        let mut out = tar::Builder::new(File::create(&path).unwrap());
        let file = |out: &mut tar::Builder<File>, name: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(6);
            header.set_mode(0o644);
            out.append_data(&mut header, name, &b"FROM x"[..]).unwrap();
        };
        file(&mut out, "Dockerfile");
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        out.append_link(&mut header, "a", ".").unwrap();
        file(&mut out, "a/Dockerfile");
        out.into_inner().unwrap();
        let error = look(&path).unwrap_err();
        assert!(error.contains("lies below a link"), "{error}");
    }

    #[test]
    fn a4_the_dockerfile_is_found_as_the_builder_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tree.tar");
        let mut out = tar::Builder::new(File::create(&path).unwrap());
        for (name, text) in [
            ("./a/real", "FROM one"),
            ("twice", "FROM x"),
            ("twice", "FROM y"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            out.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        for (name, to, kind) in [
            ("Dockerfile", "a/link", tar::EntryType::Symlink),
            ("a/link", "../a/real", tar::EntryType::Symlink),
            ("hard", "a/real", tar::EntryType::Link),
            ("round", "round", tar::EntryType::Symlink),
            ("out", "../../etc/passwd", tar::EntryType::Symlink),
            ("folder", "a", tar::EntryType::Symlink),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            out.append_link(&mut header, name, to).unwrap();
        }
        out.into_inner().unwrap();
        for found in ["Dockerfile", "a/real", "hard"] {
            assert_eq!(dockerfile(&path, found).unwrap(), ["FROM one"], "{found}");
        }
        assert_eq!(dockerfile(&path, "twice").unwrap(), ["FROM x", "FROM y"]);
        for none in ["round", "out", "folder/real", "nope"] {
            let error = dockerfile(&path, none).unwrap_err();
            assert!(error.contains("there is no file"), "{none}: {error}");
        }
    }

    #[test]
    fn f4_the_builder_does_not_see_what_dockerignore_names() {
        let folder = tempfile::tempdir().unwrap();
        let tar = pack(
            &folder,
            &[
                ("Dockerfile", "FROM x"),
                (".dockerignore", "Dockerfile\n*.log\nnode_modules"),
                ("a.log", "x"),
                ("node_modules/m/i.js", "x"),
                ("src/a.log", "kept"),
                (".gitmodules", ""),
            ],
        );
        let to = folder.path().join("trimmed.tar");
        let tree = look(&tar).unwrap();
        assert_eq!(tree.notes.len(), 1);
        assert!(tree.trim("Dockerfile", &tar, &to).unwrap());
        assert_eq!(
            names(&to),
            ["Dockerfile", ".dockerignore", "src/a.log", ".gitmodules"]
        );
        let plain = pack(&folder, &[("Dockerfile", "FROM x")]);
        assert!(
            !look(&plain)
                .unwrap()
                .trim("Dockerfile", &plain, &to)
                .unwrap()
        );
    }
}
