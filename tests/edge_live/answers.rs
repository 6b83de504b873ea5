//! E6: what becomes of the headers and bodies of requests and answers, by a `[[route]]` that is edited while it serves.

use std::io::Read as _;

use crate::client::Answer;
use crate::world::World;

const HOST: &str = "example.com";

fn route(policies: &str) -> String {
    format!("[[route]]\nhost = \"{HOST}\"\nTLS\nupstream = \"http://APP\"\n{policies}\n")
}

#[test]
fn e6_header_rules_hold_both_ways_from_the_edit_on() {
    let world = World::start(&route(""));
    let ask = || {
        let asked = world.get(HOST, "/").field("X-Debug", "1");
        asked.field("X-Tag", "theirs")
    };
    let plain = world.until_status(ask, 200);
    assert!(
        plain.saw("x-debug: 1") && plain.field("x-version") == "7.1",
        "{plain}"
    );
    world.edit(&route(
        "request_headers = { set = { x-env = \"staging\" }, add = { x-tag = \"ours\" }, remove = [\"x-debug\"] }\n\
         answer_headers = { set = { x-frame-options = \"DENY\", server = \"ours\" }, remove = [\"x-version\"] }",
    ));
    let changed = world.until("the rules to hold", ask, |a| {
        a.field("x-frame-options") == "DENY"
    });
    assert!(changed.saw("x-env: staging"), "{changed}");
    assert!(
        changed.saw("x-tag: theirs") && changed.saw("x-tag: ours"),
        "{changed}"
    );
    assert_eq!(changed.seen("x-debug"), None, "{changed}");
    assert_eq!(changed.field("server"), "ours");
    assert_eq!(changed.field("x-version"), "");
    world.edit(&route(
        "answer_headers = { set = { x-frame-options = \"SAMEORIGIN\" } }",
    ));
    let other = world.until("the next rules to hold", ask, |a| {
        a.field("x-frame-options") == "SAMEORIGIN"
    });
    assert!(
        other.saw("x-debug: 1") && other.seen("x-env").is_none(),
        "{other}"
    );
    assert_eq!(other.field("x-version"), "7.1");
}

#[test]
fn e6_hsts_is_said_where_the_certificate_is_a_public_one_and_while_the_settings_say_so() {
    let own = "[[route]]\nhost = \"home.example.com\"\ntls = \"internal\"\nupstream = \"http://APP\"\nhsts = true\n";
    let both = |hsts: &str| format!("{}{own}", route(hsts));
    let mut world = World::start(&both("hsts = true"));
    world.trust_the_box();
    let said = |answer: &Answer| answer.field("strict-transport-security");
    let ask = || world.get(HOST, "/");
    for (hsts, field) in [
        ("hsts = true", "max-age=31536000"),
        (
            "hsts = { max_age_days = 730, include_subdomains = true, preload = true }",
            "max-age=63072000; includeSubDomains; preload",
        ),
        ("hsts = false", ""),
        ("hsts = true", "max-age=31536000"),
        ("", ""),
    ] {
        world.edit(&both(hsts));
        world.until(&format!("\"{field}\""), ask, |a| {
            a.status == 200 && said(a) == field
        });
    }
    let home = world.until_status(|| world.get("home.example.com", "/"), 200);
    assert_eq!(said(&home), "", "browsers would lock themselves out");
}

#[test]
fn e6_answers_are_compressed_while_the_settings_say_so() {
    const LONG: &str = "/?bytes=20000";
    let world = World::start(&route(""));
    let ask = |codings: &'static str| world.get(HOST, LONG).field("Accept-Encoding", codings);
    let plain = world.until_status(|| ask("gzip, br, zstd"), 200);
    assert_eq!(
        (plain.field("content-encoding").as_str(), plain.body.len()),
        ("", 20_000)
    );
    world.edit(&route("compress = true"));
    let coded = |coding: &'static str| {
        let answer = world.until(
            coding,
            || ask(coding),
            |a| a.field("content-encoding") == coding,
        );
        assert!(answer.body.len() < 2_000, "{}", answer.body.len());
        assert!(
            answer
                .field("vary")
                .to_lowercase()
                .contains("accept-encoding"),
            "{answer}"
        );
        answer.body
    };
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&*coded("gzip"))
        .read_to_end(&mut text)
        .unwrap();
    assert_eq!(text, plain.body);
    assert_eq!(zstd::decode_all(&*coded("zstd")).unwrap(), plain.body);
    text.clear();
    brotli::BrotliDecompress(&mut &*coded("br"), &mut text).unwrap();
    assert_eq!(text, plain.body);
    for asked in ["identity", "gzip;q=0"] {
        let answer = ask(asked).send().unwrap();
        assert_eq!(answer.body, plain.body, "{asked}");
    }
    world.edit(&route(
        "compress = { codings = [\"gzip\"], min_bytes = 30000 }",
    ));
    world.until(
        "too short an answer",
        || ask("gzip"),
        |a| a.field("content-encoding").is_empty(),
    );
    let long = world
        .get(HOST, "/?bytes=40000")
        .field("Accept-Encoding", "br, gzip");
    assert_eq!(long.send().unwrap().field("content-encoding"), "gzip");
}

#[test]
fn e6_a_page_of_ones_own_is_shown_for_the_edges_errors_and_the_apps_are_the_apps() {
    let world = World::start(&route("deny = [\"127.0.0.2\"]"));
    let refused = || world.get(HOST, "/").from("127.0.0.2").for_a_page();
    let usual = world.until_status(refused, 403);
    assert!(
        usual.text().contains("This is not served to you"),
        "{usual}"
    );
    let pages = |title: &str| {
        route(&format!(
            "deny = [\"127.0.0.2\"]\nbody_limit = 1\n\
             error_pages = {{ \"403\" = \"<h1>{title}</h1>\", \"4xx\" = \"<p>{{status}} {{request_id}}</p>\" }}"
        ))
    };
    for title in ["Not you", "Nor you"] {
        world.edit(&pages(title));
        let page = format!("<h1>{title}</h1>");
        let answer = world.until(title, refused, |a| a.text() == page);
        assert_eq!(answer.status, 403);
        assert!(
            answer.field("content-type").starts_with("text/html"),
            "{answer}"
        );
    }
    let large = world.get(HOST, "/").for_a_page().post("xx").send().unwrap();
    let id = large.field("x-request-id");
    assert_eq!(large.text(), format!("<p>413 {id}</p>"), "{large}");
    // What the app answers is its own.
    let own = world.get(HOST, "/?status=404&bytes=3").for_a_page();
    let own = own.send().unwrap();
    assert_eq!((own.status, own.text().as_str()), (404, "xxx"));
    world.edit(&route("deny = [\"127.0.0.2\"]"));
    world.until("the usual page", refused, |a| {
        a.text().contains("This is not served to you")
    });
}
