//! A5: an entry tells what was changed. Every route that changes something is used here for what it is there for, and its
//! entry has to say more than that it was used; the few that cannot be used here stand in a list with the reason.

use std::collections::BTreeSet;
use std::time::Duration;

use freehold::web::table;
use serde_json::{Value, json};

use super::told_people::{accounts, coming_in, people};
use super::{FORM, JSON, World, body, unchunked};

/// Unsafe routes that are not used below, and why.
const NOT_HERE: &[(&str, &[&str])] = &[
    (
        "exempt: it sets a cookie of the browser that asks",
        &["POST /theme"],
    ),
    (
        "a5_a_git_host_is_told_by_name_and_delivery looks at its entry",
        &["POST /hooks/{app}"],
    ),
    (
        "needs a state that was damaged: tests/damage.rs confirms one",
        &["POST /api/v1/doctor/confirm"],
    ),
    (
        "another daemon would take this one's place: tests/drops hands over",
        &["POST /api/v1/handover"],
    ),
    (
        "needs a container: a5_what_was_run_and_backed_up_is_told looks at these entries, in first_light",
        &[
            "POST /apps/{app}/exec",
            "POST /api/v1/apps/{app}/exec",
            "POST /apps/{app}/run",
            "POST /api/v1/apps/{app}/run",
            "POST /databases/{database}/sql",
            "POST /api/v1/databases/{name}/psql",
        ],
    ),
    (
        "asks a server that runs for its parts: as those above",
        &[
            "POST /databases/{database}/backups",
            "POST /api/v1/databases/{name}/backups",
        ],
    ),
];

/// What was used, and what was wrong with its entry.
pub struct Walk<'a> {
    pub world: &'a World,
    used: BTreeSet<String>,
    wrong: Vec<String>,
    /// The entry that was judged last.
    last: i64,
}

impl<'a> Walk<'a> {
    fn new(world: &'a World) -> Self {
        Self {
            world,
            used: BTreeSet::new(),
            wrong: Vec::new(),
            last: 0,
        }
    }

    /// Judges the entry that this answer left.
    fn judge(&mut self, route: &str, (status, text): (u16, String)) -> String {
        self.used.insert(route.to_owned());
        let entry = self.world.last();
        let id = entry["id"].as_i64().unwrap();
        if std::mem::replace(&mut self.last, id) == id {
            self.wrong
                .push(format!("{route}: no entry: {status}: {text}"));
            return text;
        }
        let none = json!({});
        let empty = |field: &str| entry[field].is_null() || entry[field] == none;
        // A detail is a sentence for a person; what differs is for whoever searches.
        if status >= 400 || entry["state"] != "done" {
            self.wrong
                .push(format!("{route}: {status}: {entry}: {text}"));
        } else if empty("before") && empty("after") {
            self.wrong.push(format!("{route} tells nothing: {entry}"));
        }
        text
    }

    /// On the box's own socket.
    pub fn local(&mut self, route: &str, path: &str, sent: &Value) -> String {
        let (method, _) = route.split_once(' ').unwrap();
        let said = self.world.local(method, path, &sent.to_string());
        self.judge(route, said)
    }

    /// With the session of these headers: a form for a page, JSON for the API.
    pub fn session(&mut self, who: &str, route: &str, path: &str, sent: &str) -> String {
        let (method, _) = route.split_once(' ').unwrap();
        let kind = if path.starts_with("/api/") {
            JSON
        } else {
            FORM
        };
        let headers = format!("{kind}{who}");
        let said = self.world.edge(method, path, &headers, sent);
        self.judge(route, said)
    }

    /// The mark of the one session that `name` has.
    pub fn mark(&self, name: &str) -> String {
        let path = format!("/api/v1/users/{name}/sessions");
        let (_, text) = self.world.local("GET", &path, "");
        json_of(&text)["items"][0]["mark"]
            .as_str()
            .unwrap_or_else(|| panic!("{text}"))
            .to_owned()
    }

    fn done(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        let unsafe_ones = table()
            .into_iter()
            .filter(|r| !matches!(r.method.as_str(), "GET" | "HEAD" | "OPTIONS"))
            .map(|r| format!("{} {}", r.method, r.path));
        let all: BTreeSet<String> = unsafe_ones.collect();
        let listed: BTreeSet<String> = NOT_HERE
            .iter()
            .flat_map(|(_, routes)| routes.iter().map(|r| (*r).to_owned()))
            .collect();
        let known: BTreeSet<String> = self.used.union(&listed).cloned().collect();
        let forgotten: Vec<_> = all.difference(&known).collect();
        assert!(forgotten.is_empty(), "used by nothing here: {forgotten:?}");
        let stray: Vec<_> = known.difference(&all).collect();
        assert!(stray.is_empty(), "no routes: {stray:?}");
        let twice: Vec<_> = self.used.intersection(&listed).collect();
        assert!(twice.is_empty(), "used, and excused: {twice:?}");
    }
}

pub fn json_of(answer: &str) -> Value {
    serde_json::from_str(&unchunked(body(answer))).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

/// The saboteur: a switch that stands where it is put already is the change nobody told of.
#[test]
fn a5_a_change_that_is_not_told_fails_the_walk() {
    let world = World::new();
    let mut walk = Walk::new(&world);
    let route = "POST /api/v1/apps/{app}/maintenance";
    let path = "/api/v1/apps/shop/maintenance";
    walk.local(route, path, &json!({"on": true}));
    assert!(walk.wrong.is_empty(), "{:?}", walk.wrong);
    walk.local(route, path, &json!({"on": true}));
    assert_eq!(walk.wrong.len(), 1, "{:?}", walk.wrong);
    assert!(walk.wrong[0].contains("tells nothing"), "{:?}", walk.wrong);
}

#[test]
fn a5_every_change_tells_what_it_changed() {
    let world = World::new();
    let mut walk = Walk::new(&world);
    let link = walk.local("POST /api/v1/setup-link", "/api/v1/setup-link", &json!({}));
    let owner = world.come_in(&link);
    let came_in = world.log("action=user.set-up")[0].clone();
    assert!(came_in["after"]["session"].is_string(), "{came_in}");
    walk.used.insert("POST /setup/{token}".to_owned());
    apps(&mut walk, &owner);
    deploys(&mut walk, &owner);
    live(&mut walk, &owner);
    box_things(&mut walk, &owner);
    databases(&mut walk, &owner);
    jobs(&mut walk, &owner);
    people(&mut walk, &owner);
    accounts(&mut walk, &owner);
    coming_in(&mut walk);
    walk.local(
        "DELETE /api/v1/apps/{app}",
        "/api/v1/apps/shop?volumes=false",
        &json!({}),
    );
    assert_eq!(world.last()["after"]["volumes"], "kept");
    walk.session(
        &owner,
        "POST /apps/{app}/remove",
        "/apps/blog/remove",
        "typed=blog&volumes=true",
    );
    assert_eq!(world.last()["after"]["volumes"], "deleted");
    walk.done();
}

fn apps(walk: &mut Walk<'_>, owner: &str) {
    walk.local(
        "POST /api/v1/apps",
        "/api/v1/apps",
        &json!({"name": "third"}),
    );
    walk.session(owner, "POST /apps", "/apps", "name=blog");
    let at = "/api/v1/apps/shop";
    walk.local(
        "PATCH /api/v1/apps/{app}",
        at,
        &json!({"git_branch": "next"}),
    );
    let post = |of: &str| format!("POST /apps/{{app}}{of}");
    let page = |of: &str| format!("/apps/shop{of}");
    for (of, sent) in [
        (
            "/source",
            "repository=https%3A%2F%2Fgit.test%2Fx.git&branch=main",
        ),
        (
            "/registry",
            "registry_host=ghcr.io&registry_user=ana&registry_password=x",
        ),
        ("/env", "name=ONE&value=1"),
        ("/env/unset", "name=ONE"),
        ("/env/import", "import=TWO%3D2"),
        ("/env/reveal", "name=TWO"),
        ("/domains", "domain=one.test"),
        ("/domains/remove", "domain=one.test"),
        ("/maintenance", "on=true"),
        ("/scale", "process=web&replicas=2"),
        ("/webhook-secret/replace", ""),
        ("/webhook-secret", ""),
    ] {
        walk.session(owner, &post(of), &page(of), sent);
    }
    let route = |of: &str| format!("POST /api/v1/apps/{{app}}{of}");
    let path = |of: &str| format!("{at}{of}");
    walk.local(
        "PATCH /api/v1/apps/{app}/env",
        &path("/env"),
        &json!({"set": {"THREE": "3"}}),
    );
    for (of, sent) in [
        ("/env/reveal", json!({})),
        ("/domains", json!({"domain": "two.test"})),
        ("/maintenance", json!({"on": false})),
        ("/scale", json!({"process": "web", "replicas": "3"})),
        ("/webhook-secret", json!({})),
        ("/webhook-secret/reveal", json!({})),
    ] {
        walk.local(&route(of), &path(of), &sent);
    }
    let policies = "/domains/{domain}/policies";
    let two = "/domains/two.test/policies";
    walk.session(owner, &post(policies), &page(two), "rate=5%2Fminute");
    walk.local(
        &format!("PUT /api/v1/apps/{{app}}{policies}"),
        &path(two),
        &json!({"hsts": true}),
    );
    walk.local(
        &format!("DELETE /api/v1/apps/{{app}}{policies}"),
        &path(two),
        &json!({}),
    );
    walk.local(
        "DELETE /api/v1/apps/{app}/domains",
        &path("/domains?domain=two.test"),
        &json!({}),
    );
}

/// Deploys whose fetch never ends, since nobody answers at the address.
fn deploys(walk: &mut Walk<'_>, owner: &str) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let git = json!({ "git_url": format!("https://127.0.0.1:{port}/x.git") });
    let at = "/api/v1/apps/shop/deploys";
    let number = |text: &str| json_of(text)["deploy"].as_i64().unwrap();
    let one = number(&walk.local("POST /api/v1/apps/{app}/deploys", at, &git));
    walk.local(
        "POST /api/v1/apps/{app}/deploys/{id}/cancel",
        &format!("{at}/{one}/cancel"),
        &json!({}),
    );
    let (_, text) = walk.world.local("POST", at, &git.to_string());
    let two = number(&text);
    walk.session(
        owner,
        "POST /apps/{app}/deploys/{id}/cancel",
        &format!("/apps/shop/deploys/{two}/cancel"),
        "",
    );
    walk.session(
        owner,
        "POST /apps/{app}/deploys",
        "/apps/shop/deploys",
        "image=127.0.0.1%3A9%2Fx",
    );
    let form = "--x\r\nContent-Disposition: form-data; name=\"form-token\"\r\n\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"folder\"\r\n\r\nno tar\r\n--x--";
    let headers = format!("Content-Type: multipart/form-data; boundary=x\r\n{owner}");
    let page = "/apps/shop/deploys/upload";
    let said = walk.world.edge("POST", page, &headers, form);
    walk.judge("POST /apps/{app}/deploys/upload", said);
    let upload = "POST /api/v1/apps/{app}/deploys/upload";
    let said = walk.world.local("POST", &format!("{at}/upload"), "no tar");
    walk.judge(upload, said);
}

/// An app that is live, as far as its rows say.
fn live(walk: &mut Walk<'_>, owner: &str) {
    state(walk)
        .execute_batch(
            "INSERT INTO releases (id, app_id, number, image, image_tag, settings, env, created_ms, live_ms)
                SELECT n.id, a.id, n.id, 'sha256:0', 'shop:v' || n.id, json_object('dockerfile', 'Dockerfile',
                'processes', json_object('web', json_object('min', 1, 'max', 1))), x'00', n.id, n.id
                FROM apps a, (SELECT 1 AS id UNION SELECT 2) n WHERE a.name = 'shop';
             INSERT INTO deploys (id, app_id, state, source, cause, by_whom, release_id, created_ms, state_ms, switched_ms, finished_ms)
                SELECT 9000 + r.id, r.app_id, 'live', json_object('kind', 'image', 'reference', 'shop:1'), 'cli', 'ana',
                r.id, r.id, r.id, r.id, r.id FROM releases r;
             INSERT INTO app_live (app_id, release_id, deploy_id, replicas, since_ms)
                SELECT id, 2, 9002, '{}', 1 FROM apps WHERE name = 'shop';",
        )
        .unwrap();
    for of in ["rollback", "restart", "stop", "start"] {
        walk.local(
            &format!("POST /api/v1/apps/{{app}}/{of}"),
            &format!("/api/v1/apps/shop/{of}"),
            &json!({}),
        );
        tells(walk, of);
    }
    // Without an engine the start comes to no end.
    state(walk)
        .execute_batch("UPDATE app_live SET stopped = 0")
        .unwrap();
    for of in ["rollback", "restart", "stop", "start"] {
        let route = format!("POST /apps/{{app}}/{of}");
        walk.session(owner, &route, &format!("/apps/shop/{of}"), "");
        tells(walk, of);
    }
}

/// The newest entry names the deploy that was asked for; a stop's, that the app is stopped.
fn tells(walk: &Walk<'_>, of: &str) {
    let entry = walk.world.last();
    match of {
        "stop" => {
            let told = (&entry["before"]["stopped"], &entry["after"]["stopped"]);
            assert_eq!(told, (&json!(false), &json!(true)), "{entry}");
        }
        _ => assert!(entry["after"]["deploy"].is_number(), "{of}: {entry}"),
    }
}

/// Attachments as they are asked for; the server's part of it waits for an engine.
fn attachments(walk: &mut Walk<'_>, owner: &str) {
    let at = "/api/v1/databases/main/attachments";
    let entry = |walk: &Walk<'_>, app: &str| {
        let entry = walk.world.last();
        let told = format!(
            "{} {} {}",
            entry["subject"], entry["before"], entry["after"]
        );
        assert!(told.contains(app) && told.contains("main"), "{entry}");
    };
    let wish = json!({ "app": "shop" });
    walk.local("POST /api/v1/databases/{name}/attachments", at, &wish);
    entry(walk, "shop");
    state(walk)
        .execute_batch("UPDATE attachments SET state = 'attached'")
        .unwrap();
    walk.local(
        "POST /api/v1/databases/{name}/attachments/{app}/reveal",
        &format!("{at}/shop/reveal"),
        &json!({}),
    );
    entry(walk, "shop");
    walk.local(
        "DELETE /api/v1/databases/{name}/attachments/{app}",
        &format!("{at}/shop"),
        &json!({}),
    );
    entry(walk, "shop");
    let attach = "POST /databases/{database}/attach";
    walk.session(owner, attach, "/databases/main/attach", "app=blog");
    entry(walk, "blog");
    let detach = "POST /databases/{database}/detach";
    walk.session(owner, detach, "/databases/main/detach", "app=blog");
    entry(walk, "blog");
    let attach = "POST /apps/{app}/attach";
    walk.session(owner, attach, "/apps/third/attach", "database=main");
    entry(walk, "third");
}

fn box_things(walk: &mut Walk<'_>, owner: &str) {
    let folder = walk.world.daemon.data().parent().unwrap().to_owned();
    let place = |name: &str| {
        let at = folder.join(name);
        std::fs::create_dir(&at).unwrap();
        format!("dir://{}", at.display())
    };
    let usb = json!({ "name": "usb", "place": place("usb") });
    walk.local("POST /api/v1/targets", "/api/v1/targets", &usb);
    let form = format!("name=disk&place={}", place("disk").replace('/', "%2F"));
    walk.session(owner, "POST /settings/targets", "/settings/targets", &form);
    let on_page = |walk: &mut Walk<'_>, of: &str, sent: &str| {
        let route = format!("POST /settings/targets/{{target}}/{of}");
        walk.session(owner, &route, &format!("/settings/targets/usb/{of}"), sent);
    };
    on_page(walk, "test", "");
    // The one that was added on the page is the default by that.
    on_page(walk, "use", "");
    for of in ["test", "default"] {
        walk.local(
            &format!("POST /api/v1/targets/{{name}}/{of}"),
            &format!("/api/v1/targets/disk/{of}"),
            &json!({}),
        );
    }
    on_page(walk, "remove", "typed=usb");
    walk.local(
        "DELETE /api/v1/targets/{name}",
        "/api/v1/targets/disk",
        &json!({}),
    );
    let check = json!({ "name": "docs", "url": "http://127.0.0.1:9/" });
    let made = walk.local("POST /api/v1/checks", "/api/v1/checks", &check);
    let id = json_of(&made)["id"].as_i64().unwrap();
    walk.local(
        "DELETE /api/v1/checks/{check}",
        &format!("/api/v1/checks/{id}"),
        &json!({}),
    );
    walk.session(
        owner,
        "POST /checks",
        "/checks",
        "name=shop&url=http%3A%2F%2F127.0.0.1%3A9%2F",
    );
    let id = walk.world.last()["after"]["id"].as_i64().unwrap();
    walk.session(
        owner,
        "POST /checks/{id}/remove",
        &format!("/checks/{id}/remove"),
        "",
    );
    let token = json!({ "name": "ci", "verb": "read" });
    let made = walk.local("POST /api/v1/tokens", "/api/v1/tokens", &token);
    let id = json_of(&made)["id"].as_i64().unwrap();
    walk.local(
        "DELETE /api/v1/tokens/{id}",
        &format!("/api/v1/tokens/{id}"),
        &json!({}),
    );
    walk.session(
        owner,
        "POST /account/tokens",
        "/account/tokens",
        "name=laptop&verb=read&days=9",
    );
    let id = walk.world.last()["after"]["id"].as_i64().unwrap();
    walk.session(
        owner,
        "POST /account/tokens/end",
        "/account/tokens/end",
        &format!("id={id}"),
    );
}

fn state(walk: &Walk<'_>) -> rusqlite::Connection {
    let state = rusqlite::Connection::open(walk.world.daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(10)).unwrap();
    state
}

fn databases(walk: &mut Walk<'_>, owner: &str) {
    // A server that was ready, with a backup that is stored and two restores that are done.
    state(walk)
        .execute_batch(
            "INSERT INTO databases (id, name, version, image, memory_bytes, password_sealed, state, created_ms, changed_ms)
             VALUES (70, 'main', 17, 'postgres:17', 1, x'00', 'ready', 1, 1);
             INSERT INTO backups (id, database_id, database_name, logical, owner, server_version, expected_bytes, object_key, state,
                 cause, attempt, size_bytes, sha256, created_ms, due_ms, started_ms, finished_ms)
             VALUES (7, 70, 'main', 'shop', 'shop', 17, 4096, 'x', 'stored', 'asked', 1, 2048, 'ab12', 1, 1, 1, 2);
             INSERT INTO restores (id, backup_id, database_id, logical, fresh, kept, state, created_ms, finished_ms)
             VALUES (1, 7, 70, 'shop', 'shop_restore_1', 'shop_before_1', 'done', 3, 4),
                    (2, 7, 70, 'shop', 'shop_restore_2', 'shop_before_2', 'done', 3, 4);",
        )
        .unwrap();
    attachments(walk, owner);
    walk.local(
        "POST /api/v1/backups/{id}/verify",
        "/api/v1/backups/7/verify",
        &json!({}),
    );
    assert_eq!(walk.world.last()["after"]["check"], "running");
    state(walk)
        .execute_batch("UPDATE backups SET check_state = NULL WHERE id = 7")
        .unwrap();
    walk.session(
        owner,
        "POST /databases/{database}/backups/{backup}/verify",
        "/databases/main/backups/7/verify",
        "",
    );
    assert_eq!(walk.world.last()["after"]["check"], "running");
    walk.local(
        "POST /api/v1/backups/{id}/restore",
        "/api/v1/backups/7/restore",
        &json!({}),
    );
    let entry = walk.world.last();
    assert_eq!(
        (&entry["after"]["restore"], &entry["after"]["into"]),
        (&json!(3), &json!("main")),
        "{entry}"
    );
    walk.session(
        owner,
        "POST /databases/{database}/restore/{backup}",
        "/databases/main/restore/7",
        "typed=shop",
    );
    assert_eq!(walk.world.last()["after"]["into"], "main");
    walk.local(
        "POST /api/v1/restores/{id}/confirm",
        "/api/v1/restores/1/confirm",
        &json!({}),
    );
    assert_eq!(walk.world.last()["after"]["dropped"], "shop_before_1");
    walk.session(
        owner,
        "POST /databases/{database}/restores/{restore}/confirm",
        "/databases/main/restores/2/confirm",
        "typed=shop_before_2",
    );
    assert_eq!(walk.world.last()["after"]["dropped"], "shop_before_2");
    let new = json!({ "name": "second" });
    walk.local("POST /api/v1/databases", "/api/v1/databases", &new);
    walk.session(
        owner,
        "POST /databases",
        "/databases",
        "name=third&version=17&memory=512M",
    );
    walk.local(
        "DELETE /api/v1/databases/{name}",
        "/api/v1/databases/second",
        &json!({ "confirm": "second" }),
    );
    walk.session(
        owner,
        "POST /databases/{database}/remove",
        "/databases/third/remove",
        "typed=third",
    );
}

fn jobs(walk: &mut Walk<'_>, owner: &str) {
    // Checks that are not due yet: what has not begun can be taken back.
    state(walk)
        .execute_batch(
            "INSERT INTO jobs (id, kind, key, payload, state, run_at_ms, attempts, created_ms)
             VALUES (900, 'backup.check', 'later:1', '{\"backup\":7}', 'queued', 4102444800000, 0, 1),
                    (901, 'backup.check', 'later:2', '{\"backup\":7}', 'queued', 4102444800000, 0, 1);",
        )
        .unwrap();
    walk.local(
        "POST /api/v1/jobs/{id}/cancel",
        "/api/v1/jobs/900/cancel",
        &json!({}),
    );
    let entry = walk.world.last();
    assert_eq!(
        (&entry["before"]["state"], &entry["after"]["state"]),
        (&json!("queued"), &json!("cancelled")),
        "{entry}"
    );
    walk.session(owner, "POST /jobs/{id}/cancel", "/jobs/901/cancel", "");
}
