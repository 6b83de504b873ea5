//! A4: every URL of the table, walked as everybody there can be.
//!
//! The daemon is the real one, without an engine: what is denied must be denied
//! whatever else works.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use freehold::base::clock::UnixMs;
use freehold::users::{Grant, Role, Verb};
use freehold::web::{Caller, Needs, Verdict, decide, table};

#[path = "support/forms.rs"]
mod forms;
#[path = "support/quiet.rs"]
mod quiet;
#[path = "support/visitors.rs"]
#[allow(dead_code, reason = "shared with tests that need all of it")]
mod visitors;

use quiet::Daemon;
use visitors::{Somebody, World, ask, bearer, concrete, nobody, signed_in, token_in, token_of};

#[test]
fn a4_every_url_answers_everybody_as_the_table_says() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let owner = world.come_in(&link);
    let removed = world.somebody("removed", Role::Admin, &[]);
    let (status, text) = world.local("DELETE", "/api/v1/users/removed", "");
    assert_eq!(status, 204, "{text}");
    let ended = world.program("an ended token", Verb::Change, None);
    let (status, text) = world.local("DELETE", "/api/v1/tokens/1", "");
    assert_eq!(status, 204, "{text}");
    let all = [
        nobody("nobody", world.stranger("")),
        nobody("a forger", world.stranger("forged")),
        nobody("somebody taken out", world.stranger(token_of(&removed))),
        nobody("an ended token", ended.headers),
        world.program("a token that reads", Verb::Read, None),
        world.program("a token of another app", Verb::Change, Some(&["blog"])),
        world.program("a token that deploys", Verb::Deploy, Some(&["shop"])),
        world.program("a token that changes", Verb::Change, None),
        world.somebody("a viewer", Role::Viewer, &[]),
        world.somebody("developer of another app", Role::Developer, &["blog"]),
        world.somebody("developer", Role::Developer, &["shop"]),
        world.somebody("an admin", Role::Admin, &[]),
        Somebody {
            what: "the owner",
            headers: world.signed_in(&owner),
            caller: Caller::User {
                id: 0,
                name: "owner".into(),
                grant: Grant::everything(),
                token: String::new(),
                confirmed: UnixMs::now(),
            },
        },
    ];
    let mut wrong = Vec::new();
    // First what is refused, while everything is there; then what is allowed, the last things last.
    for refused in [true, false] {
        for who in &all {
            let mut routes = table();
            routes.sort_by_key(|r| {
                let last = r.path.ends_with("remove") || r.method == "DELETE";
                (r.path == "/sign-out", last)
            });
            for route in routes {
                let app = route.path.contains("{app}").then_some("shop");
                let verdict = decide(route.needs, &who.caller, app);
                if (verdict == Verdict::Yes) == refused {
                    continue;
                }
                let path = concrete(route.path, "shop");
                let method = route.method.as_str();
                let (status, text) = world.edge(method, &path, &who.headers, "");
                let right = match verdict {
                    // A token that is none is told so wherever it knocks.
                    _ if who.what == "an ended token" => status == 401,
                    Verdict::SignIn => status == 401,
                    Verdict::No => status == 403,
                    Verdict::Hidden => {
                        let (_, gone) =
                            world.edge(method, &concrete(route.path, "nope"), &who.headers, "");
                        status == 404 && body(&text).replace("shop", "nope") == body(&gone)
                    }
                    Verdict::Yes => {
                        ![0, 403, 500].contains(&status) && (status != 401 || path == "/sign-in")
                    }
                };
                if !right {
                    wrong.push(format!(
                        "{method} {path} as {}: {verdict:?}, but {text}",
                        who.what
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn a4_a_developer_reads_nothing_of_other_apps() {
    let world = World::new();
    let developer = world.somebody("developer", Role::Developer, &["blog"]);
    for path in ["/", "/account", "/api/v1/apps", "/api/v1/overview"] {
        let (status, text) = world.edge("GET", path, &developer.headers, "");
        assert_eq!(status, 200, "{path}: {text}");
        assert!(!text.contains("shop"), "{path}: {text}");
        assert!(text.contains("blog"), "{path}: {text}");
    }
}

/// Figures of routes: a viewer reads all, a developer those of their apps, and nothing of the box.
#[test]
fn e7_a_developer_reads_the_figures_of_their_own_routes() {
    let world = World::new();
    for app in ["shop", "blog"] {
        let place = format!("{{\"domain\":\"{app}.test\"}}");
        let path = format!("/api/v1/apps/{app}/domains");
        let (status, text) = world.local("POST", &path, &place);
        assert!((200..300).contains(&status), "{text}");
    }
    let hosts = |who: &str| {
        let (status, text) = world.edge("GET", "/api/v1/routes", who, "");
        assert_eq!(status, 200, "{text}");
        let (_, page) = world.edge("GET", "/routes", who, "");
        let told: serde_json::Value = serde_json::from_str(body(&text)).unwrap();
        let of = |host: &str| {
            let mut all = told["routes"].as_array().unwrap().iter();
            let there = all.any(|route| route["host"] == host);
            assert_eq!(page.contains(host), there, "{host}: {page}");
            there
        };
        let edge = told["edge"].is_object();
        assert_eq!(page.contains("Open connections"), edge, "{page}");
        (of("shop.test"), of("blog.test"), edge)
    };
    let begun = std::time::Instant::now();
    // The edge takes up the domains in a moment.
    let there = |text: &str| text.contains("shop.test") && text.contains("blog.test");
    while !there(&world.local("GET", "/api/v1/routes", "").1) {
        assert!(begun.elapsed().as_secs() < 120, "the routes are not there");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let viewer = world.somebody("viewer", Role::Viewer, &[]);
    assert_eq!(hosts(&viewer.headers), (true, true, true));
    let developer = world.somebody("developer", Role::Developer, &["blog"]);
    assert_eq!(hosts(&developer.headers), (false, true, false));
    let other = world.somebody("another", Role::Developer, &["shop"]);
    assert_eq!(hosts(&other.headers), (true, false, false));
}

/// What happened to an app is for whoever may see it, on its page and in the API alike.
#[test]
fn a1_a_developer_is_told_what_happened_to_their_app() {
    let world = World::new();
    let developer = world.somebody("developer", Role::Developer, &["blog"]);
    let told = |path: &str| world.edge("GET", path, &developer.headers, "");
    for path in ["/apps/blog/activity", "/api/v1/apps/blog/events"] {
        let (status, text) = told(path);
        assert_eq!(status, 200, "{path}: {text}");
        assert!(text.contains("blog was created"), "{path}: {text}");
        assert!(!text.contains("shop"), "{path}: {text}");
    }
    assert_eq!(told("/api/v1/apps/shop/events").0, 404);
    assert_eq!(told("/api/v1/events").0, 403);
    let (_, text) = told("/api/v1/apps/blog/events?level=error");
    assert!(text.contains("\"items\":[]"), "{text}");
}

/// What a page offers is what its reader may do.
#[test]
fn a4_a_developer_is_offered_no_database() {
    let world = World::new();
    let developer = world.somebody("developer", Role::Developer, &["blog"]);
    let (status, text) = world.edge("GET", "/apps/blog/env", &developer.headers, "");
    assert_eq!(status, 200, "{text}");
    assert!(!text.contains("href=\"/databases"), "{text}");
    assert!(text.contains("An admin or owner of this box"), "{text}");
    let admin = world.somebody("an admin", Role::Admin, &[]);
    let (_, text) = world.edge("GET", "/apps/blog/env", &admin.headers, "");
    assert!(text.contains("href=\"/databases\">Make one</a>"), "{text}");
}

/// A new link and a new password end sessions; what goes on all the same is told.
#[test]
fn a3_tokens_that_go_on_after_a_new_password_are_told() {
    let world = World::new();
    world.somebody("ana", Role::Admin, &[]);
    let (_, text) = world.local("POST", "/api/v1/users/ana/reset", "");
    assert!(text.contains("\"tokens_left\":0"), "{text}");
    let ana = world.signed_in(&world.come_in(&text));
    let json = format!("{ana}Content-Type: application/json\r\n");
    let (status, text) = world.edge(
        "POST",
        "/api/v1/tokens",
        &json,
        r#"{"name":"CI","verb":"read"}"#,
    );
    assert_eq!(status, 201, "{text}");
    let program = bearer(token_in(&text));
    let (_, text) = world.local("POST", "/api/v1/users/ana/reset", "");
    assert!(text.contains("\"tokens_left\":1"), "{text}");
    let (status, _) = world.edge("GET", "/api/v1/apps", &program, "");
    assert_eq!(status, 200, "it goes on, as told");
    let admin = world.somebody("an admin", Role::Admin, &[]);
    let (status, text) = world.edge("POST", "/settings/people/ana/reset", &admin.headers, "");
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("A token of ana goes on"), "{text}");
}

/// A job of another app is not there: not in the list, not by its number, not as a stream, not to be cancelled.
#[test]
fn a4_a_developer_knows_no_job_of_another_app() {
    let world = World::new();
    let image = r#"{"image":"127.0.0.1:9/shop:1"}"#;
    let (status, text) = world.local("POST", "/api/v1/apps/shop/deploys", image);
    assert_eq!(status, 202, "{text}");
    let (_, place) = text.split_once("location: ").unwrap();
    let place = place.lines().next().unwrap().trim();
    let ours = world.somebody("ours", Role::Developer, &["shop"]);
    let other = world.somebody("other", Role::Developer, &["blog"]);
    for path in [place.to_owned(), format!("{place}/events")] {
        assert_eq!(world.edge("GET", &path, &ours.headers, "").0, 200, "{path}");
        let (status, text) = world.edge("GET", &path, &other.headers, "");
        assert_eq!(status, 404, "{path}: {text}");
        assert!(!text.contains("shop"), "{path}: {text}");
    }
    let (status, text) = world.edge("POST", &format!("{place}/cancel"), &other.headers, "");
    assert_eq!(status, 404, "{text}");
    let (_, text) = world.edge("GET", "/api/v1/jobs", &ours.headers, "");
    assert!(text.contains("shop"), "{text}");
    for path in ["/api/v1/jobs", "/jobs"] {
        let (status, text) = world.edge("GET", path, &other.headers, "");
        assert_eq!(status, 200, "{path}");
        assert!(!text.contains("shop"), "{path}: {text}");
    }
    let (status, _) = world.edge("GET", "/api/v1/jobs?app=shop", &other.headers, "");
    assert_eq!(status, 404);
}

#[test]
fn a2_a_second_link_gives_what_the_first_would_have() {
    let world = World::new();
    let ana = r#"{"name":"ana","role":"developer","apps":["blog"]}"#;
    let (status, text) = world.local("POST", "/api/v1/users", ana);
    assert_eq!(status, 201, "{text}");
    let (status, text) = world.local("POST", "/api/v1/users/ana/reset", "");
    assert_eq!(status, 200, "{text}");
    let token = world.come_in(&text);
    let (_, text) = world.edge("GET", "/api/v1/apps", &signed_in(&token), "");
    assert!(text.contains("blog"), "{text}");
}

#[test]
fn a3_a_token_is_told_once_and_lists_its_use() {
    let world = World::new();
    let ana = world.somebody("ana", Role::Developer, &["blog"]);
    let json = format!("{}Content-Type: application/json\r\n", ana.headers);
    let new = r#"{"name":"CI","verb":"deploy"}"#;
    let (status, text) = world.edge("POST", "/api/v1/tokens", &json, new);
    assert_eq!(status, 201, "{text}");
    let token = token_in(&text).to_owned();
    assert!(token.starts_with("freehold_pat_"), "{token}");
    let (_, text) = world.edge("GET", "/api/v1/apps", &bearer(&token), "");
    assert!(text.contains("blog") && !text.contains("shop"), "{text}");
    let (_, text) = world.edge("GET", "/api/v1/tokens", &ana.headers, "");
    assert!(
        !text.contains(&token) && text.contains("\"used_ms\":1"),
        "{text}"
    );
    // It does what its user may, for as long as they may.
    let (status, _) = world.local("DELETE", "/api/v1/users/ana", "");
    assert_eq!(status, 204);
    let (status, _) = world.edge("GET", "/api/v1/apps", &bearer(&token), "");
    assert_eq!(status, 401);
}

#[test]
fn a3_nobody_ends_anothers_token_or_makes_one_for_an_app_they_do_not_know() {
    let world = World::new();
    let ana = world.somebody("ana", Role::Developer, &["blog"]);
    let (status, _) = world.local("POST", "/api/v1/tokens", r#"{"name":"box"}"#);
    assert_eq!(status, 201);
    let json = format!("{}Content-Type: application/json\r\n", ana.headers);
    let (status, text) = world.edge("DELETE", "/api/v1/tokens/1", &json, "");
    assert_eq!(status, 404, "{text}");
    let new = r#"{"name":"CI","apps":["shop"]}"#;
    let (status, text) = world.edge("POST", "/api/v1/tokens", &json, new);
    assert_eq!(status, 404, "{text}");
}

#[test]
fn a4_an_admin_touches_no_owner() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let owner = world.come_in(&link);
    let admin = world.somebody("admin", Role::Admin, &[]);
    let json = format!("{}Content-Type: application/json\r\n", admin.headers);
    for (method, path, sent) in [
        ("POST", "/api/v1/users", r#"{"name":"eve","role":"owner"}"#),
        ("PATCH", "/api/v1/users/admin", r#"{"role":"owner"}"#),
        ("PATCH", "/api/v1/users/owner", r#"{"role":"viewer"}"#),
        ("DELETE", "/api/v1/users/owner", ""),
        ("POST", "/api/v1/users/owner/reset", ""),
    ] {
        let (status, text) = world.edge(method, path, &json, sent);
        assert_eq!(status, 403, "{method} {path}: {text}");
    }
    let (status, _) = world.edge("GET", "/account", &signed_in(&owner), "");
    assert_eq!(status, 200, "the owner is still in");
}

/// What a program makes outlives its token: it makes no people, whatever its token may.
#[test]
fn a3_a_program_makes_no_people() {
    let world = World::new();
    world.somebody("bob", Role::Viewer, &[]);
    let program = world.program("a token that changes", Verb::Change, None);
    let json = format!("{}Content-Type: application/json\r\n", program.headers);
    for (method, path, sent) in [
        ("POST", "/api/v1/users", r#"{"name":"eve","role":"viewer"}"#),
        ("PATCH", "/api/v1/users/bob", r#"{"role":"admin"}"#),
        ("POST", "/api/v1/users/bob/reset", ""),
        ("DELETE", "/api/v1/users/bob/second-factor", ""),
        ("POST", "/settings/people", "name=eve&role=viewer&apps="),
        ("POST", "/api/v1/tokens", r#"{"name":"another"}"#),
    ] {
        let (status, text) = world.edge(method, path, &json, sent);
        assert_eq!(status, 403, "{method} {path}: {text}");
        assert!(text.contains("No token goes so far"), "{path}: {text}");
    }
    let (_, text) = world.local("GET", "/api/v1/users", "");
    assert!(!text.contains("eve"), "{text}");
}

/// None is every app, so an empty list is refused and not taken for none.
#[test]
fn a3_an_empty_list_of_apps_makes_no_token_for_every_app() {
    let world = World::new();
    let many: Vec<String> = (0..101).map(|n| format!("app-{n}")).collect();
    let many = serde_json::json!({ "name": "CI", "apps": many }).to_string();
    for new in [
        r#"{"name":"CI","apps":[]}"#,
        r#"{"name":"CI","apps":["  "]}"#,
        many.as_str(),
    ] {
        let (status, text) = world.local("POST", "/api/v1/tokens", new);
        assert_eq!(status, 422, "{text}");
    }
    let twice = r#"{"name":"CI","kind":"deploy","apps":["shop","shop"]}"#;
    let (status, text) = world.local("POST", "/api/v1/tokens", twice);
    assert_eq!(status, 201, "{text}");
    let (_, text) = world.local("GET", "/api/v1/tokens", "");
    assert!(text.contains("\"apps\":[\"shop\"]"), "{text}");
}

/// A link of an admin for a viewer who becomes an owner is a link for an owner.
#[test]
fn a2_an_admin_comes_in_as_no_owner_by_a_link_of_before() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    world.come_in(&link);
    let admin = world.somebody("admin", Role::Admin, &[]);
    world.somebody("bob", Role::Viewer, &[]);
    let json = format!("{}Content-Type: application/json\r\n", admin.headers);
    let (status, text) = world.edge("POST", "/api/v1/users/bob/reset", &json, "");
    assert_eq!(status, 200, "{text}");
    let (status, _) = world.local("PATCH", "/api/v1/users/bob", r#"{"role":"owner"}"#);
    assert_eq!(status, 200);
    let (_, rest) = text.split_once("/setup/").unwrap();
    let (token, _) = rest.split_once('"').unwrap();
    let page = format!("{}Accept: text/html\r\n", world.stranger(""));
    let (status, text) = world.edge("GET", &format!("/setup/{token}"), &page, "");
    assert_eq!(status, 404, "{text}");
    // Who was asked in and has not come is changed by asking again, which says so.
    let asked = r#"{"name":"eve","role":"viewer"}"#;
    assert_eq!(world.local("POST", "/api/v1/users", asked).0, 201);
    let (status, text) = world.local("PATCH", "/api/v1/users/eve", r#"{"role":"admin"}"#);
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("eve has not come in yet"), "{text}");
}

#[test]
fn a5_a_viewer_is_not_told_the_webhook_secret() {
    let world = World::new();
    let viewer = world.somebody("viewer", Role::Viewer, &[]);
    let reveal = "/api/v1/apps/shop/webhook-secret/reveal";
    let (status, text) = world.edge("POST", reveal, &viewer.headers, "");
    assert_eq!(status, 403, "{text}");
    assert!(!text.contains("\"secret\""), "{text}");
    let (_, text) = world.local("POST", reveal, "");
    assert!(text.contains("\"secret\""), "{text}");
    let (_, text) = world.local("GET", "/api/v1/apps/shop", "");
    assert!(!text.contains("\"secret\""), "{text}");
}

#[test]
fn f2_unknown_urls_tell_strangers_nothing() {
    let world = World::new();
    let (status, _) = world.edge("GET", "/api/v1/no-such-thing", "", "");
    assert_eq!(status, 401);
    assert!(table().iter().any(|r| r.needs == Needs::Local));
}

#[test]
fn f2_the_box_comes_in_by_its_socket_and_sets_the_owner_up() {
    let daemon = Daemon::start();
    let (local, edge) = (daemon.socket("freehold.sock"), daemon.socket("edge.sock"));
    let (status, text) = ask(&local, "POST", "/api/v1/setup-link", "", "");
    assert_eq!(status, 200, "{text}");
    let path = text
        .split("/setup/")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let (status, page) = ask(
        &edge,
        "GET",
        &format!("/setup/{path}"),
        "Accept: text/html\r\n",
        "",
    );
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("content-security-policy: default-src 'none'"),
        "{page}"
    );
    let (status, _) = ask(&edge, "GET", "/setup/forged", "Accept: text/html\r\n", "");
    assert_eq!(status, 404);
}

#[test]
fn f2_another_site_changes_nothing() {
    let daemon = Daemon::start();
    let edge = daemon.socket("edge.sock");
    for more in [
        "Origin: https://evil.test\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Cookie: __Host-freehold=x\r\n",
    ] {
        let (status, text) = ask(&edge, "POST", "/sign-in", more, "");
        assert_eq!(status, 403, "{more}: {text}");
    }
}

/// Modes of files keep others off the socket; whoever gets past them is still asked who they are.
#[test]
fn f2_a_stranger_on_the_box_is_no_owner_even_where_files_would_let_them() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    let run = socket.parent().unwrap();
    for (path, mode) in [
        (run.parent().unwrap(), 0o755),
        (run, 0o755),
        (&socket, 0o666),
    ] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let asked_as = |uid: u32| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "60", "-o", "/dev/null", "-w", "%{http_code}"]);
        curl.arg("--unix-socket").arg(&socket);
        curl.arg("http://localhost/api/v1/status");
        let out = curl.uid(uid).gid(uid).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(
        (asked_as(0), asked_as(65_534)),
        ("200".into(), "000".into())
    );
}
