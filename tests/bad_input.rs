//! The rows of the table of bad inputs that need no engine, each against the real daemon, and the page made from the
//! whole table.

use std::path::Path;
use std::process::{Command, Stdio};

use freehold::web::Needs;

#[path = "bad_input/every.rs"]
mod every;
#[path = "support/quiet.rs"]
mod quiet;
#[path = "bad_input/mod.rs"]
mod rows;
#[path = "support/served.rs"]
mod served;

use rows::ask::{Answer, ask, begin, heard};
use rows::census;
use rows::table::{self, Hook, Sending, Signature, has};

/// What `freehold ARGS` ended with and said.
fn freehold(daemon: &quiet::Daemon, args: &[String]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_freehold"))
        .args(args)
        .env("FREEHOLD_SOCKET", daemon.socket("freehold.sock"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    (out.status.code(), said)
}

/// A daemon with an app `served` that has a live release, beside what its rows make.
fn with_a_live_app() -> quiet::Daemon {
    let daemon = quiet::Daemon::start();
    let (code, said) = freehold(&daemon, &["app", "create", "served"].map(str::to_owned));
    assert_eq!(code, Some(0), "{said}");
    served::serving(&daemon);
    daemon
}

/// Runs one row: what is wrong with its answer is given, and what it changed. Rows that prepare may change things.
fn unchanged(
    daemon: &quiet::Daemon,
    what: &str,
    prepares: bool,
    row: impl FnOnce() -> Option<String>,
) -> Vec<String> {
    let before = census::of(&daemon.data(), &[]);
    let mut wrong: Vec<String> = row().map(|w| format!("{what}: {w}")).into_iter().collect();
    if !prepares {
        let difference = census::difference(&before, &census::of(&daemon.data(), &[]));
        if !difference.is_empty() {
            wrong.push(format!("{what} changed something:{difference}"));
        }
    }
    wrong
}

#[test]
fn a8_every_bad_command_gets_its_exit_code_and_a_sentence_that_helps() {
    let daemon = quiet::Daemon::start();
    let mut wrong = Vec::new();
    for row in table::table().cli {
        wrong.extend(unchanged(&daemon, &row.what, row.next.is_empty(), || {
            let (code, said) = freehold(&daemon, &row.args);
            (code != Some(row.exit) || !has(&said, &row.says))
                .then(|| format!("ended with {code:?} and said: {said}"))
        }));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a8_every_bad_request_gets_its_status_and_a_problem_that_helps() {
    let daemon = with_a_live_app();
    let mut wrong = Vec::new();
    for row in table::table().api {
        let socket = match row.as_nobody {
            true => "edge.sock",
            false => "freehold.sock",
        };
        let mut headers: Vec<String> = row
            .headers
            .iter()
            .map(|(k, v)| format!("{k}: {v}"))
            .collect();
        if !row.headers.contains_key("Content-Type") {
            headers.push("Content-Type: application/json".into());
        }
        let body = match row.bytes {
            0 => row.body.clone(),
            bytes => format!("{{\"name\": \"{}\"}}", "x".repeat(bytes)),
        };
        wrong.extend(unchanged(&daemon, &row.what, row.next.is_empty(), || {
            let answer = ask(
                &daemon.socket(socket),
                &row.method,
                &row.path,
                &headers,
                body.as_bytes(),
            );
            let good = answer.status == row.status
                && (row.kind.is_empty() || is_problem(&answer, &row.kind))
                && has(&told(&answer), &row.says);
            (!good).then(|| format!("answered {} {}", answer.head, answer.body))
        }));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_problem(answer: &Answer, kind: &str) -> bool {
    answer
        .header("content-type")
        .starts_with("application/problem+json")
        && answer.json()["type"] == format!("urn:freehold:problem:{kind}")
        && answer.json()["status"] == answer.status
}

/// Detail and remedy of a problem, a sentence each; any other answer as it is.
fn told(answer: &Answer) -> String {
    match serde_json::from_str::<serde_json::Value>(&answer.body) {
        Ok(json) if json["detail"].is_string() => {
            let detail = json["detail"].as_str().unwrap();
            match json["remedy"].as_str().unwrap_or_default() {
                "" => detail.to_owned(),
                remedy => format!("{}. {remedy}", detail.trim_end_matches('.')),
            }
        }
        _ => answer.body.clone(),
    }
}

#[test]
fn a8_every_bad_form_comes_back_with_a_sentence_that_helps() {
    let daemon = with_a_live_app();
    let mut wrong = Vec::new();
    let link = ask(
        &daemon.socket("freehold.sock"),
        "POST",
        "/api/v1/setup-link",
        &[],
        b"",
    )
    .json();
    for row in table::table().page {
        wrong.extend(unchanged(&daemon, &row.what, row.next.is_empty(), || {
            let path = row
                .path
                .replace("/setup/{link}", link["path"].as_str().unwrap());
            let (status, said) = submit(&daemon, &path, &row.form);
            (status != row.status || !has(&said, &row.says))
                .then(|| format!("answered {status}: {said}"))
        }));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sends a form as a browser does, follows where it leads; the first status and the text of the page in the end.
fn submit(daemon: &quiet::Daemon, path: &str, form: &str) -> (u16, String) {
    let socket = daemon.socket("freehold.sock");
    let page = "Accept: text/html".to_owned();
    let kind = "Content-Type: application/x-www-form-urlencoded".to_owned();
    let first = ask(
        &socket,
        "POST",
        path,
        &[page.clone(), kind],
        form.as_bytes(),
    );
    if first.status != 303 {
        return (first.status, text_of(&first.body));
    }
    let cookie = first
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap_or_default();
    let led = ask(
        &socket,
        "GET",
        first.header("location"),
        &[page, format!("Cookie: {cookie}")],
        b"",
    );
    (first.status, text_of(&led.body))
}

/// What a page says, without its tags.
fn text_of(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        let (tag, after) = after.split_once('>').unwrap_or((after, ""));
        // What stands in a paragraph of its own is a sentence of its own.
        let open =
            |text: &str| text.ends_with(|c: char| !".:;?!…".contains(c) && !c.is_whitespace());
        if tag == "/p" && open(&text) {
            text.push('.');
        }
        rest = after;
    }
    text.push_str(rest);
    [
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
        ("&#38;", "&"),
    ]
    .iter()
    .fold(text, |text, (from, to)| text.replace(from, to))
}

#[test]
fn a8_every_push_that_starts_nothing_is_answered_and_noted() {
    let daemon = quiet::Daemon::start();
    // A git host that takes the connection and says nothing: the deploy that prepares stays where it is.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/shop.git", silent.local_addr().unwrap());
    let create = ["app", "create", "shop", "--git", &url].map(str::to_owned);
    let (code, said) = freehold(&daemon, &create);
    assert_eq!(code, Some(0), "{said}");
    let shown = ask(
        &daemon.socket("freehold.sock"),
        "POST",
        "/api/v1/apps/shop/webhook-secret/reveal",
        &[],
        b"",
    )
    .json();
    let secret = shown["secret"].as_str().unwrap().to_owned();
    let mut wrong = Vec::new();
    for row in table::table().hook {
        wrong.extend(unchanged(&daemon, &row.what, row.next.is_empty(), || {
            let answer = push(&daemon, &row, &secret);
            if row.next.is_empty() {
                fetching(&daemon);
            }
            let activity = ask(
                &daemon.socket("freehold.sock"),
                "GET",
                "/apps/shop/activity",
                &["Accept: text/html".into()],
                b"",
            );
            // What nobody has shown to come from a git host is no line of the app's.
            let noted = row.sending != Sending::Whole
                || has(
                    &text_of(&activity.body),
                    &format!("answered {}", row.status),
                );
            let good = answer.status == row.status && has(&answer.body, &row.says) && noted;
            (!good).then(|| format!("answered {} {} (noted: {noted})", answer.head, answer.body))
        }));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Waits until the deploy that prepares is with its silent git host.
fn fetching(daemon: &quiet::Daemon) {
    let begun = std::time::Instant::now();
    let deploys = || {
        let path = "/api/v1/apps/shop/deploys";
        ask(&daemon.socket("freehold.sock"), "GET", path, &[], b"").json()
    };
    while deploys()["items"][0]["state"] != "fetching" {
        assert!(begun.elapsed().as_secs() < 120, "{:#}", deploys());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn push(daemon: &quiet::Daemon, row: &Hook, secret: &str) -> Answer {
    let event = serde_json::json!({
        "ref": format!("refs/heads/{}", row.branch),
        "before": "0".repeat(40), "after": "1".repeat(40), "deleted": false,
        "repository": { "full_name": "ada/shop", "default_branch": "main" },
        "head_commit": { "id": "1".repeat(40), "message": "A commit" },
        "pusher": { "name": "ada" },
    });
    let body = format!("{event}{}", " ".repeat(row.bytes));
    let signed = |secret: &str| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
        format!("X-Hub-Signature-256: sha256={}", hex::encode(tag.as_ref()))
    };
    let mut headers = vec![
        "Content-Type: application/json".to_owned(),
        format!("X-GitHub-Event: {}", row.event),
        format!("X-GitHub-Delivery: {}", row.delivery),
    ];
    match row.signature {
        Signature::Right => headers.push(signed(secret)),
        Signature::Wrong => headers.push(signed("another secret")),
        Signature::None => {}
    }
    let (socket, path, body) = (daemon.socket("edge.sock"), "/hooks/shop", body.as_bytes());
    match row.sending {
        Sending::Whole => ask(&socket, "POST", path, &headers, body),
        Sending::Cut => {
            let half = (&body[..body.len() / 2], body.len());
            heard(begin(&socket, "POST", path, &headers, half))
        }
        Sending::Crowded => {
            let large = vec![b' '; 5 << 20];
            let cut = (&large[1..], large.len());
            let strangers = [(); 8].map(|()| begin(&socket, "POST", path, &headers, cut));
            // The last of what they sent may still be on its way.
            let mut answer = ask(&socket, "POST", path, &headers, body);
            for _ in 0..600 {
                if answer.status == 503 {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
                answer = ask(&socket, "POST", path, &headers, body);
            }
            assert_eq!(answer.header("retry-after"), "5", "{}", answer.head);
            drop(strangers);
            answer
        }
    }
}

/// Every address of the table, given what it cannot read: a program gets a problem, a browser a page, nobody a bare word.
#[test]
fn a8_rubbish_is_answered_with_a_problem_everywhere() {
    let daemon = quiet::Daemon::start();
    let socket = daemon.socket("freehold.sock");
    let mut wrong = Vec::new();
    for route in freehold::web::table() {
        let method = route.method.as_str();
        let for_programs = route.path.starts_with("/api/") || route.path.starts_with("/hooks/");
        // The owner's way in makes a link of anything; streams do not end.
        if route.needs == Needs::Local || route.path.ends_with("/stream") {
            continue;
        }
        let path = fill_in(route.path);
        let (accept, kind, body): (_, _, &[u8]) = match for_programs {
            true => ("application/json", "application/json", b"}{"),
            false => (
                "text/html",
                "application/x-www-form-urlencoded",
                b"\xff=%zz&&",
            ),
        };
        let headers = [format!("Accept: {accept}"), format!("Content-Type: {kind}")];
        let answer = ask(
            &socket,
            method,
            &path,
            &headers,
            if method == "GET" { b"" } else { body },
        );
        let told = match answer.status {
            0 | 500 => false,
            ..400 => true,
            _ if for_programs => answer
                .header("content-type")
                .starts_with("application/problem+json"),
            _ => answer.header("content-type").starts_with("text/html"),
        };
        if !told {
            wrong.push(format!("{method} {path}: {} {}", answer.head, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Each `{name}` of a path filled in with what names nothing.
fn fill_in(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        if part.starts_with('{') {
            "no such"
        } else {
            part
        }
    });
    parts.collect::<Vec<_>>().join("/").replace(' ', "%20")
}

#[test]
fn a8_nobody_listening_is_told_with_the_remedy() {
    let out = Command::new(env!("CARGO_BIN_EXE_freehold"))
        .args(["app", "list"])
        .env("FREEHOLD_SOCKET", "/nonexistent/freehold.sock")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(5));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("systemctl status freehold"), "{said}");
}

/// `FREEHOLD_WRITE_DOCS=1` makes the page anew.
#[test]
fn a8_the_page_of_errors_is_made_from_the_table() {
    let page = rows::errors_page::page(&table::table());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    if std::env::var_os("FREEHOLD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept, page,
        "run FREEHOLD_WRITE_DOCS=1 cargo test --test bad_input"
    );
}
