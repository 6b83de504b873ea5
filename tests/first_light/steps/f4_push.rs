//! F4: a push is live; nothing that was begun is lost on the way.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::app::{APP, DEPLOY, URL};
use crate::support::git_host::signature;
use crate::support::load::Load;
use crate::support::process::run;
use crate::support::until::{secs, until, until_true};
use crate::world::World;

pub fn f4_a_push_is_live(world: &mut World) {
    let copy = world.git.repository("tasks", World::sample());
    world
        .fh
        .cli(&["app", "create", APP, "--git", &copy.url, "--branch", "main"]);
    world.fh.cli(&["db", "attach", "main", APP]);
    world.fh.cli(&["domain", "add", APP, "tasks.test"]);
    world.copy = Some(copy);
    let commit = world.push_to_live("first-push");
    let deploy = world.live_after(0);
    assert!(
        deploy["commit"]
            .as_str()
            .unwrap_or_default()
            .starts_with(&commit[..7]),
        "{deploy:#}"
    );
    let answer = world.app_is_up();
    assert_eq!(answer.json()["estado"], "ok");
    assert!(!answer.header("x-instance").is_empty());
}

/// The app works with its database: somebody registers, signs in, writes a task.
pub fn f4_the_app_has_its_database(world: &mut World) {
    let edge = world.public();
    let person = json!({ "nome": "Ada", "email": "ada@example.com", "senha": "uma senha longa" });
    let made = edge
        .get(&format!("{URL}/usuarios"))
        .json(&person)
        .send()
        .unwrap();
    assert_eq!(made.status, 201, "{}", made.text());
    let twice = edge
        .get(&format!("{URL}/usuarios"))
        .json(&person)
        .send()
        .unwrap();
    assert_eq!(twice.status, 409, "{}", twice.text());
    let token = edge
        .get(&format!("{URL}/login"))
        .json(&person)
        .send()
        .unwrap();
    let token = token.json()["token"].as_str().unwrap().to_owned();
    let task = edge
        .get(&format!("{URL}/tarefas"))
        .header("Authorization", &format!("Bearer {token}"))
        .json(&json!({ "titulo": "ver a primeira luz" }))
        .send()
        .unwrap();
    assert_eq!(task.status, 201, "{}", task.text());
}

pub fn f4_wrong_signature_is_401(world: &mut World) {
    let before = world.newest_deploy_id();
    let body = world
        .copy
        .as_ref()
        .unwrap()
        .push_event("main", &"a".repeat(40));
    let answer = world.one_line_more("signature", || {
        world.hook("forged", "push", &body, &signature("not the secret", &body))
    });
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(world.newest_deploy_id(), before);
}

pub fn f4_another_branch_is_ignored(world: &mut World) {
    let before = world.newest_deploy_id();
    let body = world
        .copy
        .as_ref()
        .unwrap()
        .push_event("wip", &"b".repeat(40));
    let signed = signature(&world.webhook_secret(), &body);
    let answer = world.one_line_more("wip", || world.hook("other-branch", "push", &body, &signed));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(answer.text().contains("ignored"), "{}", answer.text());
    assert_eq!(world.newest_deploy_id(), before);
}

pub fn f4_a_repeated_delivery_starts_nothing(world: &mut World) {
    let before = world.newest_deploy_id();
    let body = world
        .copy
        .as_ref()
        .unwrap()
        .push_event("main", &"c".repeat(40));
    let signed = signature(&world.webhook_secret(), &body);
    let answer = world.one_line_more("already taken", || {
        world.hook("first-push", "push", &body, &signed)
    });
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(answer.text().contains("already taken"), "{}", answer.text());
    assert_eq!(world.newest_deploy_id(), before);
}

/// The repository is away when the push is told, so its deploy fails; the host tells of it again.
pub fn f4_a_redelivery_after_a_failed_deploy_starts_one(world: &mut World) {
    let before = world.newest_deploy_id();
    let copy = world.copy.as_ref().unwrap();
    let commit = copy.push("told more than once");
    let body = copy.push_event("main", &commit);
    let secret = world.webhook_secret();
    let deliver = || {
        let answer = world.hook("told-again", "push", &body, &signature(&secret, &body));
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer
    };
    world.git.take_away("tasks");
    deliver();
    let failed = world.deploy_after(before);
    world.git.bring_back("tasks");
    assert_eq!(failed["state"], "failed", "{failed:#}");

    let failed = failed["id"].as_i64().unwrap();
    let again = deliver().json()["deploy"].as_i64().unwrap();
    assert!(again > failed, "{again} is not newer than {failed}");
    let live = world.live_after(failed);
    assert_eq!(live["id"].as_i64(), Some(again), "{live:#}");

    let third = deliver();
    assert!(third.text().contains("already taken"), "{}", third.text());
    assert_eq!(world.newest_deploy_id(), again);
    world.activity_says(&format!("already taken: it is deploy {again}"));
}

pub fn f4_a_new_webhook_secret_ends_the_old_one(world: &mut World) {
    let old = world.webhook_secret();
    let shown = world
        .fh
        .json(&["app", "webhook", APP, "--new-secret", "--yes"]);
    let new = shown["secret"].as_str().unwrap();
    assert_ne!(new, old);
    let copy = world.copy.as_ref().unwrap();
    let body = copy.push_event("wip", &"d".repeat(40));
    for (secret, status) in [(old.as_str(), 401), (new, 202)] {
        let answer = world.hook(
            &format!("signed-{status}"),
            "push",
            &body,
            &signature(secret, &body),
        );
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    world.activity_says("secret was replaced");
    assert_eq!(world.webhook_secret(), new);
}

pub fn f4_too_large_an_event_is_413(world: &mut World) {
    let body = format!("{{\"pad\": \"{}\"}}", "x".repeat(30 << 20));
    let file = world.path("large.json");
    std::fs::write(&file, &body).unwrap();
    let answer = world.one_line_more("the event is larger than", || {
        let request = world
            .public()
            .get(&format!("https://panel.test/hooks/{APP}"))
            .method("POST")
            .header("X-GitHub-Event", "push")
            .header("Expect", "")
            .option(&["--data-binary", &format!("@{}", file.display())]);
        request.send().unwrap()
    });
    assert_eq!(answer.status, 413, "{}", answer.text());
}

/// A deploy under load: not one failed request, and a 5 s answer begun before the switch ends whole.
pub fn f4_no_request_fails_during_a_deploy(world: &mut World) {
    world.set_version("second");
    let before = world.newest_deploy_id();
    let old = world.app("/").header("x-instance").to_owned();
    let load = Load::start(&world.public(), &format!("{URL}/healthz"), 40, |body| {
        body.contains("ok")
    });
    world.push_to_live("second-push");
    // Slow answers are begun all the while, so that some are under way when the traffic moves.
    let mut slow = Vec::new();
    until("the deploy to end", crate::app::DEPLOY, || {
        let public = world.public();
        slow.push(std::thread::spawn(move || {
            public
                .get(&format!("{URL}/slow?seconds=5"))
                .send()
                .map(|a| (a.status, a.text(), a.took))
        }));
        std::thread::sleep(secs(1));
        let deploy = world.newest_deploy().unwrap();
        let state = deploy["state"].as_str().unwrap().to_lowercase();
        if deploy["id"].as_i64() > Some(before) && ["live", "watching"].contains(&state.as_str()) {
            return Ok(());
        }
        assert_ne!(state, "failed", "{deploy:#}");
        Err(state)
    });
    for slow in slow {
        let (status, text, took) = slow.join().unwrap().unwrap();
        assert_eq!(status, 200, "{text}");
        assert!(
            text.contains("segundos") && took >= secs(5),
            "{text} after {took:?}"
        );
    }
    let report = load.finish();
    report.assert_flawless(200);
    assert!(
        report.instances.len() > 1,
        "only {:?} answered",
        report.instances
    );
    assert_eq!(world.version(), "second");
    until_true("the old replica to be gone", secs(120), || {
        !world
            .docker(&["ps", "-q", "--no-trunc"])
            .lines()
            .any(|id| id.starts_with(&old))
    });
}

pub fn f4_rollback(world: &mut World) {
    let load = Load::start(&world.public(), &format!("{URL}/healthz"), 20, |body| {
        body.contains("ok")
    });
    let before = world.newest_deploy_id();
    world.fh.cli(&["rollback", APP]);
    world.live_after(before);
    load.finish().assert_flawless(10);
    assert_eq!(world.version(), "tarefas");
}

/// The sample app in a folder of its own, its build longer by `steps`.
fn sample_with(world: &World, name: &str, steps: &[&str]) -> PathBuf {
    let folder = world.path(name);
    run(Command::new("cp")
        .arg("-a")
        .arg(World::sample())
        .arg(&folder));
    let file = folder.join("Dockerfile");
    let dockerfile = std::fs::read_to_string(&file).unwrap();
    assert!(dockerfile.contains("USER nobody"));
    // Steps of their own each time, so that no cache of an earlier run answers.
    let unique = std::process::id();
    let more: String = steps
        .iter()
        .map(|step| format!("RUN : {unique} && {step}\n"))
        .collect();
    let longer = dockerfile.replace("USER nobody", &format!("{more}USER nobody"));
    std::fs::write(&file, longer).unwrap();
    folder
}

/// A line printed before a step that takes its time is seen before the step ends.
pub fn f4_deploy_of_a_folder_streams_its_log(world: &mut World) {
    let folder = sample_with(
        world,
        "folder",
        &["echo seen-before-the-step-ends && sleep 15 && echo ended-at $(date +%s%3N)"],
    );
    let mut child = world
        .fh
        .command(&["deploy", &folder.display().to_string(), "--app", APP])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut seen = None;
    let mut ended = None;
    let mut released = false;
    for line in lines.by_ref().map_while(Result::ok) {
        released |= line.contains("python -m app.migrate");
        // BuildKit shows the command too; only its output is a line of its own.
        if line.trim_end().ends_with("seen-before-the-step-ends") && !line.contains("RUN") {
            seen.get_or_insert_with(now_ms);
        } else if let Some((_, at)) = line.split_once("ended-at ") {
            let at: Option<u128> = at.trim().parse().ok();
            ended = ended.or(at);
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(
        released,
        "the folder's freehold.toml, which .dockerignore names, was not read"
    );
    let (seen, ended) = (seen.expect("no line"), ended.expect("no end"));
    assert!(seen < ended, "seen at {seen}, the step ended at {ended}");
    world.app_is_up();
}

/// kill -9 of the daemon while a step sleeps: the page that is open goes on with the log by itself, and has each line once.
pub fn f4_the_log_in_a_browser_outlives_the_daemon(world: &mut World) {
    let folder = sample_with(
        world,
        "outlived",
        &[
            "sleep 3 && echo before-$((6 * 7))",
            "sleep 5 && echo after-$((6 * 7))",
        ],
    );
    let browser = world.owner(|_| {});
    let before = world.newest_deploy_id();
    let folder = folder.display().to_string();
    let queued = world
        .fh
        .json(&["deploy", &folder, "--app", APP, "--detach"]);
    let page = format!("/apps/{APP}/deploys/{}", queued["deploy"]);
    browser.go(&format!("https://panel.test{page}"));
    browser.script("window.opened_once = true");
    let log = || {
        let log = browser.script("return document.getElementById('log').textContent");
        log.as_str().unwrap_or_default().to_owned()
    };
    let shown = |word: &str| {
        until(&format!("the page to show {word}"), DEPLOY, || {
            let log = log();
            log.contains(word).then_some(()).ok_or(log)
        });
    };
    shown("before-42");
    world.fh.kill();
    shown("after-42");
    world.live_after(before);
    let whole = world.owner_page(&format!("{page}/log"));
    until("the page to have the whole log once", secs(120), || {
        let log = log();
        (log == whole).then_some(()).ok_or(log)
    });
    assert_eq!(browser.script("return window.opened_once === true"), true);
}

/// A line of one step is on the deploy's page, in a browser that runs the script, while the step after it sleeps.
pub fn f4_the_log_streams_live_to_the_browser(world: &mut World) {
    let folder = sample_with(
        world,
        "watched",
        // The first seconds let the page open, and a slow browser has longer; what counts is what the clocks say.
        &[
            "sleep 3 && echo printed-at $(date +%s%3N)",
            "sleep 15 && echo ended-at $(date +%s%3N)",
        ],
    );
    let browser = world.owner(|_| {});
    let before = world.newest_deploy_id();
    let folder = folder.display().to_string();
    let queued = world
        .fh
        .json(&["deploy", &folder, "--app", APP, "--detach"]);
    let id = &queued["deploy"];
    browser.go(&format!("https://panel.test/apps/{APP}/deploys/{id}"));
    // The time a step told, and when the page had it; BuildKit shows the command too, without a time.
    let shown = |word: &str| {
        until(&format!("the page to show {word}"), DEPLOY, || {
            let log = browser.script("return document.getElementById('log').textContent");
            let log = log.as_str().unwrap_or_default();
            let time = |line: &str| -> Option<u128> {
                let (_, after) = line.split_once(word)?;
                after.split_whitespace().next()?.parse().ok()
            };
            let told = log.lines().find_map(time);
            told.map(|told| (told, now_ms()))
                .ok_or_else(|| log.to_owned())
        })
    };
    let (printed, seen) = shown("printed-at ");
    let (ended, _) = shown("ended-at ");
    assert!(
        ended >= printed + 15_000 && seen < ended,
        "printed at {printed}, on the page at {seen}, the step ended at {ended}"
    );
    println!(
        "    on the page {} ms after it was printed, {} ms before the step ended",
        seen.saturating_sub(printed),
        ended - seen
    );
    world.live_after(before);
    until_true("the page to say that it is live", secs(120), || {
        let state = browser.script("return document.getElementById('deploy-state').textContent");
        state
            .as_str()
            .unwrap_or_default()
            .trim()
            .starts_with("Live")
    });
}

fn now_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

pub fn f4_deploy_of_an_image_behind_a_password(world: &mut World) {
    let image = world.docker(&[
        "inspect",
        "--format",
        "{{.Image}}",
        &world.app_is_up_container(),
    ]);
    let reference = world
        .registry
        .push(&image, "shop/tasks:1", &world.path("docker-login"));
    let out = world.try_deploy(&["--image", &reference]);
    assert!(!out.status.success(), "pulled without the password");
    let before = world.newest_deploy_id();
    let (user, password) = (world.registry.user.clone(), world.registry.password.clone());
    let mut child = world
        .fh
        .command(&[
            "deploy",
            "--app",
            APP,
            "--image",
            &reference,
            "--registry-user",
            &user,
        ])
        .env("FREEHOLD_REGISTRY_PASSWORD", password)
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    world.live_after(before);
    world.app_is_up();
}

pub fn f4_a_broken_dockerfile_changes_nothing(world: &mut World) {
    let folder = world.path("broken");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("Dockerfile"),
        "FROM python:3.13-slim\nRNU pip install x\n",
    )
    .unwrap();
    let instance = world.app("/").header("x-instance").to_owned();
    let out = world.try_deploy(&[&folder.display().to_string()]);
    let said = crate::support::freehold::words(&out);
    assert!(!out.status.success() && said.contains("RNU"), "{said}");
    assert_eq!(world.app("/").header("x-instance"), instance);
}

/// The log has the last answer, the check's URL, listening ports and the container's last lines; the old one serves on.
pub fn f4_a_release_that_never_gets_healthy_changes_nothing(world: &mut World) {
    let load = Load::start(&world.public(), &format!("{URL}/healthz"), 20, |body| {
        body.contains("ok")
    });
    // It listens elsewhere; it answers, but not well.
    for (port, wanted) in [(9000, "9000"), (8000, "Last answer: 404")] {
        let folder = world.path(&format!("never-healthy-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let serve = format!("echo words of the app; exec python -u -m http.server {port}");
        let dockerfile = format!("FROM python:3.13-slim\nCMD [\"sh\", \"-c\", \"{serve}\"]\n");
        std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
        let settings =
            "[processes.web]\nport = 8000\nhealth = \"/healthz\"\nstart_deadline = \"8s\"\n";
        std::fs::write(folder.join("freehold.toml"), settings).unwrap();
        let out = world.try_deploy(&[&folder.display().to_string()]);
        let said = crate::support::freehold::words(&out);
        assert!(!out.status.success(), "{said}");
        for wanted in ["/healthz", "Last answer: ", "words of the app", wanted] {
            assert!(said.contains(wanted), "no {wanted:?} in:\n{said}");
        }
    }
    load.finish().assert_flawless(20);
}
