//! E7: what is told of an app with two replicas: by route, process and replica, while a request is held open and after it.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};

use crate::place::{HOST, PROCESS, Place};
use crate::support::until::{secs, until};

/// How often, which status, and how many bytes come and go.
const TRAFFIC: [(usize, u16, usize, usize); 4] = [
    (30, 200, 1_000, 0),
    (5, 404, 20, 0),
    (3, 500, 30, 0),
    (2, 201, 50, 300),
];
const CLASSES: [u64; 5] = [0, 32, 0, 5, 3];

impl Place {
    /// `status --routes --json`, once it is so.
    fn told(&self, what: &str, since: &Value, is_so: impl Fn(&Told) -> bool) -> Told {
        until(what, secs(60), || {
            let told = Told(self.fh.json(&["status", "--routes"]), since.clone());
            match is_so(&told) {
                true => Ok(told),
                false => Err(told.0.to_string()),
            }
        })
    }

    /// A request whose body has begun; it ends when that is dropped.
    fn held_open(&self) -> (Child, ChildStdin) {
        let mut child = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--http1.1",
                "--no-buffer",
            ])
            .arg("--cacert")
            .arg(&self.edge.roots)
            .args(["--connect-to", &format!(":443:{}:443", self.edge.address)])
            .args(["--noproxy", "*", "--upload-file", "-"])
            .arg(format!("https://{HOST}/api/held?bytes=70"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut body = child.stdin.take().unwrap();
        body.write_all(b"begun").unwrap();
        (child, body)
    }
}

/// What is told of routes, and what was told when counting began.
struct Told(Value, Value);

/// Of one figure: of the route, the process, and each replica.
type Each = (u64, u64, Vec<u64>);

fn route<'a>(told: &'a Value, path: &str) -> &'a Value {
    let is_it = |route: &&Value| route["host"] == HOST && route["path"] == path;
    let mut routes = told["routes"].as_array().into_iter().flatten();
    routes.find(is_it).unwrap_or(&Value::Null)
}

fn process(told: &Value) -> &Value {
    let is_it = |process: &&Value| process["app"] == "shop" && process["process"] == "web";
    let mut processes = told["processes"].as_array().into_iter().flatten();
    processes.find(is_it).unwrap_or(&Value::Null)
}

fn replicas(told: &Value) -> &[Value] {
    let targets = route(told, "/api")["targets"].as_array();
    targets.map_or(&[], Vec::as_slice)
}

fn figure(of: &Value, name: &str) -> u64 {
    of["figures"][name].as_u64().unwrap_or_default()
}

impl Told {
    fn each(&self, name: &str) -> Each {
        let of = |of: &dyn Fn(&Value) -> u64| of(&self.0) - of(&self.1);
        let replica = |nth: usize| {
            move |told: &Value| replicas(told).get(nth).map_or(0, |of| figure(of, name))
        };
        let each = (0..replicas(&self.0).len()).map(|nth| of(&replica(nth)));
        (
            of(&|told| figure(route(told, "/api"), name)),
            of(&|told| figure(process(told), name)),
            each.collect(),
        )
    }

    /// How many requests are open, of the replicas the fewest first.
    fn open(&self) -> Each {
        let (route, process, mut replicas) = self.each("in_flight");
        replicas.sort_unstable();
        (route, process, replicas)
    }

    /// Of one figure: of the route, the process, and the replicas together.
    fn all(&self, name: &str) -> [u64; 3] {
        let (route, process, replicas) = self.each(name);
        [route, process, replicas.iter().sum()]
    }
}

/// By class of statuses, since counting began.
fn classes(now: &Value, since: &Value) -> Vec<u64> {
    let of =
        |told: &Value, nth: usize| told["figures"]["classes"][nth].as_u64().unwrap_or_default();
    (0..5).map(|nth| of(now, nth) - of(since, nth)).collect()
}

/// The figures but for those that go on by themselves.
fn still(figures: &Value) -> Value {
    let mut still = figures.clone();
    still.as_object_mut().unwrap().remove("minute");
    still
}

#[test]
fn e7_two_replicas_of_an_app_are_told_apart_while_requests_are_under_way_and_after() {
    let place = Place::with("[checks]\nevery = \"1h\"\nrechecks = 0\n");
    place.deploy("tree", &format!("{PROCESS}replicas = 2\n"));
    place.until("the app", || place.get("/"), |a| a.status == 200);
    // Each domain is asked by its uptime check once, and not again.
    until("the checks of both domains", secs(60), || {
        let checks = place.fh.json(&["check", "list"]);
        let all = checks.as_array().unwrap();
        let asked = all.iter().filter(|check| check["asked_ms"].is_u64());
        (asked.count() == 2).then_some(()).ok_or(checks.to_string())
    });
    let since = place.told("both replicas at rest", &Value::Null, |told| {
        told.open() == (0, 0, vec![0, 0])
    });
    let since = since.0;

    let (mut count, mut down, mut up) = (0, 0, 0);
    for (times, status, bytes, body) in TRAFFIC {
        for _ in 0..times {
            let asked = place.get(&format!("/api/a?status={status}&bytes={bytes}"));
            let asked = match body {
                0 => asked,
                body => asked.body("text/plain", &"x".repeat(body)),
            };
            let answer = asked.send().unwrap();
            assert_eq!((answer.status, answer.body.len()), (status, bytes));
            (count, down, up) = (count + 1, down + bytes as u64, up + body as u64);
        }
    }
    let told = place.told("all of them", &since, |told| {
        told.all("requests") == [count; 3] && told.open() == (0, 0, vec![0, 0])
    });
    assert_eq!(told.all("bytes_in"), [up; 3], "{}", told.0);
    assert_eq!(told.all("bytes_out"), [down; 3], "{}", told.0);
    assert_eq!(told.all("failed"), [0; 3], "{}", told.0);
    let ours = route(&told.0, "/api");
    assert_eq!(
        (&ours["app"], &ours["process"]),
        (&json!("shop"), &json!("web"))
    );
    assert_eq!(classes(ours, route(&since, "/api")), CLASSES, "{ours}");
    assert_eq!(classes(process(&told.0), process(&since)), CLASSES);
    let [one, other] = replicas(&told.0) else {
        panic!("{ours}");
    };
    let [one_before, other_before] = replicas(&since) else {
        panic!("{since}");
    };
    for (name, is_one) in [("key", "replica:"), ("container", "")] {
        let named = |of: &Value| {
            of[name]
                .as_str()
                .is_some_and(|name| name.starts_with(is_one))
        };
        assert!(
            named(one) && named(other) && one[name] != other[name],
            "{ours}"
        );
    }
    let both = [(one, one_before), (other, other_before)].map(|(now, was)| classes(now, was));
    for (nth, sum) in CLASSES.into_iter().enumerate() {
        assert_eq!(both[0][nth] + both[1][nth], sum, "{ours}");
    }
    // Once in half a million million runs one of two gets none of forty.
    assert!(
        told.each("requests").2.iter().all(|count| *count > 0),
        "{ours}"
    );
    for of in [ours, process(&told.0), one, other] {
        let latency = |name: &str| of["figures"]["latency"][name].as_f64().unwrap();
        let [half, many, most] = ["p50_ms", "p95_ms", "p99_ms"].map(latency);
        assert!(half > 0.0 && half <= many && many <= most, "{of}");
    }

    // The API tells the same.
    let api = || place.api("GET", "/routes").send().unwrap().json();
    let answered = api();
    for (said, also) in [
        (ours, route(&answered, "/api")),
        (process(&told.0), process(&answered)),
        (one, &replicas(&answered)[0]),
        (other, &replicas(&answered)[1]),
    ] {
        assert_eq!(still(&said["figures"]), still(&also["figures"]));
    }

    // One request is open, at one of them, until its body ends.
    let one_is_open = (1, 1, vec![0, 1]);
    let (curl, mut body) = place.held_open();
    let open = place.told("one that is open", &since, |told| {
        told.open() == one_is_open
    });
    assert_eq!(open.all("requests"), [count; 3], "none is over");
    assert_eq!(Told(api(), since.clone()).open(), one_is_open);
    let at = open.each("in_flight").2.iter().position(|open| *open == 1);
    body.write_all(b", ended").unwrap();
    drop(body);
    let out = curl.wait_with_output().unwrap();
    assert!(out.status.success() && out.stdout.len() == 70, "{out:?}");
    let after = place.told("it to be over", &since, |told| {
        told.open() == (0, 0, vec![0, 0]) && told.all("requests") == [count + 1; 3]
    });
    let mut wanted = told.each("requests").2;
    wanted[at.unwrap()] += 1;
    assert_eq!(
        after.each("requests").2,
        wanted,
        "counted where it was open"
    );
    assert_eq!(after.all("bytes_in"), [up + 12; 3], "{}", after.0);
    assert_eq!(after.all("bytes_out"), [down + 70; 3], "{}", after.0);
}
