//! No memory left: what eats it goes, the daemon and Postgres stay.
//!
//! A box that is out of memory is made of a control group of the test's own, into which the server of the database and the
//! app are moved: when that group is full the kernel chooses among them as it would on the whole box. The daemon is in such
//! a group in a test of its own, beside processes that have the scores of others.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::served_box::{APP, ServedBox, folder};
use crate::support::freehold::{Freehold, words};
use crate::support::process::run;
use crate::support::until::{secs, until, until_true};

/// The text that a session of the database holds; it takes twice as much while it is made.
const HELD_MB: u64 = 60;

/// A control group; empty again before it goes.
struct Group {
    path: PathBuf,
    unified: bool,
}

impl Group {
    /// One of this name among those of this process.
    fn new(name: &str) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let unified = root.join("cgroup.controllers").exists();
        let parent = if unified {
            root.to_owned()
        } else {
            root.join("memory")
        };
        let path = parent.join(format!("fh-n7-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let swap = if unified {
            ("memory.swap.max", "0")
        } else {
            ("memory.swappiness", "0")
        };
        std::fs::write(path.join(swap.0), swap.1).ok();
        Self { path, unified }
    }

    fn take(&self, pid: u32) {
        let taken = std::fs::write(self.path.join("cgroup.procs"), pid.to_string());
        // One that has ended meanwhile, as a session of the server's own checks, is none to take.
        let is_gone =
            |e: &std::io::Error| e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error());
        if let Err(error) = taken
            && !is_gone(&error)
        {
            panic!("{pid}: {error}");
        }
    }

    /// From now on so many bytes more than it has.
    fn leave(&self, more: u64) {
        let (usage, limit) = if self.unified {
            ("memory.current", "memory.max")
        } else {
            ("memory.usage_in_bytes", "memory.limit_in_bytes")
        };
        let usage = std::fs::read_to_string(self.path.join(usage)).unwrap();
        let most = usage.trim().parse::<u64>().unwrap() + more;
        std::fs::write(self.path.join(limit), most.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let above = match self.unified {
            true => "/sys/fs/cgroup/cgroup.procs",
            false => "/sys/fs/cgroup/memory/cgroup.procs",
        };
        let left = std::fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for pid in left.lines() {
            std::fs::write(above, pid).ok();
        }
        for _ in 0..100 {
            if std::fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

fn score(pid: u32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    text.trim().parse().unwrap()
}

fn set_score(pid: u32, score: i32) -> std::io::Result<()> {
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
}

/// Bytes of a process that are in memory.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// The daemon's score, as its unit has it.
fn score_of_the_unit() -> i32 {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/freehold.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let line = unit.lines().find_map(|l| l.strip_prefix("OOMScoreAdjust="));
    line.unwrap().parse().unwrap()
}

/// Gives the daemon that score, as systemd does (`tests/install.rs` sees that it does), and gives that; 0 where root may
/// not lower one.
fn give_score_of_the_unit(daemon: u32) -> i32 {
    let score = score_of_the_unit();
    match set_score(daemon, score) {
        Ok(()) => score,
        Err(error) => {
            println!("the daemon keeps its score, {score} cannot be set here: {error}");
            0
        }
    }
}

/// SQL in the server's container.
fn psql(on: &ServedBox, sql: &str) -> Command {
    let id = on.fh.installation();
    let mut list = Command::new("docker");
    list.args(["ps", "-q", "--filter", "label=freehold.kind=database"]);
    let container = run(list.args(["--filter", &format!("label=freehold.installation={id}")]));
    let mut command = Command::new("docker");
    command.args([
        "exec",
        "-u",
        "postgres",
        container.trim(),
        "psql",
        "-qc",
        sql,
    ]);
    command
}

/// A session that holds memory until it is killed, and the process that serves it.
fn session(on: &ServedBox, server: u32) -> (Child, u32) {
    let sql = format!(
        "DO $$ DECLARE a text := repeat('x', {}); BEGIN PERFORM pg_sleep(600); END $$",
        HELD_MB << 20
    );
    let child = psql(on, &sql)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    until("the session to hold its memory", secs(100), || {
        let said = words(&psql(on, asleep).output().unwrap());
        said.lines()
            .any(|l| l.trim() == "1")
            .then_some(())
            .ok_or(said)
    });
    let all = children(server).into_iter();
    let backend = all.max_by_key(|pid| resident(*pid)).unwrap();
    assert!(resident(backend) >= HELD_MB << 20);
    (child, backend)
}

/// The app eats until somebody is killed. Gives whether the session is not among those.
fn eat(on: &ServedBox, app: u32, backend: u32) -> bool {
    let mut last = [0; 2];
    for _ in 0..1_000 {
        let now = [app, backend].map(resident);
        if now.contains(&0) {
            println!("{last:?} bytes in the app and the session, then {now:?}");
            return now[1] > 0;
        }
        last = now;
        on.ask("/eat/4").ok();
    }
    panic!("nobody was killed");
}

#[test]
fn n7_what_eats_the_memory_goes_and_the_daemon_and_postgres_stay() {
    let _turn = crate::beside_others();
    let on = ServedBox::start("[build]\nfree_disk = \"1M\"\nmemory = \"192M\"\n");
    let fh = &on.fh;
    fh.cli(&["db", "create", "main"]);
    let daemon = fh.pid();
    let set = give_score_of_the_unit(daemon);
    let [server] = on.pids("database")[..] else {
        panic!("one server")
    };
    let [app] = on.pids("replica")[..] else {
        panic!("one replica")
    };
    // A box out of memory: the session and the app have as much of it when it is full, so that their sizes alone choose
    // neither. What the server starts later is in the group, too. The daemon is not: a group, unlike a box, does not wait until
    // what was killed has given its memory back, so that a file the daemon writes meanwhile would cost the next one its life.
    // It has one in the next test.
    let group = Group::new("served");
    for pid in [server, app].into_iter().chain(children(server)) {
        group.take(pid);
    }
    let (first, backend) = session(&on, server);
    let scores = [daemon, server, backend, app].map(score);
    assert_eq!(scores, [set, 0, 100, 200]);
    // Whether or not it can be set here: what the unit says is below all that the kernel has of the others.
    let unit = score_of_the_unit();
    assert!(unit < 0 && scores[1..].iter().all(|other| unit < *other));
    group.leave(resident(backend) - resident(app));
    assert!(eat(&on, app, backend), "the database's session was killed");
    on.until_served();
    assert_eq!(fh.pid(), daemon);
    assert!(children(server).contains(&backend));
    until("the app's death to be told", secs(60), || {
        let events = on.events();
        let told = events.iter().any(|e| e.contains("killed"));
        told.then_some(()).ok_or_else(|| format!("{events:#?}"))
    });

    // The same with the app's score as low as the server's: what was seen above was the scores.
    let [app] = on.pids("replica")[..] else {
        panic!("one replica")
    };
    set_score(app, 0).unwrap();
    group.take(app);
    group.leave(resident(backend) - resident(app));
    assert!(
        !eat(&on, app, backend),
        "the app was killed without its score"
    );
    assert_eq!((fh.pid(), on.pids("database")), (daemon, vec![server]));
    let lost = words(&first.wait_with_output().unwrap());
    assert!(lost.contains("server closed the connection"), "{lost}");
    until("the database to answer again", secs(60), || {
        let out = psql(&on, "SELECT 1").output().unwrap();
        out.status
            .success()
            .then_some(())
            .ok_or_else(|| words(&out))
    });

    // By its own limit, which is named.
    fh.cli(&["scale", APP, "web=1", "--memory", "96M"]);
    on.until_served();
    on.ask("/eat/200").unwrap_err();
    until("the app's end to be told", secs(60), || {
        let events = on.events();
        let told = events
            .iter()
            .any(|e| e.contains("ran out of its memory limit"));
        told.then_some(()).ok_or_else(|| format!("{events:#?}"))
    });
    on.until_served();

    // A build that wants more than builds may have.
    // The limit is of all builds of the machine: another test's build may have lifted it.
    let mut tries = 0;
    let said = until("a build to be stopped for its memory", secs(240), || {
        tries += 1;
        let eats = format!("FROM python:3.13-slim\nRUN python -c \"b'x' * (4 << 30)\" {tries}\n");
        let eats = folder(fh, "eats", &[("Dockerfile", &eats)]);
        let out = fh.try_cli(&["deploy", &eats, "--app", APP]);
        let said = words(&out);
        let is_stopped = out.status.code() == Some(6);
        if is_stopped && said.contains("more memory than builds may have") {
            Ok(said)
        } else {
            Err(said)
        }
    });
    println!("{said}");
    on.ask("/").unwrap();
    assert_eq!((fh.pid(), on.pids("database")), (daemon, vec![server]));
}

/// A process in the group that is not the daemon; it goes with this value.
struct Other(Child);

impl Other {
    fn start(group: &Group, score: i32, command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self(child);
        group.take(this.0.id());
        set_score(this.0.id(), score).unwrap();
        this
    }

    /// One that does nothing.
    fn idle(group: &Group, score: i32) -> Self {
        Self::start(group, score, &mut Command::new("cat"))
    }

    /// One that takes memory once it is told to, far more than the group has, until it is killed.
    fn eater(group: &Group, score: i32) -> Self {
        let takes = format!(
            "import sys\nsys.stdin.readline()\nheld = [b'x' * (1 << 20) for _ in range({})]\n",
            4 * ROOM_MB
        );
        Self::start(group, score, Command::new("python3").args(["-c", &takes]))
    }

    fn begin(&mut self) {
        let mut stdin = self.0.stdin.take().unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    fn is_killed(&mut self) -> bool {
        let ended = self.0.try_wait().unwrap();
        ended.is_some_and(|ended| ended.signal() == Some(9))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What the daemon's group has. A score weighs by the whole of it: this is large beside what the daemon itself holds, as a box
/// is.
const ROOM_MB: u64 = 320;
/// Two, so that none of them is as large as the group.
const EATERS: usize = 2;
/// Those that have the database's score, and are lost before the daemon should more than the eaters have to go.
const IDLE: usize = 3;

/// The daemon is the last that a box without memory loses. The saboteur: one with the highest score is the first.
#[test]
fn n7_what_has_the_scores_of_apps_and_databases_goes_before_the_daemon() {
    let _turn = crate::beside_others();
    let mut fh = Freehold::new();
    fh.configure("");
    fh.start();
    let daemon = fh.pid();
    // Where its score cannot be lowered all others are raised by as much: what is between them is the same.
    let raised = give_score_of_the_unit(daemon) - score_of_the_unit();
    let group = Group::new("daemon");
    group.take(daemon);
    let idle: Vec<Other> = (0..IDLE).map(|_| Other::idle(&group, raised)).collect();
    let mut eaters: Vec<Other> = (0..EATERS)
        .map(|_| Other::eater(&group, (raised + 200).min(1_000)))
        .collect();
    group.leave(ROOM_MB << 20);
    eaters.iter_mut().for_each(Other::begin);
    until_true("what eats to be killed", secs(120), || {
        eaters.iter_mut().all(Other::is_killed)
    });
    fh.wait_until_up();
    assert_eq!(fh.pid(), daemon, "{}", fh.log_tail());
    drop(idle);

    set_score(daemon, 1_000).unwrap();
    let mut eaters: Vec<Other> = (0..EATERS).map(|_| Other::eater(&group, 0)).collect();
    eaters.iter_mut().for_each(Other::begin);
    until_true("the daemon to be lost", secs(120), || fh.pid() != daemon);
    drop(eaters);
    fh.wait_until_up();
}
