//! What a box holds beside its rows: engine objects, files, parts of uploads in a store, jobs that are open, requests
//! that are held. Counted before something and after it; what is more or less was left over, or lost.
//!
//! Objects are counted by what they are for, and not by their ids: a rollback's containers are others, and as many.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::freehold::Freehold;
use super::process::run;
use super::s3::S3;
use super::until::until;

/// How often there is what, such as `container replica app:1 running`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<String, i64>);

/// Rows of what is under way or held for a while: none is left once all is calm.
const FOR_A_WHILE: &[(&str, &str)] = &[
    ("pause of app", "SELECT app_id FROM app_pause_owners"),
    (
        "challenge of order",
        "SELECT order_id FROM certificate_challenges",
    ),
    (
        "open order for",
        "SELECT host FROM certificate_orders WHERE state NOT IN ('issued', 'failed')",
    ),
];
/// An image that its release keeps, as [`Census::by_release`] has it.
const KEPT: &str = "image of a kept release";
/// Jobs that come again by the clock: one of them is open at any time.
const BY_THE_CLOCK: &[&str] = &["backup.plan", "backup.retain", "certificate"];
/// Ends of names under which nothing is ever kept.
const HALF: &[&str] = &[".tmp", ".partial", ".part", ".lock", ".tar"];

impl Census {
    /// Of a box whose daemon answers.
    pub fn of(fh: &Freehold) -> Self {
        let mut all = Self::of_engine(&fh.installation());
        all.beside(&fh.data_dir());
        all.half_files(&fh.path("run"));
        let told = fh.json(&["status", "--routes"]);
        let held = told["edge"]["held"].as_i64().unwrap();
        (0..held).for_each(|_| all.one("held request"));
        all
    }

    /// The same with what lies half done in the store.
    pub fn with_store(fh: &Freehold, store: &S3) -> Self {
        let mut all = Self::of(fh);
        for part in store.uploads() {
            all.one(format!("part of an upload {part}"));
        }
        all
    }

    /// The files and rows of a data folder, whether or not a daemon works with it.
    pub fn of_folder(data: &Path) -> Self {
        let mut all = Self::default();
        all.beside(data);
        all
    }

    fn beside(&mut self, data: &Path) {
        self.files(data);
        let state = opened(data);
        self.jobs(&state);
        for (what, ask) in FOR_A_WHILE {
            for row in texts(&state, ask) {
                self.one(format!("{what} {row}"));
            }
        }
    }

    /// The engine's objects of one installation.
    pub fn of_engine(installation: &str) -> Self {
        let mut all = Self::default();
        let label = format!("label=freehold.installation={installation}");
        let docker = |arguments: &[&str], filter: &str, format: &str| {
            let mut list = Command::new("docker");
            list.args(arguments);
            list.args(["--filter", filter, "--format", format]);
            run(&mut list)
        };
        let of = "{{.Label \"freehold.kind\"}} {{.Label \"freehold.owner\"}} {{.State}}";
        for line in docker(&["ps", "-a"], &label, of).lines() {
            all.one(format!("container {line}"));
        }
        for line in docker(&["network", "ls"], &label, "{{.Name}}").lines() {
            all.one(format!("network {line}"));
        }
        for line in docker(&["volume", "ls"], &label, "{{.Name}}").lines() {
            all.one(format!("volume {line}"));
        }
        // By label for what was built, by tag for what was pulled.
        let prefix: String = installation.chars().take(6).collect();
        let tagged = docker(
            &["image", "ls"],
            &format!("reference=fh-{prefix}/*"),
            "{{.Repository}}:{{.Tag}}",
        );
        for line in tagged.lines() {
            all.one(format!("image {line}"));
        }
        let labelled = docker(&["image", "ls"], &label, "{{.Repository}}:{{.Tag}}");
        for line in labelled.lines().filter(|l| l.contains("<none>")) {
            all.one(format!("image without a name {line}"));
        }
        all
    }

    /// Files of what comes and goes: trees, uploads, repositories, folders of sites, and all that is not whole.
    fn files(&mut self, data: &Path) {
        for folder in ["builds", "repos", "backups"] {
            for name in names(&data.join(folder)) {
                if !name.ends_with(".log") {
                    self.one(format!("file {folder}/{name}"));
                }
            }
        }
        for app in names(&data.join("static")) {
            for name in names(&data.join("static").join(&app)) {
                self.one(format!("file static/{app}/{name}"));
            }
        }
        self.half_files(data);
    }

    fn half_files(&mut self, folder: &Path) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name().into_string().unwrap(), entry.path());
            if HALF.iter().any(|end| name.ends_with(end)) || name.starts_with("upload-") {
                self.one(format!("half done {}", path.display()));
            } else if path.is_dir() && !path.is_symlink() {
                self.half_files(&path);
            }
        }
    }

    fn jobs(&mut self, state: &Connection) {
        let ask = "SELECT kind || ' ' || key FROM jobs WHERE state IN ('queued', 'running')";
        for job in texts(state, ask) {
            if !BY_THE_CLOCK.iter().any(|word| job.starts_with(word)) {
                self.one(format!("open job {job}"));
            }
        }
    }

    fn one(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// The same with the images that a release of the box keeps told by that alone: after deploys they are others. One that
    /// no release knows stands by its name, and so does one that is not there though its release is kept.
    pub fn by_release(mut self, data: &Path) -> Self {
        let state = opened(data);
        let kept = texts(
            &state,
            "SELECT image_tag FROM releases WHERE gone_ms IS NULL AND image_tag NOT LIKE 'static:%'",
        );
        for tag in kept.into_iter().collect::<BTreeSet<_>>() {
            match self.0.remove(&format!("image {tag}")) {
                Some(_) => self.one(KEPT),
                None => self.one(format!("release without its image {tag}")),
            }
        }
        self
    }

    /// How many there are whose words begin so.
    pub fn count(&self, begins: &str) -> i64 {
        let found = self.0.iter().filter(|(what, _)| what.starts_with(begins));
        found.map(|(_, count)| count).sum()
    }

    /// What there is more of or less of since, a line each: `+1 image fh-1a2b3c/shop:d4`.
    pub fn difference(&self, since: &Self) -> Vec<String> {
        let all: BTreeSet<&String> = self.0.keys().chain(since.0.keys()).collect();
        all.into_iter()
            .filter_map(|what| {
                let count = |census: &Self| census.0.get(what).copied().unwrap_or_default();
                let more = count(self) - count(since);
                (more != 0).then(|| format!("{more:+} {what}"))
            })
            .collect()
    }

    /// Takes censuses until one differs from this by nothing but what `about` says of a line of the difference.
    pub fn until_equal(&self, when: &str, take: impl Fn() -> Self, about: impl Fn(&str) -> bool) {
        until(&format!("nothing to be over after {when}"), LIMIT, || {
            let mut left = take().difference(self);
            left.retain(|line| !about(line));
            match left.is_empty() {
                true => Ok(()),
                false => Err(format!("{left:#?}")),
            }
        });
    }
}

fn opened(data: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let state = Connection::open_with_flags(data.join("state.db"), flags).unwrap();
    state.busy_timeout(Duration::from_secs(60)).unwrap();
    state
}

/// The first column of each row, as text.
fn texts(state: &Connection, ask: &str) -> Vec<String> {
    let mut rows = state.prepare(ask).unwrap();
    let text = |row: &rusqlite::Row<'_>| {
        let value = row.get_ref(0)?;
        Ok(match value.as_i64() {
            Ok(number) => number.to_string(),
            Err(_) => value.as_str()?.to_owned(),
        })
    };
    let found = rows.query_map([], text).unwrap();
    found.map(Result::unwrap).collect()
}

/// Of a line of a difference: what every deploy may change in a census [`Census::by_release`]. As many releases as the box
/// keeps have an image, the newest is watched, and a job that was open is over.
pub fn about_a_deploy(line: &str) -> bool {
    line.ends_with(KEPT)
        || line.contains(" open job deploy.watch ")
        || (line.starts_with('-') && line.contains(" open job "))
}

/// For work that the daemon takes up again and for old containers to end.
const LIMIT: Duration = Duration::from_secs(120);

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}
