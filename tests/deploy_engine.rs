//! Deploys on the real daemon and a real engine, with an app of three lines:
//! what each way out of a deploy leaves behind, kill -9 in it included.
//!
//! First light kills in the states on the way to live; here are the ends (`crash`), and what goes beside what, how long a
//! rollback takes and what a cancel leaves (`states`).

#[path = "support/build_cache.rs"]
mod build_cache;
#[cfg(feature = "crash-points")]
#[path = "deploy_engine/crash.rs"]
mod crash;
#[path = "deploy_engine/reuse.rs"]
mod reuse;
#[path = "deploy_engine/states.rs"]
mod states;
#[path = "support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use freehold::docker::Engine;
use serde_json::Value;
use support::census::Census;
use support::freehold::{Freehold, words};
use support::process::run;
use support::until::{secs, until, until_true};

const APP: &str = "hello";

struct Place {
    fh: Freehold,
    id: String,
}

impl Place {
    fn new() -> Self {
        Self::with("")
    }

    /// One with more settings.
    fn with(settings: &str) -> Self {
        Self::watching("20s", settings)
    }

    /// One that watches a new release for so long.
    fn watching(watch: &str, settings: &str) -> Self {
        let mut fh = Freehold::new();
        fh.configure(&format!("[deploy]\nwatch = \"{watch}\"\n{settings}"));
        fh.start();
        Self::of(fh)
    }

    /// One whose daemon runs.
    fn of(fh: Freehold) -> Self {
        fh.cli(&["app", "create", APP]);
        fh.cli(&["domain", "add", APP, "hello.localhost"]);
        let id = fh.installation();
        Self { fh, id }
    }

    /// A folder whose app answers with `text`, run by `command`.
    fn folder(&self, text: &str, build: &str, command: &str) -> PathBuf {
        let folder = self.fh.path(text);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.html"), text).unwrap();
        let dockerfile = format!(
            "FROM busybox:latest\nWORKDIR /www\nCOPY index.html .\n{build}\nEXPOSE 8000\nCMD [\"sh\", \"-c\", \"{command}\"]\n"
        );
        std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
        folder
    }

    fn good(&self, text: &str) -> PathBuf {
        self.folder(text, "", "exec httpd -f -p 8000")
    }

    /// A folder whose app serves until it is told to die, and then never again.
    fn mortal(&self, text: &str) -> PathBuf {
        let command = "httpd -p 8000; until [ -e /die ]; do sleep 0.2; done; exit 3";
        self.folder(text, "", command)
    }

    /// Deploys it, and has it die once the deploy has ended well.
    fn deploy_and_die(&self, folder: &std::path::Path) -> i64 {
        let deploy = self.deploy_well(folder);
        for container in self.containers() {
            let (name, _) = container.split_once(' ').unwrap();
            let mut tell = Command::new("docker");
            // The one before may just be on its way out.
            tell.args(["exec", name, "touch", "/die"]).output().unwrap();
        }
        deploy
    }

    /// `freehold deploy` to its end; what it said.
    fn deploy(&self, folder: &std::path::Path) -> (bool, String) {
        let folder = folder.display().to_string();
        let out = self.fh.try_cli(&["deploy", &folder, "--app", APP]);
        (out.status.success(), words(&out))
    }

    fn deploy_well(&self, folder: &std::path::Path) -> i64 {
        let (good, said) = self.deploy(folder);
        assert!(good, "{said}");
        self.newest()["id"].as_i64().unwrap()
    }

    /// The app's deploys, newest first. A daemon that was told to die may do so just now.
    fn deploys(&self) -> Value {
        until("the deploys to be listed", secs(60), || {
            let out = self.fh.try_cli(&["deploys", APP, "--json"]);
            match out.status.success() {
                true => Ok(serde_json::from_slice(&out.stdout).unwrap()),
                false => Err(words(&out)),
            }
        })
    }

    fn newest(&self) -> Value {
        self.deploys()[0].clone()
    }

    fn state(&self, deploy: i64) -> String {
        let all = self.deploys();
        let found = all
            .as_array()
            .unwrap()
            .iter()
            .find(|d| d["id"].as_i64() == Some(deploy))
            .cloned();
        found.unwrap()["state"].as_str().unwrap().to_owned()
    }

    fn until_state(&self, deploy: i64, wanted: &str) {
        until(
            &format!("deploy {deploy} to be {wanted}"),
            secs(120),
            || {
                let state = self.state(deploy);
                if state == wanted { Ok(()) } else { Err(state) }
            },
        );
    }

    /// What the app answers over HTTPS.
    fn answer(&self) -> String {
        let edge = self.fh.edge(&self.fh.path("run").join("root.pem"));
        let answer = edge.get("https://hello.localhost/").send().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().trim().to_owned()
    }

    /// Name, id and start of each container of this installation that runs.
    fn containers(&self) -> Vec<String> {
        let begun = |line: String| {
            let (_, id) = line.split_once(' ').unwrap();
            let mut inspect = Command::new("docker");
            inspect.args(["inspect", "--format", "{{.State.StartedAt}}", id]);
            // One that is being removed may go between the list and the look.
            let out = inspect.output().unwrap();
            out.status
                .success()
                .then(|| format!("{line} {}", words(&out).trim()))
        };
        self.list(&["ps"]).into_iter().filter_map(begun).collect()
    }

    fn list(&self, which: &[&str]) -> Vec<String> {
        let label = format!("label=freehold.installation={}", self.id);
        let mut list = Command::new("docker");
        list.args(which);
        list.args(["--filter", &label, "--format", "{{.Names}} {{.ID}}"]);
        let mut all: Vec<String> = run(&mut list).lines().map(str::to_owned).collect();
        all.sort();
        all
    }

    fn census(&self) -> Census {
        Census::of(&self.fh).by_release(&self.fh.data_dir())
    }

    fn images(&self) -> Vec<String> {
        let label = format!("label=freehold.installation={}", self.id);
        let mut list = Command::new("docker");
        list.args(["images", "--filter", &label, "--format", "{{.Tag}}"]);
        let mut all: Vec<String> = run(&mut list).lines().map(str::to_owned).collect();
        all.sort();
        all
    }
}

#[test]
fn f4_run_exec_logs_env_and_removal_do_what_they_say() {
    let p = Place::new();
    p.fh.cli(&["env", APP, "set", "KEY=s3cr3t $x \"y\" 'z' =\n2"]);
    p.deploy_well(&p.good("one"));
    assert_eq!(p.answer(), "one");
    let said =
        p.fh.cli(&["exec", APP, "--", "sh", "-c", "printf %s \"$KEY\""]);
    assert_eq!(said, "s3cr3t $x \"y\" 'z' =\n2", "byte for byte");
    let told =
        p.fh.documented("exec", &["exec", APP, "--", "echo", "told"]);
    assert_eq!(told[0]["text"], "told\n", "{told:?}");
    let told = p.fh.documented("run", &["run", APP, "--", "echo", "told"]);
    assert_eq!(told[0]["text"], "told\n", "{told:?}");
    let out =
        p.fh.try_cli(&["run", APP, "--", "sh", "-c", "echo out; exit 7"]);
    assert_eq!(
        (out.status.code(), words(&out)),
        (Some(7), "out".to_owned())
    );
    assert!(!p.fh.cli(&["env", APP]).contains("s3cr3t"));
    assert!(p.fh.cli(&["env", APP, "--values"]).contains("s3cr3t"));

    p.fh.cli(&["scale", APP, "web=2"]);
    until_true("two replicas", secs(120), || p.containers().len() == 2);
    assert!(
        p.fh.refused(&["scale", APP, "worker=2"])
            .contains("it has web")
    );
    p.fh.documented("app rm", &["app", "rm", APP, "--yes"]);
    assert!(p.containers().is_empty() && p.images().is_empty());
    assert!(
        p.fh.refused(&["app", "show", APP])
            .contains("no app called")
    );
}

impl Place {
    /// Asks on one of the daemon's sockets, and leaves the answer to be read.
    fn asked(&self, socket: &str, head: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.fh.path("run").join(socket)).unwrap();
        write!(stream, "{head}\r\nHost: panel.test\r\n\r\n").unwrap();
        stream
    }
}

/// What comes within `limit`, and whether it ended.
fn heard(stream: &mut UnixStream, limit: Duration) -> (String, bool) {
    let begun = Instant::now();
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    let over = loop {
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break false;
        }
        stream.set_read_timeout(Some(left)).unwrap();
        match stream.read(&mut chunk) {
            Ok(0) => break true,
            Ok(n) => all.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break true,
        }
    };
    (String::from_utf8_lossy(&all).into_owned(), over)
}

/// What comes until these words have; whoever is to go on does so then, for a moment at least.
fn said_while_open(stream: &mut UnixStream, words: &str) -> String {
    let begun = Instant::now();
    let mut said = String::new();
    while !said.contains(words) {
        assert!(begun.elapsed() < secs(60), "no {words:?} in {said}");
        let (more, over) = heard(stream, Duration::from_millis(200));
        said.push_str(&more);
        assert!(!over, "it ended: {said}");
    }
    let (more, over) = heard(stream, secs(1));
    said.push_str(&more);
    assert!(!over, "it ended: {said}");
    said
}

/// What is revoked keeps neither a shell nor a followed log; what a container writes is text, whatever it looks like.
#[test]
fn a3_a_shell_and_a_followed_log_end_with_the_token_and_a6_their_lines_are_text() {
    let p = Place::new();
    let line = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    p.deploy_well(&p.folder("loud", "", &format!("echo '{line}'; exec httpd -f -p 8000")));
    let page = p.asked(
        "freehold.sock",
        "GET /apps/hello/logs HTTP/1.1\r\nConnection: close\r\nAccept: text/html",
    );
    let (page, _) = heard(&mut { page }, Duration::from_secs(60));
    assert!(page.contains("img src=x onerror=alert(1)"), "{page}");
    assert!(
        !page.contains("<img src=x") && !page.contains("<script>alert"),
        "{page}"
    );

    let made = p.fh.json(&["token", "add", "laptop", "--verb", "change"]);
    let bearer = format!("Authorization: Bearer {}", made["token"].as_str().unwrap());
    let get = |path: &str| p.asked("edge.sock", &format!("GET {path} HTTP/1.1\r\n{bearer}"));
    let mut page_log = get("/apps/hello/logs/stream?process=&since=1h&grep=");
    let mut log = get("/api/v1/apps/hello/logs?follow=true");
    let mut shell = p.asked(
        "edge.sock",
        &format!("POST /api/v1/apps/hello/exec?command=%5B%22cat%22%5D HTTP/1.1\r\n{bearer}\r\nConnection: upgrade\r\nUpgrade: freehold-terminal\r\nContent-Length: 0"),
    );
    let said = said_while_open(&mut page_log, line);
    let said = said.to_lowercase();
    assert!(said.contains("content-type: text/plain"), "{said}");
    assert!(said.contains("x-content-type-options: nosniff"), "{said}");
    said_while_open(&mut log, "onerror");
    let said = said_while_open(&mut shell, "\r\n\r\n");
    assert!(said.starts_with("HTTP/1.1 101"), "{said}");

    let id = p.fh.json(&["token", "list"])[0]["id"].to_string();
    p.fh.cli(&["token", "rm", &id, "--yes"]);
    for (what, stream) in [
        ("page", &mut page_log),
        ("log", &mut log),
        ("shell", &mut shell),
    ] {
        let (said, over) = heard(stream, Duration::from_secs(60));
        assert!(over, "the {what} goes on: {said}");
    }
}

#[test]
fn f4_a_release_that_dies_after_the_switch_gives_way_to_the_one_before() {
    // It must die while it is watched, however long it takes to tell it to.
    let p = Place::watching("10m", "");
    p.deploy_well(&p.good("one"));
    let id = p.deploy_and_die(&p.mortal("two"));
    p.until_state(id, "returned");
    until("the first release to answer", secs(120), || {
        let edge = p.fh.edge(&p.fh.path("run").join("root.pem"));
        let answer = edge.get("https://hello.localhost/").send()?;
        match answer.text().trim() {
            "one" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    let all = p.deploys();
    assert_eq!(all[0]["cause"], "return");
    let error = all[1]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("v1 comes back"), "{error}");
}

/// Every deploy has a stream open at what it takes over from, so that each is in its drain when the next begins.
#[test]
fn n6_a_rollback_waits_for_no_stream_that_is_open() {
    // Longer than a slow machine needs for all that follows: it ends with the streams.
    let p = Place::with("[drain]\nreplica = \"300s\"\n");
    let ticks = "RUN mkdir cgi-bin && printf '#!/bin/sh\\necho; while echo tick; do sleep 1; done' > cgi-bin/ticks && chmod +x cgi-bin/ticks";
    let serve = "exec httpd -f -p 8000";
    p.deploy_well(&p.folder("one", ticks, serve));
    let two = p.folder("two", ticks, serve).display().to_string();
    let mut streams: Vec<Child> = Vec::new();
    let mut stream = || {
        let address = p.fh.edge(&p.fh.path("run").join("root.pem")).address;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--no-buffer", "--noproxy", "*"])
            .args(["--connect-to", &format!(":443:{address}:443")])
            .arg("https://hello.localhost/cgi-bin/ticks")
            .stdout(Stdio::piped());
        let mut child = curl.spawn().unwrap();
        let mut tick = [0; 4];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut tick)
            .unwrap();
        streams.push(child);
    };
    let mut switched = Vec::new();
    for arguments in [
        &["deploy", two.as_str(), "--app", APP][..],
        &["rollback", APP, "v1"],
        &["rollback", APP, "v2"],
    ] {
        stream();
        let mut asked = p.fh.command(arguments);
        asked.stdout(Stdio::null()).stderr(Stdio::null());
        let before = p.newest()["id"].as_i64();
        let mut asked = asked.spawn().unwrap();
        let deploy = until("the traffic to move", secs(120), || {
            let newest = p.newest();
            let moved = newest["id"].as_i64() != before && newest["switched_ms"].is_i64();
            moved
                .then(|| newest.clone())
                .ok_or_else(|| newest.to_string())
        });
        asked.kill().unwrap();
        asked.wait().unwrap();
        switched.push(deploy);
    }
    assert_eq!(p.answer(), "two");
    for deploy in &switched {
        let id = deploy["id"].as_i64().unwrap();
        assert_eq!(p.state(id), "draining", "its stream goes on");
    }
    let time = |deploy: &Value, at: &str| deploy[at].as_i64().unwrap();
    for deploy in &switched[1..] {
        let took = time(deploy, "switched_ms") - time(deploy, "created_ms");
        println!("a rollback under an open stream moved the traffic after {took} ms");
        assert!(took < 60_000, "a drain was waited for: {took} ms");
    }
    for stream in &mut streams {
        assert!(stream.try_wait().unwrap().is_none(), "it was cut");
        stream.kill().unwrap();
    }
    for deploy in &switched {
        p.until_state(deploy["id"].as_i64().unwrap(), "live");
    }
}

#[test]
fn f9_a_failed_deploy_leaves_no_container_and_no_image() {
    let p = Place::new();
    p.deploy_well(&p.good("one"));
    let (containers, images) = (p.containers(), p.images());
    let broken = p.folder("broken", "RUN exit 4", "true");
    let (good, said) = p.deploy(&broken);
    assert!(!good && said.contains("exit code 4"), "{said}");
    let mute = p.folder("mute", "", "exec httpd -f -p 9000");
    let file = "[processes.web]\nport = 8000\nstart_deadline = \"40s\"\n";
    std::fs::write(mute.join("freehold.toml"), file).unwrap();
    let (good, said) = p.deploy(&mute);
    assert!(!good && said.contains("9000"), "{said}");
    // They go behind the end of the deploy.
    until("nothing to be left of the failed ones", secs(120), || {
        let now = (p.containers(), p.images());
        let same = now.0 == containers && now.1 == images;
        same.then_some(()).ok_or_else(|| format!("{now:?}"))
    });
    assert_eq!(p.answer(), "one");
}

#[tokio::test]
async fn f9_build_cache_of_our_own_builds_is_collected_and_nobody_elses() {
    const MUCH: u64 = 4 << 20;
    let engine = Engine::connect(&support::freehold::engine()).unwrap();
    engine.negotiate().await.unwrap();
    let p = Place::with("[build]\ncache = \"1M\"\n");
    build_cache::leave(&engine, MUCH).await;
    let is_much = |(_, size): &(String, u64)| *size >= MUCH;
    let mut neighbours = build_cache::of_step(&build_cache::left()).await;
    neighbours.retain(is_much);
    assert!(!neighbours.is_empty(), "the neighbour's build left nothing");
    // A build that fails late leaves layers that no image holds.
    let file = format!(">/much-{}", std::process::id());
    let much = format!("RUN head -c {MUCH} /dev/urandom {file}\nRUN exit 4");
    let broken = p.folder("broken", &much, "true");
    // The engine adds its cache up for one at a time and refuses others meanwhile: then the next deploy tries again.
    until("the rest of the build to be collected", secs(240), || {
        let (good, said) = p.deploy(&broken);
        assert!(!good && said.contains("exit code 4"), "{said}");
        let ended = Instant::now();
        while ended.elapsed() < secs(20) {
            let log = p.fh.log_text();
            if log.contains("build cache was collected") {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Err(p.fh.log_tail())
    });
    let after = build_cache::of_step(&build_cache::left()).await;
    for (one, _) in &neighbours {
        let there = after.iter().any(|(id, _)| id == one);
        assert!(there, "{one} of the neighbour is gone");
    }
    let ours = build_cache::of_step(&file).await;
    assert!(!ours.iter().any(is_much), "{ours:?}");
}
