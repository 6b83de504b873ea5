//! A5: what an entry tells of what is done to people, and of what they do to their own accounts.

use serde_json::json;

use super::told::{Walk, json_of};
use super::{FORM, WORDS, World, authenticator, forms};

pub fn people(walk: &mut Walk<'_>, owner: &str) {
    let new = json!({ "name": "ann", "role": "viewer" });
    walk.local("POST /api/v1/users", "/api/v1/users", &new);
    walk.session(
        owner,
        "POST /settings/people",
        "/settings/people",
        "name=ben&role=viewer",
    );
    let link = walk.local(
        "POST /api/v1/users/{user}/reset",
        "/api/v1/users/ann/reset",
        &json!({}),
    );
    walk.world.come_in(&link);
    let page = "POST /settings/people/{user}";
    walk.session(
        owner,
        &format!("{page}/reset"),
        "/settings/people/ben/reset",
        "",
    );
    walk.session(owner, page, "/settings/people/ann", "role=admin");
    walk.local(
        "PATCH /api/v1/users/{user}",
        "/api/v1/users/ann",
        &json!({ "role": "viewer" }),
    );
    // Ann's session ends in four ways.
    let of = "/api/v1/users/ann/sessions";
    let mark = walk.mark("ann");
    walk.session(
        owner,
        &format!("{page}/sessions/end"),
        "/settings/people/ann/sessions/end",
        &format!("mark={mark}"),
    );
    sign_in(walk, "ann");
    walk.session(
        owner,
        &format!("{page}/sessions/end-all"),
        "/settings/people/ann/sessions/end-all",
        "",
    );
    sign_in(walk, "ann");
    let mark = walk.mark("ann");
    walk.local(
        "DELETE /api/v1/users/{user}/sessions/{mark}",
        &format!("{of}/{mark}"),
        &json!({}),
    );
    sign_in(walk, "ann");
    walk.local("DELETE /api/v1/users/{user}/sessions", of, &json!({}));
    walk.local(
        "DELETE /api/v1/users/{user}",
        "/api/v1/users/ann",
        &json!({}),
    );
    walk.session(
        owner,
        &format!("{page}/remove"),
        "/settings/people/ben/remove",
        "typed=ben",
    );
}

/// Signs in with the password alone; the answer.
fn sign_in(walk: &mut Walk<'_>, name: &str) -> String {
    let words = WORDS.replace(' ', "+");
    let stranger = walk.world.stranger();
    let form = format!("name={name}&password={words}");
    let answer = walk.session(&stranger, "POST /sign-in", "/sign-in", &form);
    assert!(walk.world.last()["after"]["session"].is_string());
    answer
}

/// A second factor, on from here; the recovery codes' first.
fn enrol(walk: &mut Walk<'_>, who: &str) -> String {
    let at = "/api/v1/account/second-factor";
    let offer = walk.session(who, &format!("POST {at}"), at, "{}");
    let key = json_of(&offer)["key"].as_str().unwrap().to_owned();
    let code = authenticator::code(&authenticator::key(&key), 0);
    let confirm = format!("{at}/confirm");
    let sent = json!({ "code": code }).to_string();
    let told = walk.session(who, &format!("POST {confirm}"), &confirm, &sent);
    json_of(&told)["recovery_codes"][0]
        .as_str()
        .unwrap()
        .to_owned()
}

pub fn accounts(walk: &mut Walk<'_>, owner: &str) {
    // Through the API.
    let api = walk.world.somebody("cleo", "admin", &[]);
    enrol(walk, &api);
    assert_eq!(walk.world.last()["after"]["second_factor.codes"], "•••");
    let at = "/api/v1/account/second-factor";
    let codes = format!("{at}/recovery-codes");
    walk.session(&api, &format!("POST {codes}"), &codes, "{}");
    let entry = walk.world.last();
    assert_eq!(
        entry["after"],
        json!({ "second_factor.codes": "••• (another one)" }),
        "{entry}"
    );
    walk.session(&api, &format!("DELETE {at}"), at, "");
    enrol(walk, &api);
    walk.local(
        "DELETE /api/v1/users/{user}/second-factor",
        "/api/v1/users/cleo/second-factor",
        &json!({}),
    );
    enrol(walk, &api);
    walk.session(
        owner,
        "POST /settings/people/{user}/second-factor/off",
        "/settings/people/cleo/second-factor/off",
        "",
    );
    let sent = json!({ "password": WORDS }).to_string();
    let confirm = "/api/v1/session/confirm";
    let answer = walk.session(&api, &format!("POST {confirm}"), confirm, &sent);
    let api = headers(walk.world, &answer);
    let other = "five words are enough too";
    let sent = json!({ "current": WORDS, "password": other }).to_string();
    let password = "/api/v1/account/password";
    walk.session(&api, &format!("POST {password}"), password, &sent);
    let dora = walk.world.somebody("dora", "admin", &[]);
    let mark = walk.mark("dora");
    walk.session(
        &dora,
        "DELETE /api/v1/sessions/{mark}",
        &format!("/api/v1/sessions/{mark}"),
        "",
    );

    // On the pages.
    let page = walk.world.somebody("emil", "admin", &[]);
    let at = "/account/second-factor";
    walk.session(&page, &format!("POST {at}"), at, "");
    assert_eq!(
        walk.world.last()["after"],
        json!({ "second_factor.key": "•••" })
    );
    let (_, shown) = walk.world.edge("GET", at, &page, "");
    let (_, rest) = shown.split_once("id=\"key\">").unwrap();
    let key = rest.split('<').next().unwrap();
    let code = authenticator::code(&authenticator::key(key), 0);
    for (of, sent) in [
        ("/confirm", format!("code={code}")),
        ("/codes", String::new()),
        ("/off", String::new()),
    ] {
        let path = format!("{at}{of}");
        walk.session(&page, &format!("POST {path}"), &path, &sent);
    }
    let words = WORDS.replace(' ', "+");
    let form = format!("password={words}&to=%2Faccount&code=");
    let answer = walk.session(&page, "POST /confirm-password", "/confirm-password", &form);
    let page = headers(walk.world, &answer);
    let other = "five+words+are+enough+too";
    let form = format!("current={words}&password={other}&again={other}&code=");
    let answer = walk.session(&page, "POST /account/password", "/account/password", &form);
    let page = headers(walk.world, &answer);
    let mark = walk.mark("emil");
    walk.session(
        &page,
        "POST /account/sessions/end",
        "/account/sessions/end",
        &format!("mark={mark}"),
    );
    let fred = walk.world.somebody("fred", "viewer", &[]);
    walk.session(&fred, "POST /sign-out", "/sign-out", "");
}

/// The headers of the session that this answer begins.
fn headers(world: &World, answer: &str) -> String {
    let session = forms::cookie(answer, "__Host-freehold").unwrap();
    let cookie = format!("Cookie: __Host-freehold={session}\r\nSec-Fetch-Site: same-origin\r\n");
    let (_, page) = world.edge("GET", "/account", &cookie, "");
    format!("{cookie}X-Form-Token: {}\r\n", forms::token(&page))
}

pub fn coming_in(walk: &mut Walk<'_>) {
    let gail = walk.world.somebody("gail", "admin", &[]);
    let recovery = enrol(walk, &gail);
    let words = WORDS.replace(' ', "+");
    let stranger = walk.world.stranger();
    let form = format!("name=gail&password={words}");
    let (_, half) = walk
        .world
        .edge("POST", "/sign-in", &format!("{FORM}{stranger}"), &form);
    let half = forms::cookie(&half, "__Host-freehold-half").unwrap();
    let stranger = stranger.replace(
        "Cookie: ",
        &format!("Cookie: __Host-freehold-half={half}; "),
    );
    walk.session(
        &stranger,
        "POST /sign-in/code",
        "/sign-in/code",
        &format!("code={recovery}"),
    );
    assert!(walk.world.last()["after"]["session"].is_string());
}
