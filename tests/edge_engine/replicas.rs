//! E6: the policies that only an app behind the edge shows, each by freehold.toml, API and command line; tests/edge_live/table.rs
//! has the others, and these by the settings.

use std::collections::BTreeSet;

use serde_json::json;

use crate::place::{HOST, PROCESS, Place};

/// Which replica answered, and the line of the request that it saw.
fn answered(place: &Place, cookie: Option<&str>) -> (String, String, String) {
    let asked = place.get("/api/users");
    let asked = match cookie {
        Some(cookie) => asked.header("Cookie", cookie),
        None => asked,
    };
    let answer = asked.send().unwrap();
    let text = answer.text();
    let line = |begin: &str| {
        let found = text.lines().find(|line| line.starts_with(begin));
        found.unwrap_or_default().to_owned()
    };
    let cookie = answer.header("set-cookie").split(';').next().unwrap();
    (line("replica: "), line("GET "), cookie.to_owned())
}

#[derive(Clone, Copy, Debug)]
enum Way {
    AppFile,
    Api,
    CommandLine,
}

impl Way {
    /// Says it for the domain with a path, or unsays it.
    fn say(self, place: &Place, key: &str, on: bool) {
        let domain = format!("{HOST}/api");
        let at = format!("/apps/shop/domains/{HOST}%2Fapi/policies");
        match (self, on) {
            (Way::AppFile, _) => {
                let route = format!("replicas = 2\n[processes.web.route]\n{key} = {on}\n");
                let release = format!("{PROCESS}{route}");
                // The same tree each time, so that nothing is built anew.
                place.deploy("tree", &release);
            }
            (Way::Api, true) => {
                let sent = place.api("PUT", &at).json(&json!({ key: true }));
                let answer = sent.send().unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            (Way::Api, false) => {
                let answer = place.api("DELETE", &at).send().unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            (Way::CommandLine, true) => {
                let option = format!("--{}", key.replace('_', "-"));
                place.fh.cli(&["domain", "set", "shop", &domain, &option]);
            }
            (Way::CommandLine, false) => {
                let reset = ["domain", "set", "shop", &domain, "--reset", key];
                place.fh.cli(&reset);
            }
        }
    }
}

#[test]
fn e6_a_path_and_a_browser_s_replica_are_kept_by_app_file_api_and_command_line() {
    let place = Place::new();
    place.deploy("tree", &format!("{PROCESS}replicas = 2\n"));
    let line = |wanted: &'static str| {
        place.until(
            wanted,
            || place.get("/api/users"),
            move |answer| answer.text().lines().next() == Some(wanted),
        )
    };
    let cookie = |is_set: bool| {
        let what = if is_set { "a cookie" } else { "no cookie" };
        place.until(
            what,
            || place.get("/api/users"),
            move |answer| answer.status == 200 && answer.header("set-cookie").is_empty() != is_set,
        )
    };
    line("GET /api/users");
    for way in [Way::Api, Way::CommandLine, Way::AppFile] {
        way.say(&place, "strip_prefix", true);
        line("GET /users");
        way.say(&place, "strip_prefix", false);
        line("GET /api/users");
        way.say(&place, "sticky", true);
        cookie(true);
        let (first, _, mark) = answered(&place, None);
        let stayed: BTreeSet<String> = (0..20).map(|_| answered(&place, Some(&mark)).0).collect();
        assert_eq!(stayed, BTreeSet::from([first]), "{way:?}");
        way.say(&place, "sticky", false);
        cookie(false);
    }
    // Whoever asks without one is at either; once in half a million times all are at one.
    let seen: BTreeSet<String> = (0..20).map(|_| answered(&place, None).0).collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
}
