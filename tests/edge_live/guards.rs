//! E6: who is served, how often and with how much, by a `[[route]]` that is edited while it serves.

use base64::Engine as _;

use crate::client::Asked;
use crate::world::World;

const HOST: &str = "example.com";

/// The route with these policies.
fn route(policies: &str) -> String {
    format!("[[route]]\nhost = \"{HOST}\"\nTLS\nupstream = \"http://APP\"\n{policies}\n")
}

fn with<'a>(asked: Asked<'a>, both: &str) -> Asked<'a> {
    let both = base64::engine::general_purpose::STANDARD.encode(both);
    asked.field("Authorization", &format!("Basic {both}"))
}

#[test]
fn e6_a_password_in_the_settings_is_asked_for_at_once_and_its_change_counts() {
    let world = World::start(&route(""));
    let ask = || world.get(HOST, "/");
    world.until_status(ask, 200);
    let users = |password: &str| {
        route(&format!(
            "basic_auth = {{ realm = \"Staff\", users = [{{ name = \"ana\", password = \"{password}\" }}] }}"
        ))
    };
    world.edit(&users("hunter2-hunter2"));
    let refused = world.until_status(ask, 401);
    let asks = refused.field("www-authenticate");
    assert!(asks.starts_with("Basic realm=\"Staff\""), "{refused}");
    let let_in = with(ask(), "ana:hunter2-hunter2").send().unwrap();
    assert_eq!(let_in.status, 200, "{let_in}");
    // It is for the edge, not for the app.
    assert_eq!(let_in.seen("authorization"), None, "{let_in}");
    for wrong in ["ana:hunter2", "ben:hunter2-hunter2", ":"] {
        let answer = with(ask(), wrong).send().unwrap();
        assert_eq!(answer.status, 401, "{wrong}: {answer}");
    }
    world.edit(&users("another-one"));
    world.until_status(|| with(ask(), "ana:another-one"), 200);
    let late = with(ask(), "ana:hunter2-hunter2").send().unwrap();
    assert_eq!(late.status, 401, "{late}");
    let routes = world.cli(&["status", "--routes", "--json"]);
    assert!(!routes.contains("another-one") && !routes.contains("hunter2"));
    world.edit(&route(""));
    world.until_status(ask, 200);
}

#[test]
fn e6_addresses_are_served_and_refused_as_the_settings_say_now() {
    let world = World::start(&route("deny = [\"127.0.0.2\"]"));
    let from = |source: &'static str| world.get(HOST, "/").from(source);
    world.until_status(|| from("127.0.0.2"), 403);
    assert_eq!(from("127.0.0.1").send().unwrap().status, 200);
    world.edit(&route(
        "allow = [\"127.0.0.0/24\"]\ndeny = [\"127.0.0.1\", \"10.0.0.0/8\"]",
    ));
    world.until_status(|| from("127.0.0.1"), 403);
    assert_eq!(from("127.0.0.2").send().unwrap().status, 200);
    assert_eq!(from("127.0.1.2").send().unwrap().status, 403, "not allowed");
    // Nobody is believed who says to be somebody else.
    let forged = from("127.0.0.1").field("X-Forwarded-For", "127.0.0.2");
    assert_eq!(forged.send().unwrap().status, 403);
    world.edit(&route(""));
    world.until_status(|| from("127.0.0.1"), 200);
    assert_eq!(from("127.0.1.2").send().unwrap().status, 200);
}

#[test]
fn e6_a_rate_is_kept_from_the_edit_on_and_told_in_every_answer() {
    let world = World::start(&route(""));
    let from = |source: &'static str| world.get(HOST, "/").from(source);
    assert_eq!(
        world
            .until_status(|| from("127.0.0.1"), 200)
            .field("ratelimit"),
        ""
    );
    world.edit(&route("rate_limit = { requests = 3, per = \"day\" }"));
    let first = world.until(
        "the rate to hold",
        || from("127.0.0.1"),
        |a| !a.field("ratelimit-policy").is_empty(),
    );
    assert_eq!(first.field("ratelimit-policy"), "\"requests\";q=3;w=86400");
    assert!(
        first.field("ratelimit").starts_with("\"requests\";r=2;t="),
        "{first}"
    );
    for left in [1, 0] {
        let answer = from("127.0.0.1").send().unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        let told = answer.field("ratelimit");
        assert!(
            told.starts_with(&format!("\"requests\";r={left};t=")),
            "{told}"
        );
    }
    for _ in 0..2 {
        let refused = from("127.0.0.1").send().unwrap();
        assert_eq!(refused.status, 429, "{refused}");
        let wait: u64 = refused.field("retry-after").parse().unwrap();
        // A third of a day, of which little has passed.
        assert!((20_000..=28_801).contains(&wait), "{wait}");
        assert!(
            refused
                .field("ratelimit")
                .starts_with("\"requests\";r=0;t="),
            "{refused}"
        );
    }
    // Another client has a rate of its own.
    assert_eq!(from("127.0.0.2").send().unwrap().status, 200);
    let refused = |route: &serde_json::Value| route["figures"]["rate_limited"].clone();
    crate::world::until("two to be counted", || {
        let told = world.json(&["status", "--routes"]);
        let routes = told["routes"].as_array().unwrap();
        let ours = routes.iter().find(|route| route["host"] == HOST).unwrap();
        (refused(ours) == 2).then_some(()).ok_or(ours.to_string())
    });
    // By a key that the client sends, it is another count.
    world.edit(&route(
        "rate_limit = { requests = 1, per = \"day\", header = \"x-api-key\" }",
    ));
    let keyed = |key: &'static str| from("127.0.0.1").field("X-Api-Key", key);
    world.until_status(|| keyed("one"), 200);
    world.until_status(|| keyed("one"), 429);
    assert_eq!(keyed("two").send().unwrap().status, 200);
    world.edit(&route(""));
    world.until(
        "the rate to be gone",
        || keyed("one"),
        |a| a.status == 200 && a.field("ratelimit").is_empty(),
    );
}

#[test]
fn e6_a_bodys_limit_is_the_routes_from_the_edit_on() {
    let world = World::start(&route("body_limit = \"1KB\""));
    let post = |count: usize| world.get(HOST, "/").post(vec![b'x'; count]);
    let taken = world.until_status(|| post(1024), 200);
    assert!(taken.saw("body: 1024"), "{taken}");
    assert_eq!(post(1025).send().unwrap().status, 413);
    world.edit(&route("body_limit = \"4KB\""));
    world.until_status(|| post(1025), 200);
    assert_eq!(post(4097).send().unwrap().status, 413);
    world.edit(&route(""));
    world.until_status(|| post(4097), 200);
}
