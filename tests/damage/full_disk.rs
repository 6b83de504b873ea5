//! A disk that fills up under whatever takes space there: a folder that is sent to be built, its log, a site of files, a dump,
//! a certificate. What was acknowledged serves and is whole, what was not changed nothing and leaves nothing over, the daemon
//! lives and says why, and with space all is well again.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::acme::Acme;
use crate::support::disk::Disk;
use crate::support::edge::Edge;
use crate::support::freehold::{Freehold, words};
use crate::support::until::{secs, until};

/// Space for a state, its reserves, some releases of a site and some dumps.
const DISK_MB: u64 = 400;
/// What a dump leaves free, and how long after its begin somebody else takes that at the latest, in ms.
const FLOOR: u64 = 256 << 20;
const TAKEN: u64 = 1_500;
/// What a folder that is deployed, a site and a dump each take at least: nothing in it can be packed.
const BALLAST: usize = 1 << 20;
/// Turns of all kinds; `FREEHOLD_SOAK_SECONDS` makes more of them.
const ROUNDS: usize = 3;
/// How long an order of a certificate meets the full disk, where it does not end before.
const ORDERS: Duration = Duration::from_secs(3);

/// Bytes that look thrown (SplitMix64).
struct Dice(u64);

impl Dice {
    /// By `FREEHOLD_SEED`, or the clock; printed, so that a failure can be had again.
    fn thrown() -> Self {
        let clock = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let seed = std::env::var("FREEHOLD_SEED").map_or(clock, |seed| seed.parse().unwrap());
        println!("FREEHOLD_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn ballast(&mut self) -> Vec<u8> {
        (0..BALLAST / 8)
            .flat_map(|_| self.next().to_le_bytes())
            .collect()
    }

    /// Space to leave: next to nothing, less than the work takes, or about what it takes.
    fn left(&mut self, round: usize) -> u64 {
        let (from, sides) = match round % 3 {
            0 => (1 << 20, BALLAST as u64),
            1 => (0, 256 << 10),
            _ => (BALLAST as u64, 3 * BALLAST as u64),
        };
        from + self.next() % sides
    }
}

/// The box, and what it has acknowledged.
struct Filling {
    fh: Freehold,
    disk: Disk,
    _acme: Acme,
    _elsewhere: tempfile::TempDir,
    edge: Edge,
    dice: Dice,
    /// What each app's address shows.
    shown: [String; 2],
    /// Names with a certificate.
    names: BTreeSet<String>,
    /// Dumps that are stored, by their ids.
    dumps: BTreeSet<u64>,
    /// What was done and what was refused.
    counts: (usize, usize),
    said: BTreeSet<String>,
}

/// An app that is a container, and one that is a folder of files.
const APPS: [&str; 2] = ["shop", "site"];

impl Filling {
    fn new() -> Self {
        let disk = Disk::loop_ext4(DISK_MB);
        let elsewhere = tempfile::tempdir().unwrap();
        let mut fh = Freehold::new();
        let acme = Acme::start(
            &elsewhere.path().join("acme"),
            fh.address,
            Duration::from_secs(90 * 86_400),
        );
        symlink(disk.path(), fh.data_dir()).unwrap();
        fh.configure(&format!(
            "[build]\nfree_disk = \"1M\"\n[limits]\napi_reads = 1000000\napi_changes = 1000000\n\
             [acme]\ndirectory = \"{}\"\nca_file = \"{}\"\nresolver = \"{}\"\n",
            acme.directory,
            acme.ca_file.display(),
            acme.resolver
        ));
        fh.start();
        let roots = elsewhere.path().join("roots.pem");
        acme.save_root(&roots);
        let status = fh.json(&["status"]);
        let own = std::fs::read(status["root_file"].as_str().unwrap()).unwrap();
        let mut file = std::fs::File::options().append(true).open(&roots).unwrap();
        file.write_all(&own).unwrap();
        let edge = fh.edge(&roots);
        let mut this = Self {
            fh,
            disk,
            _acme: acme,
            _elsewhere: elsewhere,
            edge,
            dice: Dice::thrown(),
            shown: Default::default(),
            names: BTreeSet::new(),
            dumps: BTreeSet::new(),
            counts: (0, 0),
            said: BTreeSet::new(),
        };
        for app in APPS {
            this.fh.cli(&["app", "create", app]);
            this.fh
                .cli(&["domain", "add", app, &format!("{app}.localhost")]);
        }
        this.fh.cli(&["db", "create", "main"]);
        this.fill_database();
        for n in 0..2 {
            this.deploy(n, "first");
        }
        this
    }

    /// Random bytes that a dump cannot make smaller.
    fn fill_database(&self) {
        let mut child = self
            .fh
            .command(&["db", "psql", "main"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let sql = "CREATE TABLE big (b bytea); ALTER TABLE big ALTER b SET STORAGE EXTERNAL;\n\
            INSERT INTO big SELECT (SELECT string_agg(sha512((r || '/' || i)::bytea), '') FROM generate_series(1, 8192) i) FROM generate_series(1, 2) r;\n";
        child
            .stdin
            .take()
            .unwrap()
            .write_all(sql.as_bytes())
            .unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", words(&out));
    }

    /// A verb that may be refused, for the disk and nothing else; whether it was done.
    fn ask(&mut self, arguments: &[&str]) -> bool {
        let out = self.fh.try_cli(arguments);
        self.heard(arguments, &out)
    }

    fn heard(&mut self, arguments: &[&str], out: &Output) -> bool {
        let said = words(out);
        match out.status.code() {
            Some(0) => self.counts.0 += 1,
            Some(_) => {
                self.counts.1 += 1;
                let told = said.lines().filter(|line| line.contains("error: "));
                self.said.extend(told.map(str::to_owned));
            }
            None => panic!("{arguments:?} was killed: {said}"),
        }
        let why = ["is full", "free some space", "No space left"]
            .iter()
            .any(|words| said.contains(words));
        assert!(
            out.status.success() || why,
            "{arguments:?} does not say why: {said}"
        );
        out.status.success()
    }

    /// A release of one of the apps, and its log of some size; whether it is live.
    fn deploy(&mut self, n: usize, mark: &str) -> bool {
        let app = APPS[n];
        let tree = self.fh.path("trees").join(format!("{app}-{mark}"));
        let site = tree.join("dist");
        std::fs::create_dir_all(&site).unwrap();
        std::fs::write(site.join("index.html"), mark).unwrap();
        std::fs::write(site.join("ballast"), self.dice.ballast()).unwrap();
        let tree = tree.display().to_string();
        let mut arguments = vec!["deploy", &tree, "--app", app];
        match n {
            0 => {
                let dockerfile = "FROM python:3.13-slim\nCOPY dist /www\n\
                    RUN python -c \"for n in range(3000): print(n, 'x' * 100)\"\n\
                    CMD [\"python\", \"-m\", \"http.server\", \"8000\", \"--directory\", \"/www\"]\n";
                let process = "[processes.web]\nport = 8000\nhealth = \"/\"\n";
                std::fs::write(Path::new(&tree).join("Dockerfile"), dockerfile).unwrap();
                std::fs::write(Path::new(&tree).join("freehold.toml"), process).unwrap();
            }
            _ => arguments.extend(["--static", "dist"]),
        }
        let live = self.ask(&arguments);
        if live {
            self.shown[n] = mark.to_owned();
        }
        live
    }

    /// A dump to the box's own folder; whether it is stored.
    fn dump(&mut self) -> bool {
        let stored = self.ask(&["backup", "now", "main"]);
        self.dumped(stored)
    }

    /// The same while somebody else fills the disk.
    fn dump_beside(&mut self) -> bool {
        self.disk.fill(FLOOR + (8 << 20));
        let after = Duration::from_millis(self.dice.next() % TAKEN);
        let stored = std::thread::scope(|scope| {
            let disk = &self.disk;
            scope.spawn(move || {
                std::thread::sleep(after);
                disk.fill(0);
            });
            self.fh.try_cli(&["backup", "now", "main"])
        });
        let stored = self.heard(&["backup", "now", "main"], &stored);
        self.dumped(stored)
    }

    fn dumped(&mut self, stored: bool) -> bool {
        if stored {
            let newest = stored_dumps(&self.fh).into_iter().max().unwrap();
            assert!(self.dumps.insert(newest), "the same as before");
        }
        stored
    }

    /// A name that needs a certificate; whether it is the app's.
    fn name(&mut self, mark: &str) -> bool {
        let name = format!("{mark}.test");
        let added = self.ask(&["domain", "add", APPS[0], &name]);
        let begun = Instant::now();
        while added && begun.elapsed() < ORDERS && self.shows(&name).is_err() {
            std::thread::sleep(Duration::from_millis(100));
        }
        if added {
            self.names.insert(name);
        }
        added
    }

    fn shows(&self, host: &str) -> Result<String, String> {
        let answer = self.edge.get(&format!("https://{host}/")).send()?;
        match answer.status {
            200 => Ok(answer.text()),
            _ => Err(format!("{}: {}", answer.status, answer.text())),
        }
    }

    /// All that was acknowledged is there, and of the rest nothing. With space.
    fn holds(&self) {
        for (n, app) in APPS.iter().enumerate() {
            // A deploy that met the full disk may end only now.
            until(&format!("{app}'s deploys to be over"), secs(180), || {
                let all = self.fh.json(&["deploys", app]);
                let all = all.as_array().unwrap();
                let open = all.iter().find(|d| d["settled"] != true);
                open.map_or(Ok(()), |open| Err(open.to_string()))
            });
            let host = format!("{app}.localhost");
            self.until_shows(&host, &self.shown[n]);
        }
        for name in &self.names {
            self.until_shows(name, &self.shown[0]);
        }
        let listed = self.fh.json(&["domain", "list", APPS[0]]);
        assert_eq!(
            listed.as_array().unwrap().len(),
            1 + self.names.len(),
            "{listed:#}"
        );
        // One that failed for the disk is tried again by itself, a minute later: what has not begun has nothing there.
        until("backups to be over", secs(600), || {
            let all: Value = self.fh.json(&["backup", "list", "main"]);
            let over = ["queued", "stored", "failed", "expired"];
            let mut open = all.as_array().unwrap().iter();
            let open = open.find(|b| !over.contains(&b["state"].as_str().unwrap_or_default()));
            open.map_or(Ok(()), |open| Err(open.to_string()))
        });
        let stored = stored_dumps(&self.fh);
        assert!(stored.is_superset(&self.dumps), "{stored:?}");
        for dump in &self.dumps {
            self.fh.cli(&["backup", "verify", &dump.to_string()]);
        }
        // A dump and what it says of itself; and of uploads nothing but the logs of what became of them.
        for folder in ["backups", "builds"] {
            until(&format!("{folder} to be tidy"), secs(600), || {
                let count = match folder {
                    "backups" => 2 * stored_dumps(&self.fh).len(),
                    _ => 0,
                };
                let all = files(&self.fh.data_dir().join(folder));
                let all: Vec<_> = all
                    .into_iter()
                    .filter(|f| f.extension() != Some("log".as_ref()))
                    .collect();
                (all.len() == count)
                    .then_some(())
                    .ok_or_else(|| format!("{all:?}"))
            });
        }
    }

    fn until_shows(&self, host: &str, wanted: &str) {
        until(
            &format!("{host} to show {wanted}"),
            secs(180),
            || match self.shows(host)? {
                text if text == wanted => Ok(()),
                text => Err(text),
            },
        );
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.map(|entry| entry.path());
    below
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

fn stored_dumps(fh: &Freehold) -> BTreeSet<u64> {
    let all: Value = fh.json(&["backup", "list", "main"]);
    let all = all.as_array().unwrap().iter();
    let stored = all.filter(|b| b["state"] == "stored");
    stored.map(|b| b["id"].as_u64().unwrap()).collect()
}

#[test]
fn n7_a_disk_that_fills_under_deploys_dumps_and_certificates_loses_nothing_acknowledged() {
    let mut on = Filling::new();
    on.holds();
    let pid = on.fh.pid();
    let budget = std::env::var("FREEHOLD_SOAK_SECONDS").map(|s| secs(s.parse().unwrap()));
    let begun = Instant::now();
    for n in 0.. {
        match &budget {
            Ok(budget) if begun.elapsed() < *budget => {}
            Err(_) if n < ROUNDS => {}
            _ => break,
        }
        let mark = format!("n{n}");
        for verb in 0..4 {
            // Each verb meets each kind of fullness.
            let left = on.dice.left(n + verb);
            on.disk.fill(left);
            let done = match verb {
                0 | 1 => on.deploy(verb, &mark),
                2 if n % 2 == 0 => on.dump_beside(),
                2 => on.dump(),
                _ => on.name(&mark),
            };
            println!("{mark}: verb {verb} with {left} bytes left: {done}");
            // What serves needs no space.
            for (n, app) in APPS.iter().enumerate() {
                let shown = on.shows(&format!("{app}.localhost"));
                assert_eq!(shown.as_ref(), Ok(&on.shown[n]), "on a full disk");
            }
            if n == 0 && verb == 3 {
                on.disk.fill(0);
                until("the doctor to tell of the full disk", secs(60), || {
                    let said = words(&on.fh.try_cli(&["doctor"]));
                    said.contains("The disk is full").then_some(()).ok_or(said)
                });
            }
            on.disk.free();
        }
        on.holds();
    }
    assert_eq!(on.fh.pid(), pid, "the daemon was started anew");
    println!(
        "{} done and {} refused in {} s: {:#?}",
        on.counts.0,
        on.counts.1,
        begun.elapsed().as_secs(),
        on.said
    );
    assert!(on.counts.1 > 0, "the disk was never full");
    on.fh.kill();
    on.fh.wait_until_up();
    on.holds();
    // With space nothing is refused.
    assert!(on.deploy(0, "last") && on.deploy(1, "last") && on.dump() && on.name("last"));
    on.holds();
}
