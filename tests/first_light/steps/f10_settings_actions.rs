//! F10: what is done to targets, people, checks and one's own account without a script.

use std::collections::BTreeSet;

use crate::app::APP;
use crate::authenticator;
use crate::world::{PASSWORD, World};

use super::f10_looks::{PANEL, Person, form};

const OTHER_PASSWORD: &str = "another horse battery";

pub fn targets(p: &mut Person, world: &World) {
    let (settings, action) = ("/settings", "/settings/targets");
    for name in ["near", "far"] {
        let folder = world.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let place = format!("dir://{}", folder.display());
        p.go(settings);
        // Open from the start only while there is no target.
        let page = match p.browser.has("details[open]") {
            true => settings,
            false => "/settings?add",
        };
        let fields = [("name", name), ("place", place.as_str())];
        p.send(
            "/settings/targets",
            &form(page, action, &fields),
            "was tried and works",
        );
    }
    let test = "/settings/targets/near/test";
    p.send(
        "/settings/targets/{target}/test",
        &form(settings, test, &[]),
        "near works",
    );
    let choose = "/settings/targets/near/use";
    p.send(
        "/settings/targets/{target}/use",
        &form(settings, choose, &[]),
        "Backups go to near",
    );
    for name in ["far", "near"] {
        let question = format!("/settings/targets/{name}/remove");
        let right = [("typed", name)];
        let route = "/settings/targets/{target}/remove";
        p.send(route, &form(&question, &question, &right), "is removed");
    }
}

/// Ana comes in, by a link that `p` makes for her.
fn comes_in(p: &mut Person, ana: &Person) {
    let (all, reset) = ("/settings/people", "/settings/people/ana@example.com/reset");
    let route = "/settings/people/{user}/reset";
    p.send(route, &form(all, reset, &[]), "A link for ana@example.com");
    let link = p.browser.text();
    let link = link.lines().find(|l| l.contains("/setup/")).unwrap();
    let (_, token) = link.trim().rsplit_once('/').unwrap();
    let browser = &ana.browser;
    browser.go(&format!("{PANEL}/setup/{token}"));
    for name in ["password", "again"] {
        browser.type_into(&format!("[name={name}]"), "ana has four words");
    }
    browser.click_away("form[action^=\"/setup/\"] button");
    assert!(browser.text().contains(APP), "{}", browser.text());
}

pub fn people(p: &mut Person, world: &World) {
    let all = "/settings/people";
    let bad = [("name", "two words")];
    p.send(all, &form(all, all, &bad), "cannot be a user");
    let good = [("name", "ana@example.com"), ("apps", APP)];
    p.send(all, &form(all, all, &good), "A link for ana@example.com");
    let ana = "/settings/people/ana@example.com";
    // Ana has a browser of her own.
    let mut hers = Person {
        browser: world.browser(|s| s.javascript = false),
        done: BTreeSet::new(),
    };
    let is_out = |hers: &Person| {
        hers.browser.go(&format!("{PANEL}/"));
        assert!(hers.path().contains("/sign-in"), "{}", hers.path());
    };
    comes_in(p, &hers);
    let text = hers.browser.text();
    assert!(!text.contains("Databases"), "{text}");
    puts_in_a_second_factor(&mut hers);
    let route = "/settings/people/{user}/second-factor/off";
    let off = format!("{ana}/second-factor/off");
    p.send(route, &form(ana, &off, &[]), "ana@example.com is off");
    let route = "/settings/people/{user}/sessions/end";
    let end = format!("{ana}/sessions/end");
    p.send(route, &form(ana, &end, &[]), "is ended");
    is_out(&hers);
    comes_in(p, &hers);
    let route = "/settings/people/{user}/sessions/end-all";
    let end = format!("{ana}/sessions/end-all");
    p.send(route, &form(ana, &end, &[]), "is ended");
    is_out(&hers);
    // She leaves a session behind.
    comes_in(p, &hers);
    let apps = [("apps", ", looks2")];
    let route = "/settings/people/{user}";
    p.send(route, &form(all, ana, &apps), "no app called");
    let question = format!("{ana}/remove");
    let route = "/settings/people/{user}/remove";
    let wrong = [("typed", "bob")];
    p.send(route, &form(&question, &question, &wrong), "This is not");
    let right = [("typed", "ana@example.com")];
    p.send(route, &form(&question, &question, &right), "is taken out");
    is_out(&hers);
    let tokens = "/account/tokens";
    let unnamed = [("name", " ")];
    p.send(tokens, &form("/account", tokens, &unnamed), "needs a name");
    let named = [("name", "CI")];
    p.send(tokens, &form("/account", tokens, &named), "freehold_pat_");
    let end = "/account/tokens/end";
    p.send(end, &form("/account", end, &[]), "token is ended");
    let end = "/account/sessions/end";
    p.send(end, &form("/account", end, &[]), "is ended");
}

pub fn checks_and_password(p: &mut Person) {
    let checks = "/checks";
    let sample = [
        ("name", "Sample"),
        ("url", "https://tasks.test/healthz?looks"),
    ];
    p.send(
        "/checks",
        &form(checks, checks, &sample),
        "is checked from now on",
    );
    p.browser.click_away("form[action$=\"/remove\"] button");
    p.is_told("The check is removed");
    p.done.insert("/checks/{id}/remove");
    let (account, action) = ("/account", "/account/password");
    p.browser
        .go(&format!("{PANEL}/confirm-password?to=/account&again=1"));
    assert!(p.confirms());
    p.is_told("do it again now");
    p.done.insert("/confirm-password");
    for (old, new) in [(PASSWORD, OTHER_PASSWORD), (OTHER_PASSWORD, PASSWORD)] {
        let fields = [("current", old), ("password", new), ("again", new)];
        p.send(action, &form(account, action, &fields), "is changed");
    }
    second_factor(p);
    p.send("/sign-out", &form(account, "/sign-out", &[]), "Sign in");
    let sign_in = "/sign-in";
    let wrong = [("password", "wrong password")];
    p.send("/sign-in", &form(sign_in, sign_in, &wrong), "is not right");
    let right = [("password", PASSWORD)];
    p.send("/sign-in", &form(sign_in, sign_in, &right), "Apps");
}

/// Puts a second factor in; a wrong code does not.
fn puts_in_a_second_factor(p: &mut Person) {
    let page = "/account/second-factor";
    p.send(page, &form(page, page, &[]), "Put the key into");
    let text = p.browser.text();
    let is_key = |l: &&str| {
        let plain = l.replace(' ', "");
        plain.len() == 32
            && plain
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    let key = authenticator::key(text.lines().map(str::trim).find(is_key).unwrap());
    let confirm = "/account/second-factor/confirm";
    let wrong = [("code", "000000")];
    p.send(confirm, &form(page, confirm, &wrong), "is not right");
    let code = authenticator::code(&key, 0);
    let right = [("code", code.as_str())];
    p.send(confirm, &form(page, confirm, &right), "Your recovery codes");
}

/// A second factor put in, asked for at sign-in, and taken out again.
fn second_factor(p: &mut Person) {
    puts_in_a_second_factor(p);
    let page = "/account/second-factor";
    let wrong = [("code", "000000")];
    let codes = "/account/second-factor/codes";
    p.send(codes, &form(page, codes, &[]), "Your recovery codes");
    let text = p.browser.text();
    let is_code = |l: &&str| l.len() == 19 && l.matches('-').count() == 3;
    let recovery = text
        .lines()
        .map(str::trim)
        .find(is_code)
        .unwrap()
        .to_owned();
    p.send("/sign-out", &form("/account", "/sign-out", &[]), "Sign in");
    let sign_in = "/sign-in";
    let password = [("password", PASSWORD)];
    p.send(sign_in, &form(sign_in, sign_in, &password), "Your code");
    let second = "/sign-in/code";
    p.send(second, &form(second, second, &wrong), "is not right");
    let right = [("code", recovery.as_str())];
    p.send(second, &form(second, second, &right), "Apps");
    let off = "/account/second-factor/off";
    p.send(off, &form(page, off, &[]), "second factor is off");
}
