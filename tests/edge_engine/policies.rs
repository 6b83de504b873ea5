//! E6: policies in the freehold.toml of an app that runs in containers, deployed on a real engine: what clients get, and what
//! the app is told; they come and go with its releases, and a domain's own go before them at once.

use crate::place::{HOST, PROCESS, Place, saw};

const ROUTE: &str = r#"[processes.web.route]
redirects = [{ path = "/old", to = "/new", status = 302 }]
request_headers = { set = { x-env = "staging" }, remove = ["x-debug"] }
answer_headers = { set = { x-frame-options = "DENY" }, remove = ["x-version"] }
basic_auth = { realm = "Staff", users = [{ name = "ana", password = "hunter2-hunter2" }] }
rate_limit = { requests = 6, per = "day", header = "x-api-key" }
body_limit = "1KB"
compress = { codings = ["gzip"], with_cookies = true }
error_pages = { "413" = "<h1>Too much</h1>" }
"#;

#[test]
fn e6_an_app_in_containers_is_served_by_the_policies_of_its_file_and_of_its_domain() {
    let place = Place::new();
    place.deploy("one", &format!("{PROCESS}{ROUTE}"));
    let asked = place.until(
        "a password to be asked for",
        || place.get("/"),
        |a| a.status == 401,
    );
    assert!(
        asked.header("www-authenticate").contains("Staff"),
        "{asked:?}"
    );

    let seen = place.ana("/", "one").header("X-Debug", "1").send().unwrap();
    assert_eq!(seen.status, 200, "{}", seen.text());
    assert!(
        saw(&seen, "GET /") && saw(&seen, "x-env: staging"),
        "{}",
        seen.text()
    );
    for hidden in ["x-debug: 1", "authorization: "] {
        assert!(!seen.text().contains(hidden), "{}", seen.text());
    }
    assert_eq!(seen.header("x-frame-options"), "DENY");
    assert_eq!(seen.header("x-version"), "");
    assert_eq!(seen.header("ratelimit-policy"), "\"requests\";q=6;w=86400");
    let sent = place.ana("/old/page?a=b", "one").send().unwrap();
    assert_eq!(sent.status, 302, "{}", sent.text());
    assert!(
        sent.header("location").ends_with("/new/page?a=b"),
        "{sent:?}"
    );
    let coded = place.ana("/", "one").header("Accept-Encoding", "gzip");
    let coded = coded.send().unwrap();
    assert_eq!(coded.header("content-encoding"), "gzip");
    assert!(coded.body.len() < 1_000, "{}", coded.body.len());
    // By HTTP/1.1: over HTTP/2 curl 7.88 loses an answer whose stream is reset behind it, as is right for one that came early.
    let large = place.ana("/", "one").header("Accept", "text/html").http1();
    let large = large.body("text/plain", &"x".repeat(1_025)).send().unwrap();
    assert_eq!(
        (large.status, large.text().trim()),
        (413, "<h1>Too much</h1>")
    );
    let missing = place.ana("/missing", "one").send().unwrap();
    assert!(
        missing.status == 404 && saw(&missing, "GET /missing"),
        "the app's own"
    );
    // Six of this key were counted, and one more is one too many; another key is another client.
    assert_eq!(place.ana("/", "one").send().unwrap().status, 200);
    let refused = place.ana("/", "one").send().unwrap();
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 3_600);
    assert!(refused.header("ratelimit").starts_with("\"requests\";r=0;"));
    assert_eq!(place.ana("/", "two").send().unwrap().status, 200);

    // A domain's own go before them, at once, and the path of one is taken off.
    let api = format!("{HOST}/api");
    place.fh.cli(&[
        "domain",
        "set",
        "shop",
        &api,
        "--strip-prefix",
        "--rate",
        "100/minute",
        "--rate-by",
        "header:x-api-key",
    ]);
    let ours = place.until(
        "the path to be taken off",
        || place.ana("/api/users", "three"),
        |a| saw(a, "GET /users"),
    );
    assert!(saw(&ours, "x-forwarded-prefix: /api"), "{}", ours.text());
    assert_eq!(ours.header("ratelimit-policy"), "\"requests\";q=100;w=60");
    assert_eq!(
        ours.header("x-frame-options"),
        "DENY",
        "the file's hold beside it"
    );
    let stranger = place.get("/api/users").header("X-Api-Key", "four");
    assert_eq!(stranger.send().unwrap().status, 401);
    place
        .fh
        .cli(&["domain", "set", "shop", HOST, "--deny", "127.0.0.0/8"]);
    place.until(
        "nobody to be served",
        || place.ana("/", "two"),
        |a| a.status == 403,
    );
    assert_eq!(place.ana("/api/users", "three").send().unwrap().status, 200);
    place
        .fh
        .cli(&["domain", "set", "shop", HOST, "--reset", "all"]);

    // A release without them has none; nobody is served by those of the one before.
    place.deploy("two", PROCESS);
    let open = place.until("the next release", || place.get("/"), |a| a.status == 200);
    assert_eq!(open.header("x-version"), "7.1", "{}", open.text());
    assert_eq!(open.header("ratelimit-policy"), "");
    assert!(!open.text().contains("x-env"), "{}", open.text());
    // And the one before has them again.
    place.fh.cli(&["rollback", "shop"]);
    place.until("the password again", || place.get("/"), |a| a.status == 401);
}
