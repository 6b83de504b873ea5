//! N7: the state of a real daemon is damaged while it is away. What was acknowledged is there again, routes are served, what
//! is missing has a name, and it is said until somebody confirms it: with no engine, and with one whose containers run on.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

#[allow(dead_code)]
#[path = "support/api.rs"]
mod api;
#[path = "damage/full_disk.rs"]
mod full_disk;
#[path = "damage/postgres.rs"]
mod postgres;
#[path = "support/quiet.rs"]
mod quiet;
#[allow(dead_code)]
#[path = "worse_days/served_box.rs"]
mod served_box;
mod support;

use api::{local, make_app};
use quiet::Daemon;
use served_box::ServedBox;
use support::freehold::Freehold;
use support::process::run;
use support::until::{secs, until, until_true};
use support::{port, upstream};

/// A daemon with an app at a domain, and a route of its settings to something that answers.
struct World {
    daemon: Daemon,
    port: u16,
}

impl World {
    fn new() -> Self {
        let port = port::free_port(std::net::Ipv4Addr::LOCALHOST);
        let upstream = upstream::answering("from the other side");
        let daemon = Daemon::start_with(
            &format!("127.0.0.1:{port}"),
            &format!(
                "[[route]]\nhost = \"other.test\"\nupstream = \"http://127.0.0.1:{upstream}\"\ntls = \"internal\"\n"
            ),
        );
        let world = Self { daemon, port };
        world.change("shop");
        world
    }

    /// An acknowledged change: an app with a variable and a domain.
    fn change(&self, name: &str) {
        make_app(&self.daemon, name);
        let env = json!({ "set": { "COLOUR": "blue" } }).to_string();
        let answer = self.ask("PATCH", &format!("/api/v1/apps/{name}/env"), &env);
        assert!(answer.status < 300, "{}", answer.body);
        let domain = json!({ "domain": format!("{name}.test") }).to_string();
        let answer = self.ask("POST", &format!("/api/v1/apps/{name}/domains"), &domain);
        assert!(answer.status < 300, "{}", answer.body);
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> api::Answer {
        local(&self.daemon, method, path, "", body)
    }

    fn has(&self, name: &str) -> bool {
        let env = self.ask("GET", &format!("/api/v1/apps/{name}/env"), "");
        let domains = self.ask("GET", &format!("/api/v1/apps/{name}/domains"), "");
        env.body.contains("COLOUR") && domains.body.contains(&format!("{name}.test"))
    }

    /// What the route of the settings answers.
    fn served(&self) -> String {
        let root = self.daemon.socket("root.pem");
        let asked = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(root)
            .args(["--connect-to", &format!(":443:127.0.0.1:{}", self.port)])
            .arg("https://other.test/")
            .output()
            .unwrap();
        String::from_utf8_lossy(&asked.stdout).into_owned()
            + &String::from_utf8_lossy(&asked.stderr)
    }

    /// The check of the doctor that tells of it.
    fn told(&self) -> Option<Value> {
        let report = self.ask("GET", "/api/v1/doctor", "").json();
        let checks = report["checks"].as_array().unwrap();
        let about = |c: &&Value| c["what"].as_str().unwrap().contains("state was made anew");
        checks.iter().find(about).cloned()
    }

    /// Everything works, and it is said that the state was made anew.
    fn is_well_again(&self, names: &[&str]) {
        for name in names {
            assert!(self.has(name), "{name} is not there as it was");
        }
        until("the route of the settings", secs(120), || {
            match self.served() {
                body if body == "from the other side" => Ok(()),
                body => Err(body),
            }
        });
        let told = self.told().expect("nothing is said of it");
        let seen = told["seen"].as_str().unwrap();
        assert!(
            seen.contains("Every acknowledged change is there again"),
            "{seen}"
        );
        until_true("the event of it", secs(120), || {
            let events = self.ask("GET", "/api/v1/events", "").body;
            events.contains("state.recovered")
        });
    }
}

fn state(daemon: &Daemon) -> PathBuf {
    daemon.data().join("state.db")
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

fn files(folder: &Path, with: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    all.filter(|p| p.file_name().unwrap().to_str().unwrap().contains(with))
        .collect()
}

/// The state is gone, with all that belongs to it.
fn lose(data: &Path) {
    for file in files(data, "state.db") {
        fs::remove_file(file).unwrap();
    }
}

/// A quarter of its pages is torn.
fn tear(data: &Path) {
    let path = data.join("state.db");
    let state = rusqlite::Connection::open(&path).unwrap();
    let busy: i64 = state
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))
        .unwrap();
    assert_eq!(busy, 0);
    drop(state);
    let pages = fs::metadata(&path).unwrap().len() / 4_096;
    for page in pages / 4..pages / 2 {
        overwrite(&path, page * 4_096 + 2_048, &[0x5a; 2_048]);
    }
}

#[test]
fn n7_a_box_whose_state_was_deleted_cut_or_torn_comes_back_with_all_that_was_acknowledged() {
    let mut world = World::new();
    assert!(world.told().is_none());
    // Gone, with all that belongs to it.
    world.daemon.restart(|daemon| {
        lose(&daemon.data());
    });
    world.is_well_again(&["shop"]);

    // Confirmed, it is not said any more.
    let confirmed = world.ask("POST", "/api/v1/doctor/confirm", "{}");
    assert_eq!(confirmed.status, 204, "{}", confirmed.body);
    until_true("that nothing is said", secs(120), || world.told().is_none());

    // The log was cut: SQLite itself finds nothing wrong with what is left.
    world.change("cut");
    world.daemon.restart(|daemon| {
        let wal = daemon.data().join("state.db-wal");
        let length = fs::metadata(&wal).unwrap().len();
        let file = fs::File::options().write(true).open(&wal).unwrap();
        file.set_len(length / 2).unwrap();
    });
    world.is_well_again(&["shop", "cut"]);

    // A page is torn. What was there is kept.
    world.change("torn");
    world.daemon.restart(|daemon| {
        tear(&daemon.data());
    });
    world.is_well_again(&["shop", "cut", "torn"]);
    assert!(!files(&world.daemon.data(), "state.db.damaged").is_empty());
    // And without any damage nothing of the kind happens.
    let before = files(&world.daemon.data(), "state.db.damaged").len();
    world.daemon.restart(|_| {});
    assert_eq!(
        files(&world.daemon.data(), "state.db.damaged").len(),
        before
    );
    assert!(world.has("torn"));
}

#[test]
fn n7_what_is_lost_with_a_part_of_the_journal_is_listed() {
    let mut world = World::new();
    // The snapshot of the start must not have it.
    let safe = world.daemon.data().join("state.safe");
    until_true("a snapshot", secs(120), || {
        files(&safe, "snapshot-").len() >= 2
    });
    make_app(&world.daemon, "lost");
    make_app(&world.daemon, "later");
    let mut hit = 0;
    world.daemon.restart(|daemon| {
        let record = b"INSERT INTO apps (name";
        for journal in files(&safe, "journal-") {
            let bytes = fs::read(&journal).unwrap();
            let found = bytes.windows(record.len()).enumerate().find(|(at, w)| {
                let rest = &bytes[*at..(*at + 400).min(bytes.len())];
                w == record && rest.windows(6).any(|w| w == b"'lost'")
            });
            if let Some((at, _)) = found {
                overwrite(&journal, at as u64, b"XXXX");
                hit += 1;
            }
        }
        fs::remove_file(state(daemon)).unwrap();
    });
    assert_eq!(hit, 1, "the record was not found");
    for name in ["lost", "later"] {
        let path = format!("/api/v1/apps/{name}");
        assert_eq!(world.ask("GET", &path, "").status, 404);
    }
    assert!(world.has("shop"), "what came before is there");
    let told = world.told().expect("nothing is said of it");
    let seen = told["seen"].as_str().unwrap();
    assert!(seen.contains("What is missing: Change"), "{seen}");
    assert!(seen.contains("later"), "by name: {seen}");
    assert_eq!(told["state"], "fail");
    // By the command line, too, until it is confirmed there.
    let doctor = |more: &[&str]| {
        let socket = world.daemon.socket("freehold.sock");
        let said = Command::new(env!("CARGO_BIN_EXE_freehold"))
            .args(["--socket", socket.to_str().unwrap(), "doctor"])
            .args(more)
            .output()
            .unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    assert!(doctor(&[]).contains("What is missing: Change"));
    doctor(&["--confirm"]);
    until_true("that nothing is said", Duration::from_secs(120), || {
        !doctor(&[]).contains("made anew")
    });
}

#[test]
fn n7_a_state_without_its_key_is_not_made_anew() {
    let mut world = World::new();
    let key = world.daemon.data().join("master.key");
    let away = world.daemon.data().join("away.key");
    let state = state(&world.daemon);
    let config = world.daemon.data().parent().unwrap().join("config.toml");
    world.daemon.restart(|_| {
        fs::rename(&key, &away).unwrap();
        fs::rename(&state, state.with_extension("away")).unwrap();
        let said = Command::new(env!("CARGO_BIN_EXE_freehold"))
            .args(["serve", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&said.stderr).into_owned()
            + &String::from_utf8_lossy(&said.stdout);
        assert!(
            !said.status.success() && words.contains("master.key is missing"),
            "{words}"
        );
        assert!(!key.exists() && !state.exists());
        fs::rename(&away, &key).unwrap();
    });
    assert!(world.has("shop"));
}

/// The box's one container of a kind, since when it runs, and how often it was started.
fn container(fh: &Freehold, kind: &str) -> String {
    let label = format!("label=freehold.installation={}", fh.installation());
    let mut list = Command::new("docker");
    list.args(["ps", "-aq", "--filter", &label, "--filter"]);
    let all = run(list.arg(format!("label=freehold.kind={kind}")));
    let one = all.trim();
    if one.is_empty() {
        return String::new();
    }
    let format = "{{.Id}} {{.State.Running}} {{.State.StartedAt}} {{.RestartCount}}";
    let said = Command::new("docker")
        .args(["inspect", "--format", format, one])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&said.stderr);
    // It may go between the list and the question.
    if !said.status.success() && error.contains("No such object") {
        return String::new();
    }
    assert!(said.status.success(), "{error}");
    String::from_utf8_lossy(&said.stdout).into_owned()
}

/// Makes the journal's first record that begins with `record` and says `name` unreadable.
fn spoil(safe: &Path, record: &str, name: &str) {
    let mut hit = 0;
    for journal in files(safe, "journal-") {
        let bytes = fs::read(&journal).unwrap();
        let found = bytes.windows(record.len()).enumerate().find(|(at, w)| {
            let rest = &bytes[*at..(*at + 400).min(bytes.len())];
            *w == record.as_bytes() && rest.windows(name.len()).any(|w| w == name.as_bytes())
        });
        if let Some((at, _)) = found {
            overwrite(&journal, at as u64, b"XXXX");
            hit += 1;
        }
    }
    assert_eq!(hit, 1, "the record of {name} was not found once");
}

/// The app was deployed after the last snapshot. Its container runs on, untouched, and is taken over: by the journal, which
/// leads to it, and even where the journal leads to nothing of the app, until somebody confirms that it may go.
#[test]
fn n7_a_box_whose_state_is_gone_takes_over_the_containers_that_run_and_serves() {
    let port = upstream::answering("from the other side");
    let mut on = ServedBox::start(&format!(
        "[build]\nfree_disk = \"1M\"\n\
         [[route]]\nhost = \"other.localhost\"\nupstream = \"http://127.0.0.1:{port}\"\ntls = \"internal\"\n"
    ));
    let safe = on.fh.data_dir().join("state.safe");
    // A copy, as one would bring it: three are kept, and each start takes one.
    let of_old: Vec<(PathBuf, Vec<u8>)> = files(&safe, "snapshot-")
        .into_iter()
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect();
    let old: Vec<&PathBuf> = of_old.iter().map(|(file, _)| file).collect();
    on.fh.cli(&["app", "create", "lost"]);
    on.fh.cli(&["app", "create", "later"]);
    let before = container(&on.fh, "replica");
    assert!(before.contains(" true "), "{before}");
    let gone = |on: &mut ServedBox, meanwhile: &dyn Fn()| {
        on.fh.stop();
        lose(&on.fh.data_dir());
        meanwhile();
        on.fh.start();
    };
    let doctor = |on: &ServedBox, more: &[&str]| {
        let said = on.fh.try_cli(&[&["doctor"], more].concat());
        support::freehold::words(&said)
    };

    // A snapshot from before the app, and the journal as far as it can be read: up to what came after the app.
    gone(&mut on, &|| {
        for snapshot in files(&safe, "snapshot-") {
            if !old.contains(&&snapshot) {
                fs::remove_file(snapshot).unwrap();
            }
        }
        spoil(&safe, "INSERT INTO apps (name", "'lost'");
    });
    on.until_served();
    assert_eq!(
        container(&on.fh, "replica"),
        before,
        "it was made or started anew"
    );
    // The edge has it from the row; that it is well is seen by the first look at it.
    until("the replica to be known as healthy", secs(120), || {
        let shown = on.fh.json(&["app", "show", served_box::APP]);
        let is_well = shown["replicas"][0]["state"] == "healthy";
        is_well.then_some(()).ok_or_else(|| shown.to_string())
    });
    let told = doctor(&on, &[]);
    for words in ["state was made anew", "What is missing: Change", "later"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let apps = on.fh.json(&["app", "list"]);
    assert_eq!(apps.as_array().unwrap().len(), 1, "{apps:#}");
    assert_eq!(container(&on.fh, "replica"), before);

    // All that was acknowledged is there again where the journal is whole.
    on.fh.cli(&["app", "create", "after"]);
    gone(&mut on, &|| {});
    on.until_served();
    assert_eq!(container(&on.fh, "replica"), before);
    on.fh.cli(&["app", "show", "after"]);

    // A snapshot from before the app, and nothing of the journal: the box knows of no app, and its container is left alone.
    gone(&mut on, &|| {
        for file in files(&safe, "") {
            fs::remove_file(file).unwrap();
        }
        for (file, bytes) in &of_old {
            fs::write(file, bytes).unwrap();
        }
    });
    let other = || on.edge().get("https://other.localhost/").send();
    until("the route of the settings", secs(60), || match other()? {
        answer if answer.text() == "from the other side" => Ok(()),
        answer => Err(answer.text()),
    });
    assert_eq!(on.fh.json(&["app", "list"]), json!([]));
    let told = doctor(&on, &[]);
    assert!(told.contains("state was made anew"), "{told}");
    // Its reconciler has looked by now, and found one that no row knows: the same look takes it away once that is confirmed.
    assert_eq!(container(&on.fh, "replica"), before);
    doctor(&on, &["--confirm"]);
    until("the container to go", secs(120), || {
        match container(&on.fh, "replica") {
            none if none.is_empty() => Ok(()),
            still => Err(still),
        }
    });
}
