//! A2, A6: the password again before the dangerous, and sessions that nobody else can plant or keep.
//!
//! The daemon is the real one, without an engine.

use freehold::users::{Role, Verb};
use freehold::web::{Needs, table};

#[path = "support/authenticator.rs"]
mod authenticator;
#[path = "support/forms.rs"]
mod forms;
#[path = "support/quiet.rs"]
mod quiet;
#[path = "support/visitors.rs"]
#[allow(dead_code, reason = "shared with tests that need all of it")]
mod visitors;

use visitors::{World, concrete, signed_in};

/// The session's cookie in an answer.
fn session_in(answer: &str) -> String {
    forms::cookie(answer, "__Host-freehold").unwrap().to_owned()
}

/// Whoever signed in more than ten minutes ago gives their password again before the dangerous, on pages and in the API;
/// everything else goes on, and programs and the socket are not asked.
#[test]
fn a2_the_dangerous_asks_for_the_password_again() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let owner = world.signed_in(&world.come_in(&link));
    let program = world.program("a token that changes", Verb::Change, None);
    world.let_confirmations_age();
    let mut wrong = Vec::new();
    let mut routes = table();
    routes.sort_by_key(|r| {
        (
            r.path == "/sign-out",
            r.path.ends_with("remove") || r.method == "DELETE",
        )
    });
    for route in routes.into_iter().filter(|r| r.needs != Needs::Local) {
        let (method, path) = (route.method.as_str(), concrete(route.path, "shop"));
        let page = format!("{owner}Accept: text/html\r\n");
        let (status, text) = world.edge(method, &path, &page, "");
        let asked = match route.path.starts_with("/api/") {
            true => status == 403 && text.contains("urn:freehold:problem:confirm"),
            false => status == 303 && text.contains("location: /confirm-password?to="),
        };
        if asked != route.sudo {
            wrong.push(format!(
                "{method} {path}: marked {}, but {text}",
                route.sudo
            ));
        }
        if route.sudo {
            let (_, text) = world.edge(method, &path, &program.headers, "");
            if text.contains("problem:confirm") || text.contains("/confirm-password") {
                wrong.push(format!("{method} {path} asks a program: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Behind a proxy that is trusted everybody comes from one peer; who guesses is slowed, and nobody else is.
#[test]
fn e2_wrong_tries_count_for_the_client_and_not_for_the_proxy_in_between() {
    let world = World::new();
    let status = |client: &str| {
        let headers = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nX-Real-IP: {client}\r\nX-Forwarded-For: {client}, 198.51.100.7\r\n{}",
            world.stranger("")
        );
        let form = "name=somebody&password=four+wrong+words+here";
        world.edge("POST", "/sign-in", &headers, form).0
    };
    let guesser: Vec<u16> = (0..12).map(|_| status("192.0.2.1")).collect();
    assert_eq!(guesser[..5], [401; 5]);
    assert!(guesser.contains(&429), "{guesser:?}");
    assert_eq!(status("192.0.2.2"), 401);
}

#[test]
fn a2_a_confirmation_leads_back_and_lets_the_dangerous_through() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let token = world.come_in(&link);
    world.let_confirmations_age();
    let form = "Accept: text/html\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let from = "Referer: https://panel.test/account\r\n";
    let new = "name=CI&verb=read&days=1";
    let ask = |token: &str, path: &str, more: &str, body: &str| {
        let headers = format!("{}{form}{more}", world.signed_in(token));
        world.edge("POST", path, &headers, body)
    };
    let (status, text) = ask(&token, "/account/tokens", from, new);
    assert_eq!(status, 303, "{text}");
    assert!(
        text.contains("location: /confirm-password?to=%2Faccount&again=1"),
        "{text}"
    );
    // A wrong password leads nowhere; the right one back, under another cookie, with nothing done yet.
    let (status, text) = ask(
        &token,
        "/confirm-password",
        "",
        "to=/account&again=1&password=wrong",
    );
    assert_eq!(status, 401, "{text}");
    let right = "to=/account&again=1&password=four+words+are+enough";
    let (status, text) = ask(&token, "/confirm-password", "", right);
    assert_eq!(status, 303, "{text}");
    assert!(text.contains("location: /account\r\n"), "{text}");
    let fresh = session_in(&text);
    assert_ne!(fresh, token);
    let (_, text) = world.edge("GET", "/api/v1/tokens", &signed_in(&fresh), "");
    assert!(
        text.contains("\"items\":[]"),
        "nothing was done by itself: {text}"
    );
    let (status, text) = ask(&fresh, "/account/tokens", from, new);
    assert!(status == 200 && text.contains("freehold_pat_"), "{text}");
    let (status, _) = world.edge("GET", "/api/v1/tokens", &signed_in(&token), "");
    assert_eq!(status, 401, "the cookie of before is dead");
    // No way leads out of the box.
    let out = "to=https://evil.test/&password=four+words+are+enough";
    let (_, text) = ask(&fresh, "/confirm-password", "", out);
    assert!(text.contains("location: /\r\n"), "{text}");
}

#[test]
fn a2_a_program_of_the_browser_confirms_over_the_api() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let token = world.come_in(&link);
    world.let_confirmations_age();
    let json = |token: &str| {
        format!(
            "{}Content-Type: application/json\r\n",
            world.signed_in(token)
        )
    };
    let new = r#"{"name":"CI"}"#;
    let (status, text) = world.edge("POST", "/api/v1/tokens", &json(&token), new);
    assert_eq!(status, 403, "{text}");
    let confirm = "/api/v1/session/confirm";
    let (status, text) = world.edge("POST", confirm, &json(&token), r#"{"password":"wrong"}"#);
    assert_eq!(status, 401, "{text}");
    let right = r#"{"password":"four words are enough"}"#;
    let (status, text) = world.edge("POST", confirm, &json(&token), right);
    assert_eq!(status, 200, "{text}");
    let fresh = session_in(&text);
    let (status, text) = world.edge("POST", "/api/v1/tokens", &json(&fresh), new);
    assert_eq!(status, 201, "{text}");
    let (status, text) = world.local("POST", confirm, right);
    assert_eq!(status, 409, "{text}");
}

/// By the API as by the page: the password of now is asked for, other sessions end, one's own goes on under another cookie.
#[test]
fn a1_a_password_is_changed_by_the_api() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let token = world.come_in(&link);
    let json = format!(
        "{}Content-Type: application/json\r\n",
        world.signed_in(&token)
    );
    let at = "/api/v1/account/password";
    let sent = |current: &str, new: &str| {
        serde_json::json!({ "current": current, "password": new }).to_string()
    };
    let (now, new) = ("four words are enough", "another four words are enough");
    for (wrong, status) in [(sent("wrong words", new), 401), (sent(now, "short"), 422)] {
        let (said, text) = world.edge("POST", at, &json, &wrong);
        assert_eq!(said, status, "{text}");
    }
    let (status, text) = world.edge("POST", at, &json, &sent(now, new));
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("\"tokens_left\":0"), "{text}");
    let (status, _) = world.edge("GET", "/api/v1/session", &json, "");
    assert_eq!(status, 401, "the cookie of before");
    let fresh = world.signed_in(&session_in(&text));
    let (status, text) = world.edge("GET", "/api/v1/session", &fresh, "");
    assert_eq!(status, 200, "{text}");
    let right = format!("{fresh}Content-Type: application/json\r\n");
    let (status, text) = world.edge("POST", at, &right, &sent(new, now));
    assert_eq!(status, 200, "{text}");
}

/// A dump holds everything: without the password of just now its link leads to where it is given, and back.
#[test]
fn a2_a_dump_is_downloaded_after_the_password_was_given() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let token = world.come_in(&link);
    let page = format!("{}Accept: text/html\r\n", world.signed_in(&token));
    let at = "/databases/main/backups/7/download";
    let (status, text) = world.edge("GET", at, &page, "");
    assert_eq!(status, 404, "{text}");
    world.let_confirmations_age();
    let (status, text) = world.edge("GET", at, &page, "");
    assert_eq!(status, 303, "{text}");
    let there = "location: /confirm-password?to=%2Fdatabases%2Fmain%2Fbackups%2F7%2Fdownload\r\n";
    assert!(text.contains(there), "{text}");
}

/// A session known from before the sign-in is none after it.
#[test]
fn a6_a_session_known_before_leads_nowhere_after_a_sign_in() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let planted = world.come_in(&link);
    let form = format!(
        "{}Content-Type: application/x-www-form-urlencoded\r\n",
        world.signed_in(&planted)
    );
    let right = "name=owner&password=four+words+are+enough";
    let (status, text) = world.edge("POST", "/sign-in", &form, right);
    assert_eq!(status, 303, "{text}");
    let fresh = session_in(&text);
    assert_ne!(fresh, planted);
    let (status, _) = world.edge("GET", "/api/v1/session", &signed_in(&planted), "");
    assert_eq!(status, 401);
    let (status, _) = world.edge("GET", "/api/v1/session", &signed_in(&fresh), "");
    assert_eq!(status, 200);
    // A value of a stranger's choice never becomes a session.
    let chosen = world.stranger("chosen-by-a-stranger");
    let form = format!("{chosen}Content-Type: application/x-www-form-urlencoded\r\n");
    let (_, text) = world.edge("POST", "/sign-in", &form, right);
    assert_ne!(session_in(&text), "chosen-by-a-stranger");
    let (status, _) = world.edge("GET", "/api/v1/session", &chosen, "");
    assert_eq!(status, 401);
}

/// What a JSON answer says.
fn json(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

/// From the key to the code at sign-in and back off again, over the API and the pages a person meets.
#[test]
fn a2_a_second_factor_is_asked_for_and_half_a_sign_in_opens_nothing() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let token = world.come_in(&link);
    let headers = format!(
        "{}Content-Type: application/json\r\n",
        world.signed_in(&token)
    );
    let own = "/api/v1/account/second-factor";
    let (status, text) = world.edge("POST", own, &headers, "");
    assert_eq!(status, 201, "{text}");
    let offer = json(&text);
    assert!(
        offer["url"]
            .as_str()
            .unwrap()
            .starts_with("otpauth://totp/")
    );
    let key = authenticator::key(offer["key"].as_str().unwrap());
    let page = format!("{headers}Accept: text/html\r\n");
    let (_, text) = world.edge("GET", "/account/second-factor", &page, "");
    assert!(
        text.contains("<svg class=\"qr\"") && text.contains("Turn it on"),
        "{text}"
    );
    let code = |ahead| format!("{{\"code\":\"{}\"}}", authenticator::code(&key, ahead));
    let confirm = format!("{own}/confirm");
    let (status, text) = world.edge("POST", &confirm, &headers, r#"{"code":"12345"}"#);
    assert_eq!(status, 401, "{text}");
    let (status, text) = world.edge("POST", &confirm, &headers, &code(0));
    assert_eq!(status, 200, "{text}");
    let recovery = json(&text)["recovery_codes"].clone();
    assert_eq!(recovery.as_array().unwrap().len(), 10);
    let (_, text) = world.edge("GET", own, &headers, "");
    assert_eq!(json(&text)["recovery_codes_left"], 10);
    let (_, text) = world.local("GET", "/api/v1/users", "");
    assert_eq!(json(&text)["items"][0]["second_factor"], true);

    // The password alone leads half the way, and that cookie opens nothing.
    let form = |more: &str| {
        format!(
            "{}Content-Type: application/x-www-form-urlencoded\r\nAccept: text/html\r\n",
            world
                .stranger("")
                .replace("Cookie: ", &format!("Cookie: {more}; "))
        )
    };
    let right = "name=owner&password=four+words+are+enough";
    let (status, text) = world.edge("POST", "/sign-in", &form("a=b"), right);
    assert_eq!(status, 303, "{text}");
    assert!(
        text.contains("location: /sign-in/code") && !text.contains("__Host-freehold="),
        "{text}"
    );
    let half = forms::cookie(&text, "__Host-freehold-half")
        .unwrap()
        .to_owned();
    for stolen in [
        signed_in(&half),
        format!("Cookie: __Host-freehold-half={half}\r\n"),
    ] {
        let (status, _) = world.edge("GET", "/api/v1/session", &stolen, "");
        assert_eq!(status, 401);
    }
    let half = format!("__Host-freehold-half={half}");
    let (status, text) = world.edge("POST", "/sign-in/code", &form(&half), "code=000000");
    assert_eq!(status, 401, "{text}");
    let (status, text) = world.edge("POST", "/sign-in/code", &form("a=b"), "code=000000");
    assert!(
        status == 303 && text.contains("location: /sign-in\r\n"),
        "{text}"
    );
    let good = format!("code={}", authenticator::code(&key, 1));
    let (status, text) = world.edge("POST", "/sign-in/code", &form(&half), &good);
    assert_eq!(status, 303, "{text}");
    let token = session_in(&text);

    // The dangerous asks for both.
    world.let_confirmations_age();
    let headers = format!(
        "{}Content-Type: application/json\r\n",
        world.signed_in(&token)
    );
    let (status, text) = world.edge("DELETE", own, &headers, "");
    assert_eq!(status, 403, "{text}");
    let again = "/api/v1/session/confirm";
    let password = r#"{"password":"four words are enough"}"#;
    let (status, text) = world.edge("POST", again, &headers, password);
    assert!(status == 401 && text.contains("asks for a code"), "{text}");
    let both = serde_json::json!({ "password": "four words are enough", "code": recovery[0] });
    let (status, text) = world.edge("POST", again, &headers, &both.to_string());
    assert_eq!(status, 200, "{text}");
    let headers = world.signed_in(&session_in(&text));
    let (status, text) = world.edge("DELETE", own, &headers, "");
    assert_eq!(status, 204, "{text}");
    let (_, text) = world.edge("POST", "/sign-in", &form("a=b"), right);
    assert!(text.contains("location: /\r\n"), "{text}");
}

#[test]
fn a2_sessions_are_listed_and_ended_by_oneself_and_by_an_admin() {
    let world = World::new();
    let ana = world.somebody("ana", Role::Viewer, &[]);
    let admin = world.somebody("an admin", Role::Admin, &[]);
    let (_, text) = world.edge("GET", "/api/v1/sessions", &ana.headers, "");
    let list = json(&text);
    assert_eq!(
        (
            &list["items"][0]["own"],
            list["items"].as_array().unwrap().len()
        ),
        (&true.into(), 1)
    );
    let mark = list["items"][0]["mark"].as_str().unwrap().to_owned();
    // Others' are not hers to see or end.
    let theirs = "/api/v1/users/an.admin/sessions";
    let (status, _) = world.edge("GET", theirs, &ana.headers, "");
    assert_eq!(status, 403);
    let (_, text) = world.edge("GET", theirs, &admin.headers, "");
    let foreign = json(&text)["items"][0]["mark"].as_str().unwrap().to_owned();
    let (status, _) = world.edge(
        "DELETE",
        &format!("/api/v1/sessions/{foreign}"),
        &ana.headers,
        "",
    );
    assert_eq!(status, 404);
    let hers = format!("/api/v1/users/ana/sessions/{mark}");
    let (status, text) = world.edge("DELETE", &hers, &admin.headers, "");
    assert_eq!(status, 204, "{text}");
    let (status, _) = world.edge("GET", "/api/v1/session", &ana.headers, "");
    assert_eq!(status, 401);
    let (status, text) = world.edge("DELETE", theirs, &admin.headers, "");
    assert!(status == 200 && text.contains("\"ended\":1"), "{text}");
    let (status, _) = world.edge("GET", "/api/v1/session", &admin.headers, "");
    assert_eq!(status, 401);
}

/// The page of somebody else: what the API does, for whom it does it, after the same password.
#[test]
fn a2_an_admin_ends_sessions_and_turns_a_second_factor_off_on_a_page() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let owner = world.signed_in(&world.come_in(&link));
    let ana = world.somebody("ana", Role::Viewer, &[]);
    let admin = world.somebody("an admin", Role::Admin, &[]);
    let form = "Content-Type: application/x-www-form-urlencoded\r\nAccept: text/html\r\n";
    let by = |headers: &str, path: &str, body: &str| {
        world.edge("POST", path, &format!("{headers}{form}"), body)
    };
    let page = "/settings/people/ana";
    let (end, all) = (
        format!("{page}/sessions/end"),
        format!("{page}/sessions/end-all"),
    );
    let off = format!("{page}/second-factor/off");
    let is_in = |headers: &str| world.edge("GET", "/api/v1/session", headers, "").0 == 200;

    // A key, and a first code: her second factor is on.
    let own = "/api/v1/account/second-factor";
    let json_of = format!("{}Content-Type: application/json\r\n", ana.headers);
    let (_, text) = world.edge("POST", own, &json_of, "");
    let key = authenticator::key(json(&text)["key"].as_str().unwrap());
    let code = format!("{{\"code\":\"{}\"}}", authenticator::code(&key, 0));
    let (status, text) = world.edge("POST", &format!("{own}/confirm"), &json_of, &code);
    assert_eq!(status, 200, "{text}");

    let (status, text) = world.edge("GET", page, &admin.headers, "");
    assert_eq!(status, 200, "{text}");
    let (_, mark) = text.split_once("name=\"mark\" value=\"").unwrap();
    let mark = format!("mark={}", mark.split_once('"').unwrap().0);
    assert!(text.contains("Turn off the second factor of ana"), "{text}");

    // Only owners see and touch owners; who is in charge of nobody touches nobody.
    for (path, body) in [
        ("", ""),
        ("/sessions/end", "mark=00000000"),
        ("/sessions/end-all", ""),
        ("/second-factor/off", ""),
    ] {
        let path = format!("/settings/people/owner{path}");
        let (status, text) = match body.is_empty() && path.ends_with("owner") {
            true => world.edge("GET", &path, &admin.headers, ""),
            false => by(&admin.headers, &path, body),
        };
        assert_eq!(status, 403, "{path}: {text}");
        let (status, text) = by(&ana.headers, &path, body);
        assert_eq!(status, 403, "{path}: {text}");
    }
    assert!(is_in(&owner));

    // A mark that is none of hers ends nothing, and says so where it was asked.
    let (status, text) = by(&admin.headers, &end, "mark=00000000");
    assert!(
        status == 303 && text.contains("freehold-flash=bad."),
        "{text}"
    );
    assert!(is_in(&ana.headers));

    // The password again, as for the API.
    world.let_confirmations_age();
    for path in [&end, &all, &off] {
        let (status, text) = by(&admin.headers, path, &mark);
        assert!(
            status == 303 && text.contains("location: /confirm-password"),
            "{path}: {text}"
        );
    }
    assert!(is_in(&ana.headers));
    let admin = world.somebody("another admin", Role::Admin, &[]);
    let (status, text) = by(&admin.headers, &off, "");
    assert!(
        status == 303 && text.contains("freehold-flash=ok."),
        "{text}"
    );
    let (_, text) = world.local("GET", "/api/v1/users/ana", "");
    assert_eq!(json(&text)["second_factor"], false, "{text}");
    let (_, text) = by(&admin.headers, &off, "");
    assert!(text.contains("freehold-flash=bad."), "{text}");
    let (status, text) = by(&admin.headers, &end, &mark);
    assert!(
        status == 303 && text.contains("freehold-flash=ok."),
        "{text}"
    );
    assert!(!is_in(&ana.headers));
    // All of them: the owner ends the admins'.
    let last = world.somebody("last", Role::Admin, &[]);
    let owner = world.signed_in(&confirmed(&world, &owner));
    let (status, text) = by(&owner, "/settings/people/last/sessions/end-all", "");
    assert_eq!(status, 303, "{text}");
    assert!(!is_in(&last.headers) && is_in(&owner));

    let (_, text) = world.local("GET", "/api/v1/audit?q=ana", "");
    for action in ["session.end", "second-factor.off"] {
        assert!(text.contains(action), "{action}: {text}");
    }
}

/// The password given again; the session's new cookie.
fn confirmed(world: &World, headers: &str) -> String {
    let json = format!("{headers}Content-Type: application/json\r\n");
    let password = r#"{"password":"four words are enough"}"#;
    let (status, text) = world.edge("POST", "/api/v1/session/confirm", &json, password);
    assert_eq!(status, 200, "{text}");
    session_in(&text)
}

/// Locked out on every side: the box makes a link, and that is enough.
#[test]
fn a2_a_reset_on_the_box_lets_the_owner_in_again() {
    let world = World::new();
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let before = world.come_in(&link);
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_freehold"))
        .args(["user", "reset", "owner", "--yes"])
        .env("FREEHOLD_SOCKET", world.daemon.socket("freehold.sock"))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{said}");
    let (status, _) = world.edge("GET", "/api/v1/session", &signed_in(&before), "");
    assert_eq!(status, 401, "its sessions are ended");
    let link = said.lines().next().unwrap();
    world.come_in(&format!("{link}\""));
}
