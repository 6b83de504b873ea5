//! N7: the box's clock is set by an hour and by a year under the real daemon. Only the daemon's own: libfaketime stands
//! between it and the machine's clock, which nobody touches, and leaves the monotonic one alone. Clients that look at what
//! certificates and sessions are worth then have the same clock.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[path = "clock/hourly.rs"]
mod hourly;
#[path = "support/port.rs"]
mod port;
#[path = "support/quiet.rs"]
mod quiet;
#[allow(dead_code)]
#[path = "support/until.rs"]
mod until;
#[path = "support/upstream.rs"]
mod upstream;

use until::{secs, until};

const HOUR: i64 = 3_600_000;
const YEAR: i64 = 365 * 24 * HOUR;
/// When what waits in the test is due: later than a slow machine needs to get there.
const WAIT: i64 = 20_000;

fn library() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let places = found.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let mut there = places.filter(|path| path.exists());
    there
        .next()
        .expect("libfaketime: tests/rig/apt installs it")
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Lets the daemon's clock differ from the machine's by so much.
fn set(file: &Path, by_ms: i64) {
    let whole = file.with_extension("new");
    std::fs::write(&whole, format!("{:+}\n", by_ms / 1_000)).unwrap();
    std::fs::rename(whole, file).unwrap();
}

/// The environment of a process whose clock is the one in the file.
fn by<'a>(library: &'a str, clock: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", clock),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]
}

fn state(daemon: &quiet::Daemon) -> rusqlite::Connection {
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(10)).unwrap();
    state
}

fn number(state: &rusqlite::Connection, sql: &str) -> i64 {
    state.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Queues work that nobody knows and that is due at `due`: it fails as soon as it is begun.
fn queue(state: &rusqlite::Connection, kind: &str, created: i64, due: i64) {
    let row = "INSERT INTO jobs (kind, key, payload, state, created_ms, run_at_ms) VALUES (?1, ?1, '{}', 'queued', ?2, ?3)";
    state
        .execute(row, rusqlite::params![kind, created, due])
        .unwrap();
}

fn until_begun(state: &rusqlite::Connection, kind: &str) {
    until(&format!("{kind} to be begun"), secs(180), || {
        let how: String = state
            .query_row("SELECT state FROM jobs WHERE kind = ?1", [kind], |row| {
                row.get(0)
            })
            .unwrap();
        match how.as_str() {
            "failed" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
}

fn until_told(state: &rusqlite::Connection, words: &str) {
    until(&format!("an event with \"{words}\""), secs(120), || {
        let found =
            "SELECT count(*) FROM events WHERE kind = 'clock.jumped' AND instr(message, ?1)";
        let found: i64 = state.query_row(found, [words], |row| row.get(0)).unwrap();
        if found == 1 {
            Ok(())
        } else {
            Err(format!("{found}"))
        }
    });
}

/// The daemon does its work: it answers, and makes an app.
fn works(daemon: &quiet::Daemon, app: &str) {
    asked_for(daemon, app).unwrap();
}

fn asked_for(daemon: &quiet::Daemon, app: &str) -> Result<(), String> {
    let out = Command::new(env!("CARGO_BIN_EXE_freehold"))
        .args(["app", "create", app])
        .env("FREEHOLD_SOCKET", daemon.socket("freehold.sock"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    match out.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}

/// Work that is due in some seconds, and a pause that ends later: by the clock as it is now, which this gives.
fn begin_to_wait(state: &rusqlite::Connection) -> i64 {
    let now = now_ms();
    queue(state, "an hour back", now, now + WAIT);
    let pause = "INSERT INTO app_pause_owners (app_id, owner, since_ms, until_ms) SELECT id, 'restore:1', ?1, ?2 FROM apps";
    let row = rusqlite::params![now, now + 10 * WAIT];
    state.execute(pause, row).unwrap();
    now
}

/// A clock to be set, in a folder of its own.
struct Clock {
    folder: tempfile::TempDir,
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// The environment of whoever goes by it.
    fn fake(&self) -> [(&str, &str); 4] {
        let (library, file) = (self.library.to_str(), self.file.to_str());
        by(library.unwrap(), file.unwrap())
    }
}

/// A daemon with an app, and a clock that is right and that it does not go by yet.
fn begun() -> (quiet::Daemon, Clock) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock {
        file: folder.path().join("clock"),
        library: library(),
        folder,
    };
    set(&clock.file, 0);
    let daemon = quiet::Daemon::start();
    works(&daemon, "first");
    (daemon, clock)
}

/// By how much the pause that began then is late by a clock that was set by so much since.
fn late_by(state: &rusqlite::Connection, since: i64, set_by: i64) -> i64 {
    let until_ms = number(state, "SELECT until_ms FROM app_pause_owners");
    until_ms - (since + 10 * WAIT + set_by)
}

/// Work and a pause that were to last some seconds do so when the clock goes back by an hour under them, and not that hour;
/// nothing is lost by a year.
#[test]
fn n7_an_hour_and_a_year_forward_and_back_delay_nothing_and_lose_nothing() {
    let (mut daemon, clock) = begun();
    let (fake, file) = (clock.fake(), &clock.file);
    let mut since = 0;
    daemon.restart_with(&fake, |daemon| since = begin_to_wait(&state(daemon)));
    let state = state(&daemon);

    set(file, -HOUR);
    until_told(&state, "set back by 1 h 0 min");
    until("the pause to end when it had to", secs(120), || {
        let late = late_by(&state, since, -HOUR);
        if late.abs() < 5_000 {
            Ok(())
        } else {
            Err(format!("{late} ms late"))
        }
    });
    until_begun(&state, "an hour back");
    works(&daemon, "second");

    set(file, 0);
    until_told(&state, "forward by 1 h 0 min");
    let created = now_ms();
    queue(&state, "a year forward", created, created + 30 * 24 * HOUR);
    set(file, YEAR);
    until_told(&state, "forward by 365 d");
    until_begun(&state, "a year forward");
    works(&daemon, "third");

    // The box is switched off with the wrong clock, and comes up with the right one.
    daemon.restart_with(&[], |_| {
        let ahead = now_ms() + YEAR;
        queue(&state, "at the start", ahead, ahead + 5_000);
    });
    until_told(&state, "when Freehold last ran it said");
    until_begun(&state, "at the start");
    works(&daemon, "fourth");
    assert_eq!(number(&state, "SELECT count(*) FROM apps"), 4);
    assert_eq!(
        number(
            &state,
            "SELECT count(*) FROM events WHERE kind = 'clock.jumped'"
        ),
        4
    );
}

/// The saboteur: by a daemon that leaves what is stored as it is, work of some seconds waits for the hour, and so does a pause.
#[cfg(feature = "crash-points")]
#[test]
fn n7_what_is_stored_and_not_set_right_is_late_by_the_hour() {
    let (mut daemon, clock) = begun();
    let (fake, file) = (clock.fake(), &clock.file);
    let sabotaged = [&fake[..], &[("FREEHOLD_SABOTAGE", "unseen-clock")]].concat();
    daemon.restart_with(&sabotaged, |_| {});
    let state = state(&daemon);
    // Set back before the work is due, whatever this machine does meanwhile.
    set(file, -HOUR);
    until_told(&state, "set back by 1 h 0 min");
    let since = begin_to_wait(&state);
    // What a jump sets right is set right before the next one is told.
    set(file, -3 * HOUR);
    until_told(&state, "set back by 2 h 0 min");
    set(file, -6 * HOUR);
    until_told(&state, "set back by 3 h 0 min");
    assert_eq!(late_by(&state, since, -HOUR), HOUR);
    let waits = "SELECT count(*) FROM jobs WHERE kind = 'an hour back' AND state = 'queued' AND run_at_ms = ";
    assert_eq!(number(&state, &format!("{waits}{}", since + WAIT)), 1);
}

/// A request over TLS by somebody whose clock is the daemon's, certificate verified; and the certificate's first and last day.
fn visit(fake: &[(&str, &str)], port: u16, root: &Path) -> Result<String, String> {
    let to = format!("other.test:443:127.0.0.1:{port}");
    let asked = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(["--no-sessionid", "--connect-to", &to, "--cacert"])
        .arg(root)
        .arg("https://other.test/")
        .envs(fake.iter().copied())
        .output()
        .unwrap();
    match asked.status.success() {
        true => Ok(String::from_utf8_lossy(&asked.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&asked.stderr).into_owned()),
    }
}

fn until_visited(fake: &[(&str, &str)], port: u16, root: &Path, when: &str) {
    until(
        &format!("TLS by the clock {when}"),
        secs(120),
        || match visit(fake, port, root)? {
            body if body == "here" => Ok(()),
            other => Err(other),
        },
    );
}

/// What a page that needs a session answers to this one's cookie: a status.
fn page_with(daemon: &quiet::Daemon, cookie: &str) -> u16 {
    let asked = Command::new("curl")
        .args(["--silent", "--max-time", "120", "--output", "/dev/null"])
        .args(["--write-out", "%{http_code}", "--unix-socket"])
        .arg(daemon.socket("edge.sock"))
        .args(["--header", &format!("Cookie: __Host-freehold={cookie}")])
        .args(["--header", "Accept: text/html", "http://panel.test/account"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&asked.stdout).parse().unwrap()
}

/// A session of ana's that begins at `created` and lives for a month, as a sign-in writes it.
fn sign_in(state: &rusqlite::Connection, cookie: &str, created: i64) {
    let digest = freehold::base::secret::sha256_hex(cookie.as_bytes());
    let row = "INSERT INTO sessions (digest, user_id, created_ms, seen_ms, confirmed_ms, expires_ms, address, agent)
        SELECT ?1, id, ?2, ?2, ?2, ?3, '127.0.0.1', 'test' FROM users WHERE name = 'ana'";
    let values = rusqlite::params![digest, created, created + 30 * 24 * HOUR];
    assert_eq!(state.execute(row, values), Ok(1));
}

/// A leap of a year, and the way back under the running daemon: whoever has the daemon's clock is served over TLS in the end,
/// by a certificate of that time; a session of a month is over in a year, and what was queued for then is done after the way back.
#[test]
fn n7_a_year_forward_and_back_under_the_daemon_leaves_tls_and_sessions_by_the_clock_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    set(&file, 0);
    let port = port::free_port(std::net::Ipv4Addr::LOCALHOST);
    let upstream = upstream::answering("here");
    let route = format!(
        "[[route]]\nhost = \"other.test\"\nupstream = \"http://127.0.0.1:{upstream}\"\ntls = \"internal\"\n"
    );
    let mut daemon = quiet::Daemon::start_with(&format!("127.0.0.1:{port}"), &route);
    let (library, clock) = (library(), file.to_str().unwrap().to_owned());
    let fake = by(library.to_str().unwrap(), &clock);
    daemon.restart_with(&fake, |_| {});
    let root = daemon.socket("root.pem");
    until_visited(&fake, port, &root, "as it was");
    let state = state(&daemon);
    let ana = "INSERT INTO users (name, role, password_hash, created_ms) VALUES ('ana', 'owner', 'none', 1)";
    assert_eq!(state.execute(ana, []), Ok(1));
    let cookie = "a-session-of-now-0123456789abcdef";
    sign_in(&state, cookie, now_ms());
    assert_eq!(page_with(&daemon, cookie), 200);

    // The certificate that was is over by then: this waits for another one.
    set(&file, YEAR);
    until_told(&state, "forward by 365 d");
    until_visited(&fake, port, &root, "a year ahead");
    let ended = page_with(&daemon, cookie);
    assert_ne!(ended, 200, "a session of a month lives for a year");
    let ahead = now_ms() + YEAR;
    queue(&state, "a year back", ahead, ahead + WAIT);
    works(&daemon, "ahead");
    // Nobody whose clock is right takes that one, and there is no other.
    let right = visit(&[], port, &root);
    assert!(
        right.is_err(),
        "who has the right clock is served: {right:?}"
    );

    set(&file, 0);
    until_told(&state, "set back by 365 d");
    until_visited(&[], port, &root, "set right");
    until_begun(&state, "a year back");
    let late = number(
        &state,
        "SELECT started_ms FROM jobs WHERE kind = 'a year back'",
    ) - now_ms();
    assert!(late < HOUR, "it is said to begin in {late} ms");
    let cookie = "a-session-of-after-0123456789abcd";
    sign_in(&state, cookie, now_ms());
    assert_eq!(page_with(&daemon, cookie), 200);
    works(&daemon, "back");
}
