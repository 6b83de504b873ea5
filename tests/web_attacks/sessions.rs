//! Sessions: planted, stolen, kept too long.

use crate::forms;
use crate::world::{FORM, PASSWORD, SAME_ORIGIN, World};

const COOKIE: &str = "__Host-freehold";

/// Signs the owner in; `more` are further cookies the browser sends. What the answer sets.
fn sign_in(world: &World, more: &str) -> crate::world::Answer {
    let cookies = format!("Cookie: {more}");
    let page = world.edge("GET", "/sign-in", &[&cookies], "");
    let visitor = forms::cookie(&page.text, forms::VISITOR).unwrap();
    let cookies = format!("Cookie: {}={visitor}; {more}", forms::VISITOR);
    let words = PASSWORD.replace(' ', "+");
    let form = format!(
        "form-token={}&name=owner&password={words}",
        forms::token(&page.text)
    );
    world.edge("POST", "/sign-in", &[FORM, &cookies, SAME_ORIGIN], &form)
}

fn is_in(world: &World, session: &str) -> bool {
    let cookie = format!("Cookie: {COOKIE}={session}");
    match world.edge("GET", "/api/v1/status", &[&cookie], "").status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

#[test]
fn a6_a_planted_session_is_not_adopted() {
    let world = World::new();
    let planted = "A".repeat(43);
    let answer = sign_in(&world, &format!("{COOKIE}={planted}; a=b"));
    assert_eq!(answer.status, 303, "{}", answer.text);
    let given = forms::cookie(&answer.text, COOKIE).unwrap();
    assert_ne!(given, planted);
    assert!(is_in(&world, given) && !is_in(&world, &planted));
    // A cookie without the prefix, which a sibling could set, is no session.
    let plain = format!("Cookie: freehold={given}");
    assert_eq!(
        world.edge("GET", "/api/v1/status", &[&plain], "").status,
        401
    );
}

#[test]
fn a6_signing_out_ends_the_session_on_the_box() {
    let world = World::new();
    let (cookie, token) = (world.cookie(), world.token());
    assert!(is_in(&world, &world.session));
    let form = format!("form-token={token}");
    let answer = world.edge("POST", "/sign-out", &[FORM, &cookie, SAME_ORIGIN], &form);
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert!(answer.text.contains("Max-Age=0"), "{}", answer.text);
    assert!(
        !is_in(&world, &world.session),
        "a copy of the cookie leads nowhere"
    );
}

#[test]
fn a6_cookies_go_to_this_host_over_tls_and_to_no_script() {
    let world = World::new();
    let mut seen = Vec::new();
    let (cookie, token) = (world.cookie(), world.token());
    let form = |rest: &str| format!("form-token={token}&{rest}");
    let answers = [
        world.edge("GET", "/sign-in", &[], ""),
        sign_in(&world, "a=b"),
        world.edge(
            "POST",
            "/theme",
            &[FORM, &cookie, SAME_ORIGIN],
            &form("theme=dark&back=/box"),
        ),
        world.edge(
            "POST",
            "/apps",
            &[FORM, &cookie, SAME_ORIGIN],
            &form("name=cookies"),
        ),
        world.edge(
            "POST",
            "/sign-out",
            &[FORM, &cookie, SAME_ORIGIN],
            &form(""),
        ),
    ];
    for answer in answers {
        let head = answer.text.split("\r\n\r\n").next().unwrap();
        for line in head
            .lines()
            .filter(|l| l.to_lowercase().starts_with("set-cookie:"))
        {
            let (name, _) = line[11..].trim().split_once('=').unwrap();
            seen.push(name.to_owned());
            assert!(name.starts_with("__Host-"), "{line}");
            for needed in ["; Path=/;", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
                assert!(line.contains(needed), "{needed}: {line}");
            }
            assert!(!line.to_lowercase().contains("domain"), "{line}");
        }
    }
    for name in [
        COOKIE,
        "__Host-freehold-visitor",
        "__Host-freehold-theme",
        "__Host-freehold-flash",
    ] {
        assert!(seen.iter().any(|s| s == name), "{name} among {seen:?}");
    }
}
