//! N6: what goes beside what and what after what, how long a rollback to each kept release takes, and what a cancel in
//! each state leaves.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::census::about_a_deploy;
use crate::support::door::Door;
use crate::support::freehold::Freehold;
use crate::support::process::run;
use crate::support::until::{secs, until};
use crate::{APP, Place};

/// What a rollback may take beside the container's own start, in ms.
const ROLLBACK_MS: i64 = 2_000;

impl Place {
    /// Asks for a deploy of `app` with these arguments; its number.
    fn queued(&self, app: &str, arguments: &[&str]) -> i64 {
        let deploy = [&["deploy", "--app", app, "--detach"], arguments].concat();
        self.fh.json(&deploy)["deploy"].as_i64().unwrap()
    }

    fn one_of(&self, app: &str, deploy: i64) -> Value {
        let all = self.fh.json(&["deploys", app]);
        let mut all = all.as_array().unwrap().iter();
        all.find(|d| d["id"].as_i64() == Some(deploy))
            .unwrap()
            .clone()
    }

    fn until_in(&self, app: &str, deploy: i64, wanted: &str) {
        until(
            &format!("deploy {deploy} to be {wanted}"),
            secs(120),
            || {
                let seen = self.one_of(app, deploy);
                match seen["state"] == wanted {
                    true => Ok(()),
                    false => Err(seen.to_string()),
                }
            },
        );
    }

    /// How long the engine took from making the app's newest container to its start, in ms.
    fn own_start_ms(&self) -> i64 {
        let newest = until("the container that serves", secs(60), || {
            let found = self.list(&["ps"]);
            match found.as_slice() {
                [one] => Ok(one.clone()),
                _ => Err(format!("{found:?}")),
            }
        });
        let (name, _) = newest.split_once(' ').unwrap();
        let mut inspect = Command::new("docker");
        let times = "{{.Created}} {{.State.StartedAt}}";
        inspect.args(["inspect", "--format", times, name]);
        let said = run(&mut inspect);
        let ms = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let (made, began) = said.trim().split_once(' ').unwrap();
        ms(began) - ms(made)
    }
}

/// Two apps build at once, and of one app each deploy waits for the one before.
#[test]
fn n6_deploys_go_beside_those_of_other_apps_and_after_those_of_their_own() {
    let p = Place::with("[build]\nat_once = 2\n");
    p.fh.cli(&["app", "create", "other"]);
    let slow = |text: &str| {
        let folder = p.folder(text, "RUN sleep 600", "true");
        folder.display().to_string()
    };
    let first = p.queued(APP, &[&slow("first")]);
    p.until_in(APP, first, "building");
    let beside = p.queued("other", &[&slow("beside")]);
    p.until_in("other", beside, "building");
    assert_eq!(p.state(first), "building", "one waits for the other");

    let after = p.queued(APP, &[&p.good("after").display().to_string()]);
    // Somebody else's work comes and goes meanwhile: the queue moves, and that one still waits.
    p.fh.cli(&["cancel", "other", &beside.to_string()]);
    let quick = p.queued("other", &[&p.good("quick").display().to_string()]);
    p.until_in("other", quick, "watching");
    assert_eq!(
        (p.state(first).as_str(), p.state(after).as_str()),
        ("building", "queued"),
        "they go in order within one app"
    );
    p.fh.cli(&["cancel", APP, &first.to_string()]);
    assert_eq!(p.state(first), "cancelled");
    p.until_in(APP, after, "watching");
    let (one, two) = (p.one_of(APP, first), p.one_of(APP, after));
    assert!(
        two["started_ms"].as_i64() >= one["finished_ms"].as_i64(),
        "{one} {two}"
    );
    assert_eq!(p.answer(), "after");
}

/// Each kept release comes back with its own variables and settings, and sooner than anybody looks away.
#[test]
fn n6_a_rollback_to_any_kept_release_brings_its_settings_in_less_than_two_seconds() {
    let p = Place::with("[drain]\nreplica = \"1s\"\n");
    let folder = |text: &str, port: u16| {
        let command = format!("echo {text} $KEY {port} > index.html; exec httpd -f -p {port}");
        let folder = p.folder(text, "STOPSIGNAL SIGKILL", &command);
        let settings = format!("[processes.web]\nport = {port}\n");
        std::fs::write(folder.join("freehold.toml"), settings).unwrap();
        folder
    };
    p.fh.cli(&["env", APP, "set", "KEY=a"]);
    p.deploy_well(&folder("one", 8000));
    p.fh.cli(&["env", APP, "set", "KEY=b"]);
    p.deploy_well(&folder("two", 8001));
    p.fh.cli(&["env", APP, "set", "KEY=c", "GONE=1"]);
    let kept = ["one a 8000", "one b 8000", "two b 8001", "two c 8001"];
    assert_eq!(p.answer(), kept[3]);
    let releases = p.fh.json(&["releases", APP]);
    let numbers: Vec<(i64, bool)> = releases
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["number"].as_i64().unwrap(), r["kept"] == true))
        .collect();
    assert_eq!(
        numbers,
        [(4, true), (3, true), (2, true), (1, true)],
        "{releases}"
    );
    let time = |deploy: &Value, at: &str| deploy[at].as_i64().unwrap();
    for (number, wanted) in (1..).zip(kept) {
        let mut took = Vec::new();
        // A busy machine may take its time, but not each time.
        while took.iter().all(|ms| *ms >= ROLLBACK_MS) {
            assert!(took.len() < 8, "rollbacks to v{number} took {took:?} ms");
            p.fh.cli(&["rollback", APP, &format!("v{number}")]);
            let deploy = p.newest();
            assert_eq!(deploy["release"], number, "{deploy}");
            assert_eq!(p.answer(), wanted);
            let has =
                p.fh.cli(&["exec", APP, "--", "sh", "-c", "echo $KEY,$GONE"]);
            let key = wanted.split(' ').nth(1).unwrap();
            let gone = if number == 4 { "1" } else { "" };
            assert_eq!(has.trim(), format!("{key},{gone}"), "v{number}");
            let whole = time(&deploy, "switched_ms") - time(&deploy, "created_ms");
            took.push(whole - p.own_start_ms());
        }
        println!("rollbacks to v{number}, less the container's own start: {took:?} ms");
    }
}

/// A deploy is cancelled in each of its states before the switch; what it began is gone when that is said.
#[test]
fn n6_a_deploy_is_cancelled_in_any_state_and_leaves_nothing() {
    let p = Place::new();
    p.deploy_well(&p.good("one"));
    let before = p.census();
    let cancelled = |deploy: i64, state: &str| {
        let said = p.fh.cli(&["cancel", APP, &deploy.to_string()]);
        // Not by and by: that is what the answer says.
        let now = p.one_of(APP, deploy);
        assert_eq!(now["state"], "cancelled", "in {state}: {said} {now}");
        let when = format!("a cancel in {state}");
        before.until_equal(&when, || p.census(), about_a_deploy);
        assert_eq!(p.answer(), "one", "in {state}");
    };
    let of = |folder: PathBuf| folder.display().to_string();

    // A git host that takes the connection and never says a word.
    let mute = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://{}/shop.git", mute.local_addr().unwrap());
    let fetching = p.queued(APP, &["--git", &url, "--ref", "main"]);
    p.until_in(APP, fetching, "fetching");
    let (_held, _) = mute.accept().unwrap();
    assert!(working_on(&url), "git is asked");
    cancelled(fetching, "fetching");
    assert!(!working_on(&url), "git still works");

    let building = p.queued(APP, &[&of(p.folder("slow", "RUN sleep 600", "true"))]);
    p.until_in(APP, building, "building");
    let queued = p.queued(APP, &[&of(p.good("waiting"))]);
    assert_eq!(p.state(queued), "queued");
    p.fh.cli(&["cancel", APP, &queued.to_string()]);
    assert_eq!(
        (p.state(queued).as_str(), p.state(building).as_str()),
        ("cancelled", "building"),
        "it was cancelled where it stood, and the one before it goes on"
    );
    cancelled(building, "building");

    let releasing = p.good("releasing");
    let settings = "[processes.web]\nport = 8000\n[deploy]\nrelease = \"sleep 600\"\n";
    std::fs::write(releasing.join("freehold.toml"), settings).unwrap();
    let releasing = p.queued(APP, &[&of(releasing)]);
    p.until_in(APP, releasing, "releasing");
    until("the release command to run", secs(60), || {
        match p.census().count("container job ") {
            1 => Ok(()),
            _ => Err(format!("{:?}", p.census())),
        }
    });
    cancelled(releasing, "releasing");

    let deaf = p.folder("deaf", "", "exec httpd -f -p 9000");
    let settings = "[processes.web]\nport = 8000\nstart_deadline = \"300s\"\n";
    std::fs::write(deaf.join("freehold.toml"), settings).unwrap();
    let checking = p.queued(APP, &[&of(deaf)]);
    p.until_in(APP, checking, "checking");
    cancelled(checking, "checking");
}

/// An engine that is away holds a deploy in its start, which needs it: cancelled there it is over, what serves serves on,
/// and with the engine nothing of it comes.
#[test]
fn n6_a_deploy_is_cancelled_in_its_start_and_leaves_nothing() {
    let mut fh = Freehold::new();
    let door = Door::open(&fh.path("engine.sock"));
    fh.configure_on(&door.host(), "");
    fh.start();
    let p = Place::of(fh);
    p.deploy_well(&p.good("one"));
    p.deploy_well(&p.good("two"));
    let before = p.census();
    door.shut();
    let serving = p.newest()["id"].as_i64().unwrap();
    let mut asked = p.fh.command(&["rollback", APP, "v1"]);
    asked.stdout(Stdio::null()).stderr(Stdio::null());
    let mut asked = asked.spawn().unwrap();
    let back = until("the rollback to be there", secs(60), || {
        let newest = p.newest();
        let id = newest["id"].as_i64().filter(|id| *id > serving);
        id.ok_or_else(|| newest.to_string())
    });
    p.until_in(APP, back, "starting");
    p.fh.cli(&["cancel", APP, &back.to_string()]);
    p.until_in(APP, back, "cancelled");
    asked.wait().unwrap();
    assert_eq!(p.answer(), "two");
    door.reopen();
    before.until_equal("a cancel in starting", || p.census(), about_a_deploy);
    assert_eq!(p.answer(), "two");
    // The next one begins.
    p.deploy_well(&p.good("three"));
    assert_eq!(p.answer(), "three");
}

/// Whether a process of this machine was started with this word.
fn working_on(word: &str) -> bool {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| {
            let line = String::from_utf8_lossy(&line);
            line.contains("git") && line.split('\0').any(|argument| argument == word)
        })
}
