//! N7: the state of a real daemon is damaged while it is away. With no engine: what was acknowledged is there again,
//! routes are served, what is missing has a name, and it is said until somebody confirms it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

#[allow(dead_code)]
#[path = "support/api.rs"]
mod api;
#[path = "support/port.rs"]
mod port;
#[path = "support/quiet.rs"]
mod quiet;
#[path = "support/until.rs"]
mod until;
#[path = "support/upstream.rs"]
mod upstream;

use api::{local, make_app};
use quiet::Daemon;
use until::{secs, until, until_true};

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
        until("the route of the settings", secs(30), || {
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
        until_true("the event of it", secs(20), || {
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

#[test]
fn n7_a_box_whose_state_was_deleted_cut_or_torn_comes_back_with_all_that_was_acknowledged() {
    let mut world = World::new();
    assert!(world.told().is_none());
    // Gone, with all that belongs to it.
    world.daemon.restart(|daemon| {
        for file in files(&daemon.data(), "state.db") {
            fs::remove_file(file).unwrap();
        }
    });
    world.is_well_again(&["shop"]);

    // Confirmed, it is not said any more.
    let confirmed = world.ask("POST", "/api/v1/doctor/confirm", "{}");
    assert_eq!(confirmed.status, 204, "{}", confirmed.body);
    until_true("that nothing is said", secs(20), || world.told().is_none());

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
        let state = rusqlite::Connection::open(state(daemon)).unwrap();
        let busy: i64 = state
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))
            .unwrap();
        assert_eq!(busy, 0);
        drop(state);
        let pages = fs::metadata(self::state(daemon)).unwrap().len() / 4_096;
        for page in pages / 4..pages / 2 {
            overwrite(&self::state(daemon), page * 4_096 + 2_048, &[0x5a; 2_048]);
        }
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
    until_true("a snapshot", secs(30), || {
        files(&safe, "snapshot-").len() >= 2
    });
    make_app(&world.daemon, "lost");
    make_app(&world.daemon, "kept");
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
    assert!(world.ask("GET", "/api/v1/apps/kept", "").status == 200);
    assert_eq!(world.ask("GET", "/api/v1/apps/lost", "").status, 404);
    let told = world.told().expect("nothing is said of it");
    let seen = told["seen"].as_str().unwrap();
    assert!(seen.contains("What is missing: Change"), "{seen}");
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
    until_true("that nothing is said", Duration::from_secs(20), || {
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
