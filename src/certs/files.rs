//! Certificates the user keeps in files: loaded, checked, and loaded again
//! when the files change. A bad pair is told by name; what was served before
//! stays, and the others are untouched.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::leaf::{self, Leaf};

/// A changed pair is left alone until it has been quiet for this long: whoever
/// renews it writes two files.
const QUIET: Duration = Duration::from_secs(2);
/// No certificate chain is longer.
const LARGEST: u64 = 1 << 20;

type Stamp = (Option<(SystemTime, u64)>, Option<(SystemTime, u64)>);

#[derive(Default)]
struct Seen {
    stamp: Option<Stamp>,
    leaf: Option<Leaf>,
    load: u64,
}

/// What is loaded, by host.
#[derive(Default)]
pub(super) struct Files(Mutex<HashMap<String, Seen>>);

/// What a look at the files of one host found.
pub(super) enum Looked {
    /// Nothing new.
    Same,
    /// New and good.
    Loaded(Leaf),
    /// New and bad; why.
    Bad(String),
}

impl Files {
    /// The served pair and which load of it that is.
    pub(super) fn of(&self, host: &str) -> Option<(u64, Leaf)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get(host)?;
        seen.leaf.clone().map(|leaf| (seen.load, leaf))
    }

    /// Looks at the files of `host` and loads them when they changed. Blocks on the disk.
    pub(super) fn look(&self, host: &str, cert: &Path, key: &Path, now: SystemTime) -> Looked {
        let stamp = (stamp(cert), stamp(key));
        {
            let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(seen) = seen.get(host)
                && (seen.stamp == Some(stamp) || (seen.leaf.is_some() && is_young(stamp, now)))
            {
                return Looked::Same;
            }
        }
        let loaded = load(host, cert, key);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(host.to_owned()).or_default();
        seen.stamp = Some(stamp);
        match loaded {
            Ok(leaf) => {
                seen.leaf = Some(leaf.clone());
                seen.load += 1;
                Looked::Loaded(leaf)
            }
            Err(why) => Looked::Bad(format!(
                "The certificate of {host} cannot be loaded: {why}. {}Mend the files; they are read again when they change.",
                if seen.leaf.is_some() {
                    "The one before stays in service. "
                } else {
                    ""
                }
            )),
        }
    }

    /// Forgets every host but these.
    pub(super) fn keep(&self, hosts: &[&str]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|host, _| hosts.contains(&host.as_str()));
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn is_young(stamp: Stamp, now: SystemTime) -> bool {
    [stamp.0, stamp.1]
        .into_iter()
        .flatten()
        .any(|(written, _)| now.duration_since(written).is_ok_and(|age| age < QUIET))
}

fn load(host: &str, cert: &Path, key: &Path) -> Result<Leaf, String> {
    let leaf = leaf::read(&bytes(cert)?, &bytes(key)?)
        .map_err(|why| format!("{why} ({} and {})", cert.display(), key.display()))?;
    let covers = leaf.facts.covers(host) || leaf.facts.holds(&[host.to_owned()]);
    if covers {
        Ok(leaf)
    } else {
        Err(format!(
            "{} is for {}, not for {host}",
            cert.display(),
            leaf.facts.listed()
        ))
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let said = |e: std::io::Error| format!("{}: {e}", path.display());
    let length = std::fs::metadata(path).map_err(said)?.len();
    if length > LARGEST {
        return Err(format!("{} is longer than {LARGEST} bytes", path.display()));
    }
    std::fs::read(path).map_err(said)
}

#[cfg(test)]
mod tests {
    use super::super::box_ca;
    use super::*;
    use crate::base::clock::UnixMs;

    fn put(folder: &Path, name: &str) {
        let now = UnixMs::now();
        let root = box_ca::make_root(now).unwrap();
        let life = Duration::from_secs(3_600);
        let made = box_ca::make_leaf(&root, &[name.to_owned()], now, life).unwrap();
        std::fs::write(folder.join("c.pem"), made.chain_pem).unwrap();
        std::fs::write(folder.join("k.pem"), made.key_pem.expose()).unwrap();
    }

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(10)
    }

    #[test]
    fn f5_given_certificates_are_checked_and_a_bad_change_keeps_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let files = Files::default();
        let look = |host| files.look(host, &cert, &key, later());

        let Looked::Bad(said) = look("shop.example.com") else {
            panic!("loaded nothing");
        };
        assert!(
            said.contains("shop.example.com") && said.contains("c.pem"),
            "{said}"
        );

        put(folder.path(), "*.example.com");
        assert!(matches!(look("shop.example.com"), Looked::Loaded(_)));
        assert!(matches!(look("shop.example.com"), Looked::Same));

        std::fs::write(&key, "rubbish").unwrap();
        let Looked::Bad(said) = look("shop.example.com") else {
            panic!("took rubbish");
        };
        assert!(said.contains("stays in service"), "{said}");
        assert_eq!(files.of("shop.example.com").unwrap().0, 1);

        put(folder.path(), "other.test");
        let Looked::Bad(said) = look("shop.example.com") else {
            panic!("took another's certificate");
        };
        assert!(
            said.contains("is for other.test, not for shop.example.com"),
            "{said}"
        );

        put(folder.path(), "shop.example.com");
        assert!(matches!(look("shop.example.com"), Looked::Loaded(_)));
        assert_eq!(files.of("shop.example.com").unwrap().0, 2);
    }

    #[test]
    fn f5_a_pair_being_written_is_left_alone_for_a_moment() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        put(folder.path(), "a.test");
        let files = Files::default();
        assert!(matches!(
            files.look("a.test", &cert, &key, SystemTime::now()),
            Looked::Loaded(_)
        ));
        std::fs::write(&key, "half").unwrap();
        assert!(matches!(
            files.look("a.test", &cert, &key, SystemTime::now()),
            Looked::Same
        ));
        assert!(matches!(
            files.look("a.test", &cert, &key, later()),
            Looked::Bad(_)
        ));
    }
}
