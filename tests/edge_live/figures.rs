//! E7: the figures of routes and the access log, after traffic that is known to the byte.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::app::App;
use crate::quiet::Daemon;
use crate::world::{World, until};

const HOST: &str = "example.com";

/// What is asked of a route: how often, which status and how many bytes come, how many go.
type Traffic = [(usize, u16, usize, usize)];

const TO_ROOT: &Traffic = &[
    (5, 200, 1_000, 0),
    (2, 200, 50, 300),
    (2, 302, 10, 0),
    (3, 404, 20, 0),
    (1, 500, 30, 0),
];
const TO_API: &Traffic = &[(4, 201, 100, 7)];

/// Sends it over one connection; the ids that the answers had.
fn send(world: &World, host: &str, path: &str, traffic: &Traffic) -> BTreeSet<String> {
    let mut connection = world.edge.connect(host, "127.0.0.1", b"").unwrap();
    let mut ids = BTreeSet::new();
    for (times, status, down, up) in traffic {
        let path = format!("{path}?status={status}&bytes={down}&token=a-secret");
        for _ in 0..*times {
            let mut asked = world.get(host, &path).field("User-Agent", "a test");
            if *up > 0 {
                asked = asked.post(vec![b'x'; *up]);
            }
            let answer = asked.over(&mut connection).unwrap();
            assert_eq!(
                (answer.status, answer.body.len()),
                (*status, *down),
                "{answer}"
            );
            assert!(ids.insert(answer.field("x-request-id")), "{answer}");
        }
    }
    ids
}

/// The lines of the access log that are whole.
pub fn log(daemon: &Daemon) -> Vec<Value> {
    let at = daemon.data().join("logs").join("access.jsonl");
    let text = std::fs::read_to_string(at).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parsed = whole.lines().map(serde_json::from_str);
    parsed.map(|line| line.expect("a line of JSON")).collect()
}

/// Waits for a line of the access log.
pub fn until_logged(daemon: &Daemon, is_it: impl Fn(&Value) -> bool) {
    until("a line of the access log", || {
        let all = log(daemon);
        let found = all.iter().any(&is_it);
        found.then_some(()).ok_or_else(|| json!(all).to_string())
    });
}

/// The lines of a route, once there are so many.
fn logged(daemon: &Daemon, route: &str, count: usize) -> Vec<Value> {
    until(&format!("{count} lines of {route}"), || {
        let mut all = log(daemon);
        all.retain(|line| line["route"] == route);
        match all.len() >= count {
            true => Ok(all),
            false => Err(json!(all).to_string()),
        }
    })
}

/// What `status --routes --json` tells of a route, once it has so many requests.
fn told(world: &World, host: &str, path: &str, requests: u64) -> Value {
    until(&format!("{requests} requests of {host}{path}"), || {
        let told = world.json(&["status", "--routes"]);
        let routes = told["routes"].as_array().unwrap().iter();
        let mut ours = routes.filter(|route| route["host"] == host && route["path"] == path);
        let route = ours.next().ok_or_else(|| told.to_string())?.clone();
        let is_it = route["figures"]["requests"] == requests;
        is_it.then_some(route).ok_or_else(|| told.to_string())
    })
}

#[track_caller]
fn counts(figures: &Value, requests: u64, classes: [u64; 5], bytes: [u64; 2]) {
    let expected = json!({
        "requests": requests, "in_flight": 0, "classes": classes, "failed": 0,
        "rate_limited": 0, "denied": 0, "bytes_in": bytes[0], "bytes_out": bytes[1],
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&figures[key], value, "{key} of {figures}");
    }
    let median = figures["latency"]["p50_ms"].as_f64().unwrap();
    let most = figures["latency"]["p99_ms"].as_f64().unwrap();
    assert!(median > 0.0 && median <= most, "{figures}");
}

/// The cells of a table's row, from the figures that do not move on.
#[track_caller]
fn cells(table: &str, first: &str, second: &str) -> Vec<String> {
    let rows = table.lines().map(|line| line.split_whitespace());
    let rows = rows.map(|row| row.map(str::to_owned).collect::<Vec<_>>());
    let mut rows = rows.filter(|row| row.len() > 6 && row[0] == first && row[1] == second);
    let row = rows
        .next()
        .unwrap_or_else(|| panic!("{first} {second} in {table}"));
    row[6..].to_vec()
}

#[test]
fn e7_status_routes_tells_what_passed_by_route_and_by_target() {
    let world = World::start(
        "[[route]]\nhost = \"example.com\"\nTLS\nupstream = \"http://APP\"\n\
         [[route]]\nhost = \"example.com\"\npath = \"/api\"\nTLS\nupstream = \"http://APP\"\n",
    );
    world.until_served(HOST);
    let ids = send(&world, HOST, "/", TO_ROOT);
    let api = send(&world, HOST, "/api", TO_API);
    let root = told(&world, HOST, "/", 13);
    counts(&root["figures"], 13, [0, 7, 2, 3, 1], [600, 5_210]);
    let below = told(&world, HOST, "/api", 4);
    counts(&below["figures"], 4, [0, 4, 0, 0, 0], [28, 400]);
    // Both lead to one target, which has what both have.
    for route in [&root, &below] {
        let [target] = route["targets"].as_array().unwrap().as_slice() else {
            panic!("{route}");
        };
        assert_eq!(target["address"], world.app.address.to_string());
        assert_eq!(
            (&target["left_out"], &target["container"]),
            (&json!(false), &json!(null))
        );
    }
    let target = until("the target's figures", || {
        let route = told(&world, HOST, "/", 13);
        let target = route["targets"][0].clone();
        let is_it = target["figures"]["requests"] == 17;
        is_it.then_some(target).ok_or_else(|| route.to_string())
    });
    counts(&target["figures"], 17, [0, 11, 2, 3, 1], [628, 5_610]);

    let table = world.cli(&["status", "--routes"]);
    assert_eq!(
        cells(&table, HOST, root["key"].as_str().unwrap()),
        ["0", "13", "7", "2", "3", "1", "0", "600/5210", "0"],
        "{table}"
    );
    assert_eq!(
        cells(&table, "example.com/api", below["key"].as_str().unwrap()),
        ["0", "4", "4", "0", "0", "0", "0", "28/400", "0"],
        "{table}"
    );
    let (key, address) = (
        target["key"].as_str().unwrap(),
        target["address"].as_str().unwrap(),
    );
    assert_eq!(
        cells(&table, key, address),
        ["0", "17", "11", "2", "3", "1", "0", "628/5610", "0"],
        "{table}"
    );

    // And each of them is a line of the log.
    for (route, ids, traffic) in [(&root, ids, TO_ROOT), (&below, api, TO_API)] {
        let lines = logged(&world.daemon, route["key"].as_str().unwrap(), ids.len());
        assert_eq!(lines.len(), ids.len(), "{lines:?}");
        let id = |line: &Value| line["id"].as_str().unwrap().to_owned();
        assert_eq!(lines.iter().map(id).collect::<BTreeSet<_>>(), ids);
        for (times, status, down, up) in traffic {
            let is_it = |line: &&Value| {
                line["status"] == *status && line["bytes_out"] == *down && line["bytes_in"] == *up
            };
            assert_eq!(lines.iter().filter(is_it).count(), *times, "{lines:?}");
        }
        for line in &lines {
            assert_eq!(line["path"], route["path"], "no query: {line}");
            for (key, value) in [
                ("client", "127.0.0.1"),
                ("host", HOST),
                ("protocol", "HTTP/1.1"),
                ("ended", "whole"),
                ("target", target["key"].as_str().unwrap()),
                ("user_agent", "a test"),
            ] {
                assert_eq!(line[key], value, "{line}");
            }
            assert!(line["head_us"].as_u64().unwrap() <= line["total_us"].as_u64().unwrap());
        }
    }
    let text = std::fs::read_to_string(world.daemon.data().join("logs/access.jsonl")).unwrap();
    assert!(!text.contains("a-secret"));
}

#[test]
fn e7_a_route_is_logged_whole_in_part_or_not_at_all_as_the_settings_say_now() {
    let (second, third) = (App::http1(), App::http1());
    let route = |host: &str, at: &str, log: &str| {
        format!(
            "[[route]]\nhost = \"{host}\"\nTLS\nupstream = \"http://{at}\"\naccess_log = {log}\n"
        )
    };
    let settings = |silent: &str, part: &str| {
        [
            route("example.com", "APP", "\"all\""),
            route("www.example.com", &second.address.to_string(), silent),
            route("other.example.com", &third.address.to_string(), part),
        ]
        .concat()
    };
    let world = World::start(&settings("\"off\"", "0.5"));
    let key = |host: &str| format!("config:{host}/");
    for host in ["example.com", "www.example.com", "other.example.com"] {
        world.until_served(host);
    }
    send(
        &world,
        "www.example.com",
        "/",
        &[(5, 200, 10, 0), (2, 500, 10, 0)],
    );
    send(&world, "other.example.com", "/", &[(80, 200, 1, 0)]);
    send(&world, "example.com", "/", &[(3, 200, 10, 0)]);
    logged(&world.daemon, &key("example.com"), 3);
    // By chance, but less than six of eighty, or more than 74, once in 10^16 runs.
    let part = logged(&world.daemon, &key("other.example.com"), 6).len();
    assert!(part <= 74, "{part}");
    told(&world, "www.example.com", "/", 7);
    assert!(
        log(&world.daemon)
            .iter()
            .all(|line| line["route"] != key("www.example.com"))
    );
    // All of the one from now on; of the other every failure, however small its part.
    world.edit(&settings("\"all\"", "0.000001"));
    let mut sent = BTreeSet::new();
    until("the edit", || {
        sent.extend(send(&world, "www.example.com", "/", &[(1, 200, 1, 0)]));
        // Long enough for the line, and for the next try where the edit was not there yet; it may come later as well.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let found = log(&world.daemon)
            .iter()
            .any(|line| line["id"].as_str().is_some_and(|id| sent.contains(id)));
        found.then_some(()).ok_or(String::new())
    });
    let before = log(&world.daemon)
        .iter()
        .filter(|l| l["status"] == 503)
        .count();
    assert_eq!(before, 0);
    send(
        &world,
        "other.example.com",
        "/",
        &[(9, 200, 1, 0), (4, 503, 1, 0)],
    );
    until("every failure", || {
        let all = log(&world.daemon);
        let failures = all.iter().filter(|l| l["status"] == 503).count();
        (failures == 4).then_some(()).ok_or(failures.to_string())
    });
}

#[test]
fn e7_a_trace_and_the_requests_id_reach_the_app_and_the_log() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let world = World::start("[[route]]\nhost = \"example.com\"\nTLS\nupstream = \"http://APP\"\n");
    world.until_status(|| world.get(HOST, "/"), 200);
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let traced = world.get(HOST, "/").field("traceparent", &parent);
    let traced = traced.field("tracestate", "congo=t61rcWkgMzE");
    // A client's own id is nobody's.
    let answer = traced.field("X-Request-Id", "mine").send().unwrap();
    let seen = answer.seen("traceparent").unwrap();
    let [version, trace, span, flags] = seen.split('-').collect::<Vec<_>>()[..] else {
        panic!("{seen}");
    };
    assert_eq!((version, trace, flags), ("00", TRACE, "01"), "{seen}");
    assert!(span.len() == 16 && span != "00f067aa0ba902b7", "{seen}");
    assert_eq!(
        answer.seen("tracestate").as_deref(),
        Some("congo=t61rcWkgMzE")
    );
    for (asked, state) in [
        (world.get(HOST, "/"), None),
        (world.get(HOST, "/").field("traceparent", "00-zz-1-1"), None),
    ] {
        let answer = asked.send().unwrap();
        let id = answer.field("x-request-id");
        assert_eq!(
            (id.len(), answer.seen("x-request-id")),
            (32, Some(id.clone()))
        );
        let begun = answer.seen("traceparent").unwrap();
        assert!(
            begun.starts_with(&format!("00-{id}-")) && begun.ends_with("-00"),
            "{begun}"
        );
        assert_eq!(answer.seen("tracestate"), state);
        until_logged(&world.daemon, |line| line["id"] == id.as_str());
    }
    let id = answer.field("x-request-id");
    assert_eq!(answer.seen("x-request-id"), Some(id.clone()));
    until_logged(&world.daemon, |line| line["id"] == id.as_str());
}
