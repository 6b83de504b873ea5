//! The copy of a static folder out of a tree.
//!
//! Only regular files come out of it: a hard link becomes the file it leads to, wherever in the tree that is, and
//! symbolic links, which the edge does not follow either, are left out and counted.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::app_file::FILE_NAME;
use super::context::{Entry, each, plain};
use super::static_folder::{PART, remove, told};
use super::steps::Folder;

/// Hard links of a tree at most: more names are not served.
const MOST_LINKS: usize = 20_000;
/// Hard links that lead to each other, followed at most.
const LONGEST_CHAIN: usize = 8;

/// What did not become a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Symbolic links, and hard links that lead to no file of the tree.
    pub(super) links: usize,
}

/// Copies the files below `from` of the tar at `tree` to `to`, which is there whole and on the disk, or not at all.
pub(super) fn copy(tree: &Path, from: &str, to: &Path) -> Result<Copied, String> {
    let told = |error: io::Error| told(&error);
    let mut part = to.as_os_str().to_owned();
    part.push(PART);
    let part = PathBuf::from(part);
    remove(&part)?;
    fs::create_dir_all(&part).map_err(told)?;
    let from = from.trim_end_matches('/');
    let (mut files, mut copied) = (0_u64, Copied::default());
    let mut links: HashMap<String, String> = HashMap::new();
    // `each` lets nothing by that leads out of the tree or lies below a link.
    each(tree, |name, entry| {
        let kind = entry.header().entry_type();
        if kind.is_hard_link() {
            if links.len() == MOST_LINKS {
                return Err(format!(
                    "the tree has more than {MOST_LINKS} hard links: pack it without them"
                ));
            }
            let target = entry.link_name().map_err(told)?;
            let target = target.and_then(|target| plain(&target)).unwrap_or_default();
            links.insert(name.to_owned(), target);
            return Ok(());
        }
        let Some(below) = below(name, from) else {
            return Ok(());
        };
        if kind.is_symlink() {
            copied.links += 1;
        }
        if kind.is_file() {
            // Of two entries with one name the last counts.
            links.remove(name);
            write(entry, &part.join(below)).map_err(told)?;
            files += 1;
        }
        Ok(())
    })?;
    // By the file they lead to, because one that is not below the folder is still to be found.
    let mut wanted: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, target) in &links {
        if let Some(below) = below(name, from) {
            wanted.entry(end(&links, target)).or_default().push(below);
        }
    }
    let mut outside: HashMap<&str, Vec<&str>> = HashMap::new();
    for (target, names) in wanted {
        match below(target, from).map(|below| part.join(below)) {
            Some(path) if path.is_file() => {
                files += link(&part, &path, &names).map_err(told)?;
            }
            _ => {
                outside.insert(target, names);
            }
        }
    }
    if !outside.is_empty() {
        each(tree, |name, entry| {
            if entry.header().entry_type().is_file()
                && let Some(mut names) = outside.remove(name)
                && let Some(first) = names.pop()
            {
                let path = part.join(first);
                write(entry, &path).map_err(told)?;
                files += 1 + link(&part, &path, &names).map_err(told)?;
            }
            Ok(())
        })?;
    }
    copied.links += outside.values().map(Vec::len).sum::<usize>();
    if files == 0 {
        remove(&part)?;
        return Err(format!(
            "there are no files in the folder {from} of the tree: build the site first, and deploy it with the folder that [build] static in freehold.toml names"
        ));
    }
    rustix::fs::syncfs(File::open(&part).map_err(told)?).map_err(|e| told(e.into()))?;
    remove(to)?;
    Folder::Copied.passed();
    fs::rename(&part, to).map_err(told)?;
    let above = to.parent().unwrap_or(to);
    File::open(above)
        .and_then(|above| above.sync_all())
        .map_err(told)?;
    Folder::Placed.passed();
    Ok(copied)
}

/// The name of a tree's file below the folder, if it is there.
fn below<'a>(name: &'a str, from: &str) -> Option<&'a str> {
    match from {
        "." | "" => Some(name).filter(|name| *name != FILE_NAME),
        from => name.strip_prefix(from)?.strip_prefix('/'),
    }
}

/// The file at the end of a chain of hard links.
fn end<'a>(links: &'a HashMap<String, String>, target: &'a str) -> &'a str {
    let mut at = target;
    for _ in 0..LONGEST_CHAIN {
        match links.get(at) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// Gives a file of the folder these names too; how many there are.
fn link(part: &Path, target: &Path, names: &[&str]) -> io::Result<u64> {
    for name in names {
        let path = part.join(name);
        fs::hard_link(target, made(&path)?)?;
    }
    Ok(names.len() as u64)
}

fn write(entry: &mut Entry<'_>, path: &Path) -> io::Result<()> {
    let modified = entry.header().mtime().unwrap_or_default();
    let mut file = File::create(made(path)?)?;
    io::copy(entry, &mut file)?;
    let modified = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(modified));
    if let Some(modified) = modified {
        // A date that the file system does not know is no reason to fail.
        file.set_modified(modified).unwrap_or_default();
    }
    Ok(())
}

/// A path that can be written: the folders above it are there, and no file is.
fn made(path: &Path) -> io::Result<&Path> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::StaticSite;

    #[test]
    fn e6_a_folder_is_copied_whole_without_links_and_anew_each_time() {
        let at = tempfile::tempdir().unwrap();
        let (tree, to) = (at.path().join("tree.tar"), at.path().join("static/7/12"));
        let mut tar = tar::Builder::new(File::create(&tree).unwrap());
        let mut add = |name: &str, link: Option<&str>| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(1_000_000);
            match link {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, name, target).unwrap();
                }
                None => {
                    header.set_size(4);
                    tar.append_data(&mut header, name, &b"text"[..]).unwrap();
                }
            }
        };
        for name in [
            "freehold.toml",
            "dist/index.html",
            "dist/a/b.js",
            "dist2/no.txt",
            "other.txt",
        ] {
            add(name, None);
        }
        add("dist/link", Some("/etc/passwd"));
        tar.finish().unwrap();
        fs::create_dir_all(to.with_extension("part").join("left")).unwrap();
        for _ in 0..2 {
            assert_eq!(copy(&tree, "dist", &to).unwrap(), Copied { links: 1 });
            let site = StaticSite::read(&to, false, None).unwrap();
            assert_eq!((site.files(), site.left_out()), (2, 0));
        }
        let modified = fs::metadata(to.join("a/b.js")).unwrap().modified().unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        assert_eq!(modified, then);
        copy(&tree, ".", &to).unwrap();
        assert!(to.join("dist2/no.txt").exists() && !to.join("freehold.toml").exists());
        let error = copy(&tree, "build", &to).unwrap_err();
        assert!(error.contains("no files in the folder build"), "{error}");
        assert!(to.join("other.txt").exists(), "what was there stays");
    }

    #[test]
    fn e6_a_hard_link_of_an_upload_is_the_file_it_leads_to() {
        let at = tempfile::tempdir().unwrap();
        let (tree, to) = (at.path().join("tree.tar"), at.path().join("static/7/12"));
        let mut tar = tar::Builder::new(File::create(&tree).unwrap());
        let mut add = |name: &str, target: Option<&str>| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            match target {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Link);
                    header.set_size(0);
                    tar.append_link(&mut header, name, target).unwrap();
                }
                None => {
                    header.set_size(name.len() as u64);
                    tar.append_data(&mut header, name, name.as_bytes()).unwrap();
                }
            }
        };
        for (name, target) in [
            ("shared/logo.svg", None),
            ("dist/index.html", None),
            ("dist/a/copy.html", Some("dist/index.html")),
            ("dist/chain.html", Some("./dist/a/copy.html")),
            ("dist/logo.svg", Some("shared/logo.svg")),
            ("dist/again.svg", Some("shared/logo.svg")),
            ("dist/gone.svg", Some("shared/gone.svg")),
            ("dist/out", Some("../../etc/passwd")),
            ("dist/passwd", Some("/etc/passwd")),
            ("dist/round", Some("dist/round")),
            ("other/copy.html", Some("dist/index.html")),
            ("dist/twice.html", Some("dist/index.html")),
            ("dist/twice.html", None),
        ] {
            add(name, target);
        }
        tar.finish().unwrap();
        assert_eq!(copy(&tree, "dist", &to).unwrap(), Copied { links: 4 });
        let text = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        for (name, content) in [
            ("index.html", "dist/index.html"),
            ("a/copy.html", "dist/index.html"),
            ("chain.html", "dist/index.html"),
            ("logo.svg", "shared/logo.svg"),
            ("again.svg", "shared/logo.svg"),
            ("twice.html", "dist/twice.html"),
        ] {
            assert_eq!(text(name), content, "{name}");
        }
        let site = StaticSite::read(&to, false, None).unwrap();
        assert_eq!((site.files(), site.left_out()), (6, 0));
    }
}
