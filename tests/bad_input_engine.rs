//! The rows of the table of bad inputs that need an engine, a store or a full disk: each is run for real beside an app
//! that serves, and must end with its sentence, leave that app and what is stored alone, and leave nothing behind.

#[path = "bad_input/mod.rs"]
mod rows;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use rows::census::{self, Census};
use rows::table::{self, Store, When, fill, has};
use support::authority::Authority;
use support::disk::Disk;
use support::door::Door;
use support::freehold::{Freehold, words};
use support::git_host::GitHost;
use support::port::free_port;
use support::process::run;
use support::s3::S3;
use support::until::{secs, until, until_true};

const APP: &str = "shop";
/// An app that is as small as one can be; what it says tells its release.
const GOOD: &str = "FROM python:3.13-slim\nWORKDIR /www\nRUN echo the first release > index.html\n\
                    CMD [\"sh\", \"-c\", \"exec python -u -m http.server $PORT\"]\n";
const GOOD_SETTINGS: &str = "[processes.web]\nport = 8000\nhealth = \"/\"\n";
/// Tables in which a deploy leaves its own story; what it leaves in the engine is counted there.
const OF_A_DEPLOY: &[&str] = &[
    "deploys",
    "deploy_steps",
    "build_times",
    "releases",
    "containers",
];

/// A box with an app that serves.
struct Served {
    fh: Freehold,
    container: String,
}

impl Served {
    fn with_app(fh: Freehold) -> Self {
        fh.cli(&["app", "create", APP]);
        fh.cli(&["domain", "add", APP, "shop.localhost"]);
        let folder = folder(&fh, "good", &good());
        fh.cli(&["deploy", &folder, "--app", APP]);
        let mut this = Self {
            fh,
            container: String::new(),
        };
        until("the app to answer", secs(120), || this.serving());
        this.container = until("its container", secs(60), || this.containers());
        this
    }

    /// Ids and starts of the app's replicas. Those of a deploy that failed may go between the list and the look.
    fn containers(&self) -> Result<String, String> {
        let ids = self.docker(&["ps", "-q"], "label=freehold.kind=replica");
        let mut inspect = Command::new("docker");
        inspect.args(["inspect", "--format", "{{.Id}} {{.State.StartedAt}}"]);
        let out = inspect.args(ids.split_whitespace()).output().unwrap();
        match out.status.success() {
            true => Ok(words(&out)),
            false => Err(words(&out)),
        }
    }

    /// What the engine holds of this box.
    fn docker(&self, list: &[&str], filter: &str) -> String {
        let id = self.fh.installation();
        let mut command = Command::new("docker");
        command
            .args(list)
            .args(["--no-trunc", "--filter"])
            .arg(format!("label=freehold.installation={id}"));
        if !filter.is_empty() {
            command.args(["--filter", filter]);
        }
        run(&mut command)
    }

    /// A request through the edge, certificate verified.
    fn serving(&self) -> Result<(), String> {
        let status = self.fh.json(&["status"]);
        let root = Path::new(status["root_file"].as_str().unwrap()).to_owned();
        let answer = self.fh.edge(&root).get("https://shop.localhost/").send()?;
        match (answer.status, answer.text().trim()) {
            (200, "the first release") => Ok(()),
            _ => Err(format!("{}: {}", answer.status, answer.text())),
        }
    }

    /// What this row may not change: the live app, the state, the engine's objects, the files.
    fn census(&self, but: &[&str]) -> Census {
        let mut all = census::of(&self.fh.data_dir(), but);
        for (what, list) in [
            (
                "containers",
                &["ps", "-a", "--format", "{{.ID}} {{.Names}}"][..],
            ),
            ("images", &["image", "ls", "--format", "{{.ID}} {{.Tag}}"]),
            ("networks", &["network", "ls", "--format", "{{.Name}}"]),
            ("volumes", &["volume", "ls", "--format", "{{.Name}}"]),
        ] {
            let list: Vec<&str> = list.to_vec();
            // Volumes have no long form.
            let found = match what {
                "volumes" => self.volumes(),
                _ => self.docker(&list, ""),
            };
            all.insert(
                format!("the engine's {what}"),
                found.lines().map(str::to_owned).collect(),
            );
        }
        let mut files = std::collections::BTreeSet::new();
        for folder in ["builds", "backups"] {
            let out = Command::new("find")
                .arg(self.fh.data_dir().join(folder))
                .args(["-type", "f", "!", "-name", "*.log"])
                .output()
                .unwrap();
            files.extend(
                String::from_utf8_lossy(&out.stdout)
                    .lines()
                    .map(str::to_owned),
            );
        }
        all.insert("files".into(), files);
        all
    }

    fn volumes(&self) -> String {
        let label = format!("label=freehold.installation={}", self.fh.installation());
        run(Command::new("docker").args(["volume", "ls", "-q", "--filter", &label]))
    }

    /// What is not as before once everything has come to rest.
    fn changed(&self, before: &Census, but: &[&str]) -> Option<String> {
        let begun = std::time::Instant::now();
        loop {
            let mut difference = census::difference(before, &self.census(but));
            if self.containers().as_ref() != Ok(&self.container) {
                difference.push_str("\n  the live container is another one");
            }
            if let Err(why) = self.serving() {
                difference.push_str(&format!("\n  the app does not serve: {why}"));
            }
            if difference.is_empty() {
                return None;
            }
            if begun.elapsed() > secs(120) {
                return Some(format!("changed something:{difference}"));
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}

/// Waits until the database has its row among the schedules, which moves by itself: the first look at them makes it, within
/// a minute of the daemon's start, and at a start it looks at once.
fn is_scheduled(fh: &Freehold) {
    fh.restart();
    let state = rusqlite::Connection::open(fh.data_dir().join("state.db")).unwrap();
    state.busy_timeout(secs(10)).unwrap();
    until("the database's schedule", secs(120), || {
        let count = "SELECT count(*) FROM backup_schedules";
        let found: i64 = state.query_row(count, [], |row| row.get(0)).unwrap();
        (found == 1)
            .then_some(())
            .ok_or_else(|| format!("there are {found}"))
    });
    // The daemon answers before it has seen which containers run.
    until_true("the server to be known", secs(120), || {
        let shell = ["db", "psql", "main"];
        fh.try_cli(&shell).status.success()
    });
}

fn good() -> BTreeMap<String, String> {
    [("Dockerfile", GOOD), ("freehold.toml", GOOD_SETTINGS)]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into()
}

/// Writes files into a folder of their own; gives its path.
fn folder(fh: &Freehold, name: &str, files: &BTreeMap<String, String>) -> String {
    let folder = fh.path("folders").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder.display().to_string()
}

fn strings(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// A port of this machine that refuses.
fn closed() -> String {
    free_port(std::net::Ipv4Addr::LOCALHOST).to_string()
}

#[test]
fn a_deploy_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(&dir.path().join("authority"));
    let host = GitHost::start(dir.path(), &authority);
    let mut fh = Freehold::new();
    fh.configure(&format!(
        "[git]\nca_file = \"{}\"\n[build]\nfree_disk = \"1M\"\n",
        authority.root_file.display()
    ));
    fh.start();
    let there = folder(&fh, "repository", &good());
    let repository = host.repository("shop", Path::new(&there)).url;
    let the_box = Served::with_app(fh);
    let closed = closed();
    let names = [("closed", closed.as_str()), ("repository", &repository)];
    let mut wrong = Vec::new();
    for (number, row) in table::table().deploy.iter().enumerate() {
        let before = the_box.census(OF_A_DEPLOY);
        let source = match row.args.is_empty() {
            true => vec![folder(&the_box.fh, &number.to_string(), &row.files)],
            false => row.args.iter().map(|a| fill(a, &names)).collect(),
        };
        let begun = std::time::Instant::now();
        let out = the_box
            .fh
            .try_cli(&[&["deploy", "--app", APP], strings(&source).as_slice()].concat());
        let took = begun.elapsed().as_secs_f32();
        let said = words(&out);
        let newest = the_box.fh.json(&["deploys", APP, "--limit", "1"])[0].clone();
        let kept = newest["error"].as_str().unwrap_or_default();
        let first = kept.lines().next().unwrap_or_default();
        println!("{} ({took:.1} s): {first}", row.what);
        let missing = row.log.iter().find(|wanted| !has(&said, wanted));
        let unwanted = row.never.iter().find(|text| has(&said, text));
        let good = out.status.code() == Some(6)
            && newest["state"] == "failed"
            && has(kept, &row.says)
            && missing.is_none()
            && unwanted.is_none();
        if !good {
            wrong.push(format!(
                "{}: {:?}, {} (missing {missing:?}, unwanted {unwanted:?}), kept {kept:?}, said:\n{said}",
                row.what,
                out.status.code(),
                newest["state"],
            ));
        }
        wrong.extend(
            the_box
                .changed(&before, OF_A_DEPLOY)
                .map(|w| format!("{} {w}", row.what)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_target_or_backup_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut s3 = S3::start(dir.path());
    s3.create_bucket("dumps");
    let mut fh = Freehold::new();
    fh.configure("");
    fh.start();
    fh.cli(&["db", "create", "main"]);
    is_scheduled(&fh);
    let mut wrong = Vec::new();
    let (endpoint, key, closed) = (s3.endpoint(), s3.access_key.clone(), closed());
    let names = [
        ("endpoint", endpoint.as_str()),
        ("key", &key),
        ("closed", &closed),
    ];
    let add = |args: &[String], secret: &str| {
        let args: Vec<String> = args.iter().map(|a| fill(a, &names)).collect();
        let mut command = fh.command(&strings(&args));
        command.env("FREEHOLD_SECRET_KEY", secret).output().unwrap()
    };
    for row in table::table().target {
        let before = census::of(&fh.data_dir(), &[]);
        let stored = s3.objects("dumps");
        let secret = match row.secret.is_empty() {
            true => s3.secret_key.clone(),
            false => row.secret.clone(),
        };
        let out = add(&row.args, &secret);
        let said = words(&out);
        println!("{}: {said}", row.what);
        if out.status.code() != Some(row.exit) || !has(&said, &row.says) || said.contains(&secret) {
            wrong.push(format!("{}: {:?} {said}", row.what, out.status.code()));
        }
        let difference = census::difference(&before, &census::of(&fh.data_dir(), &[]));
        if !difference.is_empty() || s3.objects("dumps") != stored {
            wrong.push(format!("{} changed something:{difference}", row.what));
        }
    }
    let good = [
        "target",
        "add",
        "offsite",
        "s3://dumps/box",
        "--endpoint",
        "{endpoint}",
    ];
    let more = [
        "--access-key",
        "{key}",
        "--region",
        "us-east-1",
        "--path-style",
    ];
    let out = add(
        &[good.as_slice(), &more]
            .concat()
            .iter()
            .map(|s| (*s).to_owned())
            .collect::<Vec<_>>(),
        &s3.secret_key,
    );
    assert!(out.status.success(), "{}", words(&out));
    fh.cli(&["backup", "now", "main"]);
    for row in table::table().backup {
        wrong.extend(broken_store(&fh, &mut s3, &row).map(|w| format!("{}: {w}", row.what)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A backup while its store is as the row says; what is wrong with how that ended.
fn broken_store(fh: &Freehold, s3: &mut S3, row: &table::Backup) -> Option<String> {
    let before = census::of(&fh.data_dir(), &["backups", "containers", "backup_targets"]);
    let stored = s3.objects("dumps");
    let moved = s3.root().with_file_name("moved");
    let good_key = s3.access_key.clone();
    // A failed one has its next try queued after it.
    let newest = |state: &str| {
        let all = fh.json(&["backup", "list", "main"]);
        let found = all.as_array().unwrap().iter().find(|b| b["state"] == state);
        found.cloned().unwrap_or_default()
    };
    let good = newest("stored");
    let key = good["key"].as_str().unwrap();
    let object = stored.iter().find(|o| o.to_string_lossy().ends_with(key));
    let object = object.unwrap_or_else(|| panic!("{key} is not in {stored:?}"));
    match row.store {
        Store::Away => s3.down(),
        Store::BucketGone => std::fs::rename(s3.root().join("dumps"), &moved).unwrap(),
        Store::KeyRevoked => {
            s3.down();
            s3.access_key = "AKIDANOTHERONE".into();
            s3.up();
        }
        Store::Flipped => s3.flip_a_byte(object),
    }
    let out = match row.store {
        Store::Flipped => fh.try_cli(&["backup", "verify", &good["id"].to_string()]),
        _ => fh.try_cli(&["backup", "now", "main"]),
    };
    match row.store {
        Store::Away => s3.up(),
        Store::BucketGone => std::fs::rename(&moved, s3.root().join("dumps")).unwrap(),
        Store::KeyRevoked => {
            s3.down();
            s3.access_key = good_key;
            s3.up();
        }
        Store::Flipped => s3.flip_a_byte(object),
    }
    let said = words(&out);
    println!("{}: {said}", row.what);
    let failed = newest("failed");
    let shown = row.store == Store::Flipped
        || has(failed["reason"].as_str().unwrap_or_default(), &row.says);
    if out.status.code() != Some(6) || !has(&said, &row.says) || !shown {
        return Some(format!("{:?} {said}\n{failed:#}", out.status.code()));
    }
    let difference = census::difference(
        &before,
        &census::of(&fh.data_dir(), &["backups", "containers", "backup_targets"]),
    );
    if !difference.is_empty() || s3.objects("dumps") != stored {
        return Some(format!(
            "changed something:{difference}\n{stored:?}\n{:?}",
            s3.objects("dumps")
        ));
    }
    let out = fh.try_cli(&["backup", "now", "main"]);
    (!out.status.success()).then(|| format!("the next one failed, too: {}", words(&out)))
}

/// Space for a state database, its reserve and an app's folders, and no more.
const DISK_MB: u64 = 96;

#[test]
fn a_full_disk_changes_nothing_and_passes() {
    let disk = Disk::mount(DISK_MB);
    let mut fh = Freehold::new();
    std::os::unix::fs::symlink(disk.path(), fh.data_dir()).unwrap();
    fh.configure("[build]\nfree_disk = \"48M\"\n");
    fh.start();
    fh.cli(&["db", "create", "main"]);
    is_scheduled(&fh);
    let the_box = Served::with_app(fh);
    let fh = &the_box.fh;
    let pid = fh.pid();
    disk.fill(0);
    give_up_the_reserve(fh);
    let mut wrong = Vec::new();
    let telling = [OF_A_DEPLOY, &["backups"]].concat();
    for (number, row) in table::table().disk.iter().enumerate() {
        let before = the_box.census(&telling);
        let said = run_row(fh, number, row);
        wrong.extend(judge(row, &said));
        wrong.extend(
            the_box
                .changed(&before, &telling)
                .map(|w| format!("{} {w}", row.what)),
        );
    }
    assert_eq!(fh.pid(), pid, "the daemon died of a full disk");
    until("the full disk to be told", secs(120), || {
        let said = words(&fh.try_cli(&["doctor"]));
        said.contains("The disk is full").then_some(()).ok_or(said)
    });
    // Not even a restart needs space: not with what the reserve gave, and not without a byte.
    for _ in 0..2 {
        fh.restart();
        until("the app to answer on a full disk", secs(120), || {
            the_box.serving()
        });
        disk.fill(0);
    }
    disk.free();
    let good = folder(fh, "good", &good());
    fh.cli(&["deploy", &good, "--app", APP]);
    fh.cli(&["env", APP, "set", "A=b"]);
    until("the app to serve again", secs(120), || the_box.serving());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn an_engine_that_is_away_changes_nothing_and_comes_back() {
    let mut fh = Freehold::new();
    let door = Door::open(&fh.path("engine.sock"));
    fh.configure_on(&door.host(), "[build]\nfree_disk = \"1M\"\n");
    fh.start();
    let the_box = Served::with_app(fh);
    let fh = &the_box.fh;
    let mut wrong = Vec::new();
    for (number, row) in table::table().engine.iter().enumerate() {
        let before = the_box.census(OF_A_DEPLOY);
        let said = match row.when {
            When::Before => {
                door.shut();
                run_row(fh, number, row)
            }
            When::Building => {
                let args = arguments(fh, number, row);
                let mut child = fh
                    .command(&strings(&args))
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap();
                until_true("the build to begin", secs(120), || building(fh));
                door.shut();
                let limit = secs(240);
                until_true("the command to end", limit, || {
                    child.try_wait().unwrap().is_some()
                });
                let out = child.wait_with_output().unwrap();
                (out.status.code(), words(&out))
            }
        };
        wrong.extend(judge(row, &said));
        if let Err(why) = the_box.serving() {
            wrong.push(format!(
                "{}: without its engine the app does not serve: {why}",
                row.what
            ));
        }
        door.reopen();
        wrong.extend(
            the_box
                .changed(&before, OF_A_DEPLOY)
                .map(|w| format!("{} {w}", row.what)),
        );
    }
    let good = folder(fh, "good", &good());
    until("a deploy to succeed again", secs(180), || {
        let out = fh.try_cli(&["deploy", &good, "--app", APP]);
        out.status
            .success()
            .then_some(())
            .ok_or_else(|| words(&out))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Writes until one meets the full disk: from then on the reserve is there to tell the rest with.
fn give_up_the_reserve(fh: &Freehold) {
    let reserve = fh.data_dir().join("state.reserve");
    let mut number = 0;
    until_true("the reserve to be given up", secs(60), || {
        number += 1;
        let name = format!("filler-{number}");
        fh.try_cli(&["check", "add", &name, "https://shop.localhost/"]);
        !reserve.exists()
    });
}

/// Whether the newest deploy's step that says so has begun.
fn building(fh: &Freehold) -> bool {
    let newest = fh.json(&["deploys", APP, "--limit", "1"])[0].clone();
    let log = fh
        .data_dir()
        .join("builds")
        .join(format!("{}.log", newest["id"]));
    std::fs::read_to_string(log).is_ok_and(|text| text.contains("] RUN sleep"))
}

/// The command of a row, with its folder where it has one.
fn arguments(fh: &Freehold, number: usize, row: &table::Trouble) -> Vec<String> {
    let there = folder(fh, &format!("row-{number}"), &row.files);
    row.args
        .iter()
        .map(|a| fill(a, &[("folder", &there)]))
        .collect()
}

fn run_row(fh: &Freehold, number: usize, row: &table::Trouble) -> (Option<i32>, String) {
    let out = fh.try_cli(&strings(&arguments(fh, number, row)));
    (out.status.code(), words(&out))
}

fn judge(row: &table::Trouble, (code, said): &(Option<i32>, String)) -> Option<String> {
    let good = *code == Some(row.exit) && has(said, &row.says);
    println!("{}: {said}", row.what);
    (!good).then(|| format!("{}: ended with {code:?} and said: {said}", row.what))
}
