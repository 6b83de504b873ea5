//! The map of ARCHITECTURE.md, held: who may import whom, who may name which crate, where SQL stands, how long a file is.
//!
//! Reads the source as text; a rule that is bent says which file, which line and which rule.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[path = "support/sweep.rs"]
mod sweep;
#[path = "tidy/web.rs"]
mod web;

/// Imports go down only: a module may name those of a lower number, and itself.
const STRATA: &[(u8, &[&str])] = &[
    (0, &["base"]),
    (1, &["config", "db", "wire"]),
    (2, &["audit", "events", "jobs"]),
    (3, &["docker", "git", "host", "http_client", "proxy"]),
    // Stores objects over the HTTP client.
    (4, &["objects"]),
    (5, &["routing", "supervise"]),
    (
        6,
        &[
            "access_log",
            "apps",
            "backup",
            "certs",
            "deploy",
            "doctor",
            "monitor",
            "postgres",
            "users",
        ],
    ),
    (7, &["web"]),
    (8, &["daemon"]),
    (9, &["cli"]),
    (10, &["main", "lib", "fuzz"]),
];

/// A crate, and the modules that may name it.
const CRATES: &[(&str, &[&str])] = &[
    ("bollard", &["docker"]),
    ("axum", &["web"]),
    ("askama", &["web"]),
    ("tower_http", &["web"]),
    ("instant_acme", &["certs"]),
    ("rcgen", &["certs"]),
    ("rusty_s3", &["objects"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("argon2", &["users"]),
    ("qrcode", &["web"]),
];

const LONGEST: usize = 600;

struct Source {
    path: PathBuf,
    /// The top-level module it belongs to.
    module: String,
    /// Without its tests, which may do more.
    lines: Vec<String>,
    all_lines: usize,
    is_test: bool,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(read(&root, path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read(root: &Path, path: PathBuf) -> Source {
    let text = std::fs::read_to_string(&path).unwrap();
    let relative = path.strip_prefix(root).unwrap().to_path_buf();
    let first = relative.components().next().unwrap();
    let module = Path::new(first.as_os_str()).with_extension("");
    let name = relative.file_name().unwrap().to_string_lossy().into_owned();
    let all: Vec<String> = text.lines().map(str::to_owned).collect();
    let inline = all.iter().position(|l| l.trim() == "mod tests {");
    Source {
        module: module.to_string_lossy().into_owned(),
        is_test: name == "tests.rs"
            || name.ends_with("_tests.rs")
            || relative.components().any(|c| c.as_os_str() == "tests"),
        all_lines: all.len(),
        lines: all[..inline.unwrap_or(all.len())].to_vec(),
        path: relative,
    }
}

/// What the line says, without its comment.
fn code(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with("//") {
        ""
    } else {
        trimmed
    }
}

/// Panics with every place that bends `rule`.
fn hold(rule: &str, bent: impl Fn(&Source) -> Vec<(usize, String)>) {
    let mut report = String::new();
    for source in sources() {
        for (line, what) in bent(&source) {
            writeln!(report, "src/{}:{}: {what}", source.path.display(), line + 1).unwrap();
        }
    }
    assert!(report.is_empty(), "{rule}\n{report}");
}

/// [`hold`] for rules about single lines of shipped code.
fn hold_lines(rule: &str, bent: impl Fn(&Source, &str) -> Option<String>) {
    hold(rule, |source| {
        if source.is_test {
            return Vec::new();
        }
        let lines = source.lines.iter().enumerate();
        lines
            .filter_map(|(n, l)| Some((n, bent(source, code(l))?)))
            .collect()
    });
}

fn stratum(module: &str) -> Option<u8> {
    STRATA
        .iter()
        .find(|(_, m)| m.contains(&module))
        .map(|(n, _)| *n)
}

/// The top-level modules a line names: `crate::a::b`, `crate::{a, b::c}`.
fn named_modules(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let inner = rest.strip_prefix('{').map_or(rest, |r| r);
        let parts: Vec<&str> = if rest.starts_with('{') {
            inner.split(',').collect()
        } else {
            vec![inner]
        };
        for part in parts {
            let word: String = part
                .trim()
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            if !word.is_empty() {
                found.push(word);
            }
        }
    }
    found
}

fn uses_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let free = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        free(line[..at].chars().next_back()) && free(line[at + word.len()..].chars().next())
    })
}

#[test]
fn imports_go_down() {
    hold_lines(
        "imports go down only: main → cli → daemon → web → domains → routing, supervise → proxy, adapters → events, jobs → db, config, wire → base",
        |source, line| {
            let own = stratum(&source.module).unwrap_or_else(|| {
                panic!(
                    "src/{} stands in no stratum of tests/tidy.rs",
                    source.path.display()
                )
            });
            named_modules(line).into_iter().find_map(|other| {
                let theirs = stratum(&other)?;
                let allowed = other == source.module
                    || (theirs < own && (source.module != "proxy" || other == "base"));
                (!allowed).then(|| format!("{} names {other}", source.module))
            })
        },
    );
}

#[test]
fn crates_are_named_by_their_adapter_only() {
    hold_lines("one module per outside crate", |source, line| {
        CRATES.iter().find_map(|(name, allowed)| {
            let named = uses_word(line, name) && line.contains(&format!("{name}::"));
            (named && !allowed.contains(&source.module.as_str()))
                .then(|| format!("{} names {name}", source.module))
        })
    });
}

#[test]
fn sql_stands_in_stores_and_the_database() {
    hold_lines("SQL only in store.rs files and db/", |source, line| {
        let home = source.module == "db"
            || source
                .path
                .components()
                .any(|c| c.as_os_str().to_string_lossy().starts_with("store"));
        let sql = [
            ".query_row(",
            ".prepare_cached(",
            ".prepare(\"",
            ".execute(\"",
            ".execute_batch(",
            "rusqlite::params",
        ];
        (!home && sql.iter().any(|s| line.contains(s))).then(|| line.to_owned())
    });
}

#[test]
fn the_request_path_has_no_lock() {
    hold_lines(
        "no Mutex, RwLock or concurrent map in proxy/",
        |source, line| {
            let lock = ["Mutex", "RwLock", "DashMap"]
                .into_iter()
                .find(|l| uses_word(line, l))?;
            (source.module == "proxy").then(|| lock.to_owned())
        },
    );
}

#[test]
fn no_shell() {
    hold_lines("no shell, ever: argument vectors", |_, line| {
        let shells = [
            "Command::new(\"sh\")",
            "Command::new(\"bash\")",
            "\"/bin/sh\"",
            "\"sh\", \"-c\"",
            "\"sh -c",
        ];
        shells
            .iter()
            .any(|s| line.contains(s))
            .then(|| line.to_owned())
    });
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    hold(
        "a file begins with its //! doc and has at most 600 lines",
        |source| {
            let mut bent = Vec::new();
            let documented = source
                .lines
                .iter()
                .find(|l| !l.trim().is_empty())
                .is_some_and(|l| l.starts_with("//!"));
            if !documented {
                bent.push((0, "no //! doc".to_owned()));
            }
            if source.all_lines > LONGEST {
                bent.push((LONGEST, format!("{} lines", source.all_lines)));
            }
            bent
        },
    );
}

/// What is said of the source's files holds for the tests' too.
#[test]
fn tests_say_what_they_are_and_stay_short() {
    let mut report = String::new();
    for path in test_files() {
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.starts_with("//!") {
            writeln!(report, "{}: no //! doc", path.display()).unwrap();
        }
        let lines = text.lines().count();
        if lines > LONGEST {
            writeln!(report, "{}: {lines} lines", path.display()).unwrap();
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// Every Rust file under tests/.
fn test_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            // What the rig puts up lies in a hidden folder, and goes while this looks.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn nothing_is_put_off() {
    hold(
        "no TODO in what ships: do it, or write it into the issue",
        |source| {
            let lines = source.lines.iter().enumerate();
            lines
                .filter(|(_, l)| {
                    ["TODO", "FIXME", "XXX", "unimplemented!", "todo!"]
                        .iter()
                        .any(|w| l.contains(w))
                })
                .map(|(n, l)| (n, l.trim().to_owned()))
                .collect()
        },
    );
}

#[test]
fn no_merge_is_left_in_the_middle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.to_path_buf()];
    let mut report = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name.as_encoded_bytes().starts_with(b".") || name == "target" || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path)
                && text.lines().any(|line| line.starts_with("<<<<<<< "))
            {
                report.push_str(&format!("{}\n", path.display()));
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn the_median_file_is_short() {
    let mut lengths: Vec<usize> = sources()
        .iter()
        .filter(|s| !s.is_test)
        .map(|s| s.all_lines)
        .collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= 200, "the median file has {median} lines");
}

/// The crates that are built, as cargo says; the lock file also names those of features that are off.
#[test]
fn one_crypto_provider() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--edges", "normal,build", "--target", "all"])
        .args([
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--locked",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let built: Vec<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
    assert!(built.contains(&"aws-lc-rs"), "cargo tree said nothing");
    for other in [
        "ring",
        "openssl",
        "openssl-sys",
        "native-tls",
        "boring",
        "reqwest",
    ] {
        assert!(!built.contains(&other), "{other} is built; see deny.toml");
    }
    let mut rustls: Vec<&str> = tree
        .lines()
        .filter(|l| l.starts_with("rustls v"))
        .map(|l| l.trim_end_matches(" (*)"))
        .collect();
    rustls.sort_unstable();
    rustls.dedup();
    assert_eq!(rustls.len(), 1, "one rustls: {rustls:?}");
}

/// Every crash point of every registry is in the share of a sweep, every sweep is where the list says and walks its
/// share (which it fails to do when it leaves a point out), and no test walks a registry beside the list.
#[test]
fn crash_points_are_all_visited() {
    let registering: BTreeSet<String> = sources()
        .iter()
        .filter(|s| s.lines.iter().any(|l| l.contains("pub fn crash_points()")))
        .map(|s| s.module.clone())
        .collect();
    let registries = sweep::registries();
    let listed: BTreeSet<String> = registries.iter().map(|(n, _)| (*n).to_owned()).collect();
    assert_eq!(listed, registering, "tests/support/sweep.rs lists others");

    let mut report = String::new();
    for (registry, points) in &registries {
        let shares = || sweep::SHARES.iter().filter(|s| s.registry == *registry);
        for point in points {
            if !shares().any(|s| s.points().contains(point)) {
                writeln!(report, "{point} is in no sweep's share").unwrap();
            }
        }
        for (share, takes) in shares().flat_map(|s| s.takes.iter().map(move |t| (s, t))) {
            if !points.iter().any(|p| p.contains(takes)) {
                writeln!(report, "{}: {takes:?} is no point's name", share.test).unwrap();
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for share in sweep::SHARES {
        let text = std::fs::read_to_string(root.join(share.file)).unwrap();
        let after = text.split_once(&format!("fn {}(", share.test));
        let body = after.map(|(_, rest)| rest.split_once("\n}\n").map_or(rest, |(body, _)| body));
        let walks = body.is_some_and(|b| {
            b.contains("Sweep::of(") && b.contains(&format!("\"{}\"", share.test))
        });
        if !walks {
            writeln!(
                report,
                "{}: {} does not walk its share",
                share.file, share.test
            )
            .unwrap();
        }
    }
    for path in test_files() {
        let own = path.ends_with("support/sweep.rs") || path.ends_with("tidy.rs");
        if !own
            && std::fs::read_to_string(&path)
                .unwrap()
                .contains("crash_points()")
        {
            writeln!(report, "{}: walks a registry by itself", path.display()).unwrap();
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// A line at which a test may kill is in a registry, where its name stands as it is.
#[test]
fn crash_points_are_all_registered() {
    let known: Vec<String> = sweep::registries().into_iter().flat_map(|r| r.1).collect();
    hold_lines("a crash point is registered", |_, line| {
        let (_, rest) = line.split_once("crash_point::hit(\"")?;
        let name = rest.split('"').next()?.to_owned();
        (!known.contains(&name)).then_some(name)
    });
}

/// What a target is for is found by its kept inputs: each has some, small ones, and none lie there for a target that is
/// gone.
#[test]
fn e3_every_fuzz_target_has_inputs_that_are_kept() {
    const MOST: u64 = 16 << 10;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("src/fuzz.rs")).unwrap();
    let listed = text.lines().filter_map(|line| {
        let (name, target) = line.trim().strip_prefix("(\"")?.split_once('"')?;
        target.contains("::fuzz::").then(|| name.to_owned())
    });
    let listed: BTreeSet<String> = listed.collect();
    let mut kept = BTreeSet::new();
    for folder in std::fs::read_dir(root.join("tests/fuzz/corpus")).unwrap() {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        for input in std::fs::read_dir(&folder).unwrap() {
            let input = input.unwrap();
            let length = input.metadata().unwrap().len();
            assert!(length <= MOST, "{}: {length} bytes", input.path().display());
            kept.insert(name.clone());
        }
    }
    assert!(listed.len() > 30, "src/fuzz.rs is read wrongly: {listed:?}");
    assert_eq!(kept, listed, "folders with inputs, and targets");
}
