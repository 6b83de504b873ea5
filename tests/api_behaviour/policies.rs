//! E6: policies of a domain, from the API to the daemon's own edge. No engine is needed: what a policy answers comes
//! before any app is asked, and without policies the edge answers with the maintenance page.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Answer, form, local, make_app};
use crate::port::free_port;
use crate::quiet::Daemon;
use crate::served::serving;

const AT: &str = "/api/v1/apps/shop/domains/shop.localhost/policies";

struct Served {
    daemon: Daemon,
    port: u16,
}

/// The app shop with the domains shop.localhost and shop.localhost/api, a live release, and a maintenance page.
fn shop() -> Served {
    let port = free_port(Ipv4Addr::LOCALHOST);
    // Without policies a request waits for the app as long as this.
    let hold = "[hold]\ntime = \"1s\"\n";
    let daemon = Daemon::start_with(&format!("127.0.0.1:{port}"), hold);
    make_app(&daemon, "shop");
    serving(&daemon);
    for domain in ["shop.localhost", "shop.localhost/api"] {
        let form = json!({ "domain": domain }).to_string();
        let added = local(&daemon, "POST", "/api/v1/apps/shop/domains", "", &form);
        assert_eq!(added.status, 200, "{}", added.body);
    }
    let on = json!({ "on": true }).to_string();
    let maintenance = "/api/v1/apps/shop/maintenance";
    let switched = local(&daemon, "POST", maintenance, "", &on);
    assert_eq!(switched.status, 200, "{}", switched.body);
    Served { daemon, port }
}

impl Served {
    /// Status and text of what the edge answers, in lower case, or nothing while it does not.
    fn look(&self, path: &str, more: &[&str]) -> (u16, String) {
        let out = Command::new("curl")
            .args([
                "--silent",
                "--insecure",
                "--noproxy",
                "*",
                "--max-time",
                "10",
            ])
            .args(["--include", "--header", "Accept: text/html"])
            .args([
                "--resolve",
                &format!("shop.localhost:{}:127.0.0.1", self.port),
            ])
            .args(more)
            .arg(format!("https://shop.localhost:{}{path}", self.port))
            .output()
            .unwrap();
        let head = String::from_utf8_lossy(&out.stdout).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        (status.unwrap_or(0), head)
    }

    /// The whole answer, once the edge answers with this status.
    fn until(&self, path: &str, more: &[&str], status: u16) -> String {
        let begun = Instant::now();
        loop {
            let (found, head) = self.look(path, more);
            if found == status {
                return head;
            }
            let waited = begun.elapsed();
            assert!(waited < Duration::from_secs(90), "{path} {more:?}: {head}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn put(&self, at: &str, more: &str, policies: &Value) -> Answer {
        local(&self.daemon, "PUT", at, more, &policies.to_string())
    }

    fn set(&self, policies: &Value) -> Value {
        let set = self.put(AT, "", policies);
        assert_eq!(set.status, 200, "{policies}: {}", set.body);
        set.json()
    }

    fn told(&self) -> Value {
        local(&self.daemon, "GET", AT, "", "").json()
    }
}

#[test]
fn e6_a_domains_policies_are_in_force_at_once_and_gone_when_they_are_taken_away() {
    let shop = shop();
    // What the edge answers without any: the maintenance page.
    shop.until("/", &[], 503);
    let said = shop.set(&json!({ "redirects": [{ "to": "https://example.com" }] }));
    assert_eq!(
        said["words"],
        json!(["Everybody is sent to https://example.com (308)."])
    );
    let head = shop.until("/a?b=c", &[], 308);
    assert!(
        head.contains("location: https://example.com/a?b=c"),
        "{head}"
    );
    // What is sent is the whole.
    shop.set(&json!({ "deny": ["127.0.0.0/8"] }));
    shop.until("/a", &[], 403);
    shop.until("/api/a", &[], 503);
    shop.set(&json!({ "allow": ["10.0.0.0/8"] }));
    shop.until("/a", &[], 403);
    shop.set(&json!({ "rate_limit": { "requests": 2, "per": "day" } }));
    let head = shop.until("/a", &[], 429);
    assert!(
        head.contains("retry-after: ") && head.contains("ratelimit: "),
        "{head}"
    );
    // A path of the host has its own.
    let below = AT.replace("shop.localhost", "shop.localhost%2Fapi");
    let set = shop.put(
        &below,
        "",
        &json!({ "redirects": [{ "to": "/docs", "keep": false }] }),
    );
    assert_eq!(set.status, 200, "{}", set.body);
    assert_eq!(set.json()["domain"], "shop.localhost/api");
    let head = shop.until("/api/a", &[], 308);
    assert!(head.contains("/docs\r\n"), "{head}");
    let gone = local(&shop.daemon, "DELETE", AT, "", "");
    assert_eq!((gone.status, &gone.json()["changed"]), (200, &json!(true)));
    shop.until("/a", &[], 503);
    assert_eq!(shop.told()["policies"], json!({}));
    let again = local(&shop.daemon, "DELETE", AT, "", "");
    assert_eq!(again.json()["changed"], false);
}

#[test]
fn e6_a_password_is_taken_once_kept_as_a_verifier_and_told_nowhere() {
    let shop = shop();
    let auth = |user: Value| json!({ "basic_auth": { "realm": "Staff", "users": [user] } });
    let said = shop.set(&auth(
        json!({ "name": "ana", "password": "hunter2-hunter2" }),
    ));
    let mark = said["passwords_mark"].clone();
    assert!(mark.is_string(), "{said}");
    shop.until("/", &[], 401);
    let ana: &[&str] = &["--user", "ana:hunter2-hunter2"];
    shop.until("/", ana, 503);
    shop.until("/", &["--user", "ana:hunter2-hunter3"], 401);
    // What was told is sent back: the password stays.
    let told = shop.told();
    assert_eq!(told["policies"], auth(json!({ "name": "ana" })));
    assert_eq!(shop.set(&told["policies"])["passwords_mark"], mark);
    shop.until("/", ana, 503);
    shop.until("/", &[], 401);
    let none = shop.put(AT, "", &auth(json!({ "name": "bob" })));
    assert_eq!(none.status, 422, "{}", none.body);
    let verifier = "0".repeat(64);
    let forged = shop.put(
        AT,
        "",
        &auth(json!({ "name": "ana", "verifier": verifier })),
    );
    assert_eq!(forged.status, 422, "{}", forged.body);
    // Another password counts at once, and no edit that saw the old one comes after it.
    let seen = local(&shop.daemon, "GET", AT, "", "");
    let tag = format!("If-Match: {}\r\n", seen.header("etag").unwrap());
    shop.set(&auth(json!({ "name": "ana", "password": "another-one" })));
    shop.until("/", ana, 401);
    shop.until("/", &["--user", "ana:another-one"], 503);
    let late = shop.put(AT, &tag, &json!({}));
    assert_eq!(late.status, 412, "{}", late.body);
    let seen = local(&shop.daemon, "GET", AT, "", "");
    let tag = format!("If-Match: {}\r\n", seen.header("etag").unwrap());
    // Who did what: the user's name is told, and that the password is another one.
    let audit = local(&shop.daemon, "GET", "/api/v1/audit?limit=50", "", "");
    assert!(audit.body.contains("app.domain.policies"), "{}", audit.body);
    assert!(
        audit.body.contains("domain.shop.localhost.passwords"),
        "{}",
        audit.body
    );
    assert!(audit.body.contains("••• (another one)"), "{}", audit.body);
    let events = local(&shop.daemon, "GET", "/api/v1/apps/shop/events", "", "");
    let words = "What holds for shop.localhost was changed by";
    assert!(events.body.contains(words), "{}", events.body);
    let page = local(
        &shop.daemon,
        "GET",
        "/apps/shop/domains/shop.localhost/policies",
        "",
        "",
    );
    assert!(
        page.body.contains("A password is asked for: ana."),
        "{}",
        page.body
    );
    let all = local(&shop.daemon, "GET", "/api/v1/apps/shop/domains", "", "");
    for told in [&audit, &events, &page, &all, &seen] {
        for leak in ["hunter2", "another-one", "verifier"] {
            assert!(!told.body.contains(leak), "{leak}: {}", told.body);
        }
    }
    for file in std::fs::read_dir(shop.daemon.data()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let has = |text: &str| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        assert!(!has("hunter2-hunter2") && !has("another-one"), "{path:?}");
    }
    let done = shop.put(AT, &tag, &json!({}));
    assert_eq!(done.status, 200, "{}", done.body);
    shop.until("/", &[], 503);
}

#[test]
fn e6_a_domains_own_go_before_the_app_files_key_by_key() {
    let shop = shop();
    let state = rusqlite::Connection::open(shop.daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(5)).unwrap();
    let route = r#"{"deny":["127.0.0.1"],"sticky":true}"#;
    let changed = state.execute(
        "UPDATE releases SET settings = json_set(settings, '$.processes.web.route', json(?1))",
        [route],
    );
    assert_eq!(changed, Ok(1));
    // A change that the daemon sees, of a key that the file does not name.
    let said = shop.set(&json!({ "body_limit": "1MB" }));
    assert_eq!(
        said["app_file"],
        json!({ "deny": ["127.0.0.1/32"], "sticky": true })
    );
    shop.until("/", &[], 403);
    let said = shop.set(&json!({ "deny": ["192.0.2.1"] }));
    let words = [
        "Not served: 192.0.2.1.",
        "A browser stays with the replica that answered it first.",
    ];
    assert_eq!(said["words"], json!(words));
    shop.until("/", &[], 503);
    local(&shop.daemon, "DELETE", AT, "", "");
    shop.until("/", &[], 403);
}

#[test]
fn e6_a_form_sets_policies_and_a_fault_stands_at_its_field() {
    let shop = shop();
    shop.until("/", &[], 503);
    let page = "/apps/shop/domains/shop.localhost/policies";
    let good = "redirect=https%3A%2F%2Fexample.com&rate=100%2Fminute&hsts=on&more=sticky+%3D+true";
    let sent = form(&shop.daemon, page, good);
    assert_eq!(sent.status, 303, "{}", sent.body);
    assert_eq!(sent.header("location"), Some(page));
    shop.until("/", &[], 308);
    let told = shop.told();
    assert_eq!(
        told["policies"],
        json!({
            "redirects": [{ "path": "/", "to": "https://example.com", "status": 308, "keep": true }],
            "rate_limit": { "requests": 100, "per": "minute" }, "hsts": true, "sticky": true
        })
    );
    let shown = local(&shop.daemon, "GET", page, "", "").body;
    for text in [
        "value=\"https://example.com\"",
        "100/minute",
        "sticky = true",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    for (body, words) in [
        ("redirect=javascript%3A1", "is not a place to be sent to"),
        ("user=ana", "has no password"),
        ("allow=everybody", "everybody"),
        ("rate=often", "100/minute"),
        ("body_limit=much", "is not a size"),
        ("more=%3Ch1%3E", "This is not TOML"),
        ("more=hst+%3D+1", "unknown field"),
        (
            "rate=5%2Fm&more=rate_limit.requests+%3D+1",
            "leave one of them",
        ),
        (
            "user=ana&password=x-secret&body_limit=0",
            "body_limit is from 1",
        ),
    ] {
        let sent = form(&shop.daemon, page, body);
        assert_eq!(sent.status, 422, "{body}: {}", sent.body);
        assert!(sent.body.contains(words), "{body}: {}", sent.body);
        assert!(sent.body.contains("aria-invalid"), "{body}: {}", sent.body);
        assert!(!sent.body.contains("x-secret"), "{body}");
    }
    assert_eq!(
        shop.told()["policies"],
        told["policies"],
        "nothing was changed"
    );
    // Whoever was shown other policies than hold now replaces none unseen.
    let seen = |page: &str| {
        let (_, rest) = page.split_once("name=\"seen\" value=\"").unwrap();
        format!("rate=7%2Fminute&seen={}", rest.split_once('"').unwrap().0)
    };
    let stale = seen(&shown);
    local(&shop.daemon, "PUT", AT, "", "{\"deny\":[\"192.0.2.1\"]}");
    let late = form(&shop.daemon, page, &stale);
    assert_eq!(late.status, 422, "{}", late.body);
    assert!(late.body.contains("was changed meanwhile"), "{}", late.body);
    assert_eq!(shop.told()["policies"]["deny"], json!(["192.0.2.1/32"]));
    // Told so, they may.
    assert_eq!(form(&shop.daemon, page, &seen(&late.body)).status, 303);
    assert_eq!(
        shop.told()["policies"],
        json!({ "rate_limit": { "requests": 7, "per": "minute" } })
    );
    // All fields empty: what the app's file says.
    assert_eq!(form(&shop.daemon, page, "redirect=").status, 303);
    shop.until("/", &[], 503);
}

#[test]
fn e6_the_command_line_sets_resets_and_shows_policies() {
    let shop = shop();
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "hunter2-hunter2\n").unwrap();
    let freehold = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_freehold"))
            .args(["domain"])
            .args(args)
            .env("FREEHOLD_SOCKET", shop.daemon.socket("freehold.sock"))
            .stdin(std::fs::File::open(password.path()).unwrap())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let all = format!("{text}{}", String::from_utf8_lossy(&out.stderr));
        assert!(!all.contains("hunter2"), "{all}");
        (out.status.code(), all)
    };
    let down = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(down.path(), "<h1>Down</h1>").unwrap();
    let page = format!("503={}", down.path().display());
    let (code, said) = freehold(&[
        "set",
        "shop",
        "shop.localhost",
        "--basic-auth",
        "ana",
        "--error-page",
        &page,
        "--header",
        "answer set x-a: 1",
        "--compress",
        "--rate",
        "100/1m",
    ]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("A password is asked for: ana."), "{said}");
    shop.until("/", &[], 401);
    let text = shop.until("/", &["--user", "ana:hunter2-hunter2"], 503);
    assert!(
        text.contains("x-a: 1") && text.ends_with("<h1>down</h1>"),
        "{text}"
    );
    // What no option names stays, the password too.
    let (code, said) = freehold(&["set", "shop", "shop.localhost", "--body-limit", "1MB"]);
    assert_eq!(code, Some(0), "{said}");
    shop.until("/", &["--user", "ana:hunter2-hunter2"], 503);
    let (code, said) = freehold(&["set", "shop", "shop.localhost", "--reset", "basic_auth"]);
    assert_eq!(code, Some(0), "{said}");
    shop.until("/", &[], 503);
    let (_, said) = freehold(&["show", "shop", "shop.localhost"]);
    for words in [
        "Own error pages: 503.",
        "Answers: x-a set.",
        "Bodies up to 1MB.",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let (code, said) = freehold(&[
        "add",
        "shop",
        "www.shop.localhost",
        "--redirect",
        "https://shop.localhost",
    ]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("Everybody is sent to https://shop.localhost (308)."),
        "{said}"
    );
    let (code, said) = freehold(&["set", "shop", "shop.localhost"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nothing to change"), "{said}");
}

/// What a domain shows of a release's folder is asked of the release, and only of that.
#[test]
fn e6_a_folder_is_refused_where_there_is_none_and_told_where_containers_came_later() {
    let shop = shop();
    let put = |policies: Value| shop.put(AT, "", &policies);
    for (policies, key) in [
        (json!({ "static": "docs" }), "static: "),
        (json!({ "single_page": true }), "single_page: "),
    ] {
        let refused = put(policies);
        assert_eq!(refused.status, 422, "{}", refused.body);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.starts_with(key) && detail.contains("runs containers"),
            "{detail}"
        );
    }
    let state = rusqlite::Connection::open(shop.daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(5)).unwrap();
    let app: i64 = state
        .query_row("SELECT id FROM apps", [], |row| row.get(0))
        .unwrap();
    let release = |image: &str| {
        let changed = state.execute("UPDATE releases SET image = ?1", [image]);
        assert_eq!(changed, Ok(1));
    };
    release(&format!("static:{app}/1"));
    let files = shop.daemon.data().join(format!("static/{app}/1"));
    std::fs::create_dir_all(files.join("docs")).unwrap();
    std::fs::write(files.join("docs/index.html"), "docs").unwrap();
    for (folder, status) in [
        ("docs", 200),
        ("dcos", 422),
        ("docs/index.html", 422),
        ("../1/docs", 422),
        ("/etc", 422),
    ] {
        let answer = put(json!({ "static": folder }));
        assert_eq!(answer.status, status, "{folder}: {}", answer.body);
    }
    let page = "/apps/shop/domains/shop.localhost/policies";
    let sent = form(&shop.daemon, page, "more=static+%3D+%22dcos%22");
    assert_eq!(sent.status, 422, "{}", sent.body);
    assert!(sent.body.contains("has no folder dcos"), "{}", sent.body);
    // A release that came since keeps nobody from setting something else, and says what became of the folder.
    release("sha256:0");
    let said = shop.set(&json!({ "static": "docs", "body_limit": "1MB" }));
    let words = said["words"].to_string();
    assert!(
        words.contains("Bodies up to 1MB.") && words.contains("The live release runs containers"),
        "{words}"
    );
    let refused = put(json!({ "static": "." }));
    assert_eq!(refused.status, 422, "{}", refused.body);
}
