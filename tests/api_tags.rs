//! A1: tags of what is shown, and edits that are made only on what their caller saw, seen from outside. The daemon is the
//! real one, without an engine.

use std::time::Duration;

use serde_json::{Value, json};

#[path = "support/api.rs"]
mod api;
#[path = "support/quiet.rs"]
mod quiet;

use api::{ask, form, local, make_app};
use quiet::Daemon;

#[test]
fn a1_a_tag_saves_an_answer_and_holds_a_change_back() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    let path = "/api/v1/apps/shop";
    let first = local(&daemon, "GET", path, "", "");
    let tag = first.header("etag").unwrap().to_owned();
    let again = local(
        &daemon,
        "GET",
        path,
        &format!("If-None-Match: {tag}\r\n"),
        "",
    );
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let with_tag = format!("If-Match: {tag}\r\n");
    let change = |branch: &str| json!({ "git_branch": branch }).to_string();
    let mine = local(&daemon, "PATCH", path, &with_tag, &change("one"));
    assert_eq!(mine.status, 200, "{}", mine.body);
    let theirs = local(&daemon, "PATCH", path, &with_tag, &change("two"));
    assert_eq!(
        (theirs.status, theirs.json()["kind"].as_str()),
        (412, Some("changed"))
    );
    let none = local(&daemon, "PUT", path, "If-Match: \"x\"\r\n", "");
    assert_eq!(
        none.status, 405,
        "a method that is not there has nothing to hold back"
    );
    let now = local(&daemon, "GET", path, "", "");
    assert_eq!(now.json()["git_branch"], "one");
    assert_ne!(now.header("etag"), Some(tag.as_str()));
    // Of many who saw the same, one changes it, by whichever socket they come.
    let tag = format!("If-Match: {}\r\n", now.header("etag").unwrap());
    let new = json!({ "name": "ci", "verb": "change" }).to_string();
    let token = local(&daemon, "POST", "/api/v1/tokens", "", &new).json();
    let token = token["token"].as_str().unwrap().to_owned();
    let remote = format!("{tag}Authorization: Bearer {token}\r\n");
    let edge = daemon.socket("edge.sock");
    let all: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|n| {
                let (daemon, tag, remote, edge) = (&daemon, &tag, &remote, &edge);
                let body = change(&format!("b{n}"));
                scope.spawn(move || match n % 2 {
                    0 => local(daemon, "PATCH", path, tag, &body).status,
                    _ => ask(edge, "PATCH", path, remote, &body).status,
                })
            })
            .collect();
        tries.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(all.iter().filter(|s| **s == 200).count(), 1, "{all:?}");
    assert_eq!(all.iter().filter(|s| **s == 412).count(), 7, "{all:?}");
}

/// The commonest edits: variables and domains are tagged as a whole, however many there are.
#[test]
fn a1_variables_and_domains_are_changed_only_as_they_were_seen() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    let path = "/api/v1/apps/shop/env";
    let set: serde_json::Map<String, Value> =
        (0..60).map(|n| (format!("V{n:02}"), "1".into())).collect();
    let many = json!({ "set": set }).to_string();
    assert_eq!(local(&daemon, "PATCH", path, "", &many).status, 200);
    let seen = local(&daemon, "GET", path, "", "");
    assert_eq!(seen.json()["items"].as_array().unwrap().len(), 60);
    assert_eq!(seen.json()["next"], Value::Null);
    let tag = format!("If-Match: {}\r\n", seen.header("etag").unwrap());
    let one = |name: &str| json!({ "set": { name: "2" } }).to_string();
    // One that would stand behind the first page of an ordinary list.
    let theirs = local(&daemon, "PATCH", path, "", &one("Z99"));
    assert_eq!(theirs.status, 200, "{}", theirs.body);
    let mine = local(&daemon, "PATCH", path, &tag, &one("A"));
    assert_eq!(
        (mine.status, mine.json()["kind"].as_str()),
        (412, Some("changed"))
    );
    let now = local(&daemon, "GET", path, "", "");
    let tag = format!("If-Match: {}\r\n", now.header("etag").unwrap());
    assert_eq!(local(&daemon, "PATCH", path, &tag, &one("A")).status, 200);

    let path = "/api/v1/apps/shop/domains";
    let add = |domain: &str| {
        let form = json!({ "domain": domain }).to_string();
        let added = local(&daemon, "POST", path, "", &form);
        assert_eq!(added.status, 200, "{}", added.body);
    };
    add("one.test");
    let seen = local(&daemon, "GET", path, "", "");
    let tag = format!("If-Match: {}\r\n", seen.header("etag").unwrap());
    add("two.test");
    let gone = format!("{path}?domain=one.test");
    assert_eq!(local(&daemon, "DELETE", &gone, &tag, "").status, 412);
    let now = local(&daemon, "GET", path, "", "");
    let tag = format!("If-Match: {}\r\n", now.header("etag").unwrap());
    assert_eq!(local(&daemon, "DELETE", &gone, &tag, "").status, 200);
    // Where nothing is tagged, care is refused and not left out.
    let none = local(
        &daemon,
        "DELETE",
        "/api/v1/users/ana/sessions",
        "If-Match: \"x\"\r\n",
        "",
    );
    assert_eq!(none.status, 422, "{}", none.body);
}

/// What happens by itself refuses nobody's change; a secret that somebody else replaced does.
#[test]
fn a1_a_finished_deploy_is_no_change_and_a_replaced_secret_is() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    let path = "/api/v1/apps/shop";
    let tag = || {
        let seen = local(&daemon, "GET", path, "", "");
        format!("If-Match: {}\r\n", seen.header("etag").unwrap())
    };
    let before = tag();
    let deploy = json!({ "image": "127.0.0.1:9/shop" }).to_string();
    let begun = local(&daemon, "POST", &format!("{path}/deploys"), "", &deploy);
    assert_eq!(begun.status, 202, "{}", begun.body);
    let branch = json!({ "git_branch": "one" }).to_string();
    let mine = local(&daemon, "PATCH", path, &before, &branch);
    assert_eq!(mine.status, 200, "{}", mine.body);
    let login = |password: &str| {
        json!({ "registry_host": "ghcr.io", "registry_user": "ana", "registry_password": password })
            .to_string()
    };
    assert_eq!(local(&daemon, "PATCH", path, "", &login("one")).status, 200);
    let before = tag();
    assert_eq!(local(&daemon, "PATCH", path, "", &login("two")).status, 200);
    let late = local(&daemon, "PATCH", path, &before, &login("three"));
    assert_eq!(late.status, 412, "{}", late.body);
}

/// Between an edit's comparison and its write no form of the dashboard comes: if both were done, the form was the later.
#[test]
fn a1_a_form_does_not_come_between_a_tags_comparison_and_its_change() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    let path = "/api/v1/apps/shop";
    let (mut kept, mut refused) = (0, 0);
    for round in 0..60 {
        let seen = local(&daemon, "GET", path, "", "");
        let tag = format!("If-Match: {}\r\n", seen.header("etag").unwrap());
        let mine = json!({ "git_branch": format!("mine{round}") }).to_string();
        let theirs = format!("theirs{round}");
        let (patched, posted) = std::thread::scope(|scope| {
            let patch = scope.spawn(|| local(&daemon, "PATCH", path, &tag, &mine).status);
            // So that either comes first now and then.
            std::thread::sleep(Duration::from_micros(round * 150));
            // The path's name is written in another way than the API's.
            let posted = form(
                &daemon,
                "/apps/sh%6Fp/source",
                &format!("repository=https://git.test/shop.git&branch={theirs}"),
            );
            (patch.join().unwrap(), posted.status)
        });
        assert_eq!(posted, 303);
        match patched {
            200 => kept += 1,
            412 => refused += 1,
            other => panic!("{other}"),
        }
        let now = local(&daemon, "GET", path, "", "").json();
        assert_eq!(
            now["git_branch"], theirs,
            "round {round}: the form's change was lost"
        );
    }
    println!("{kept} edits were made, {refused} refused");
}
