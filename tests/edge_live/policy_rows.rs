//! The rows of the table of policies: what is said in each way, and what a client sees while it holds and once it is gone.

use crate::table::{Said, Way, basic};

/// A policy.
pub struct Row {
    pub policy: &'static str,
    /// As freehold.toml has it in `[processes.web.route]`, a `[[route]]` in its table, and the API as JSON.
    pub toml: &'static str,
    /// What a `[[route]]` has instead.
    pub settings: Option<&'static str>,
    /// Behind `freehold domain set shop HOST`.
    pub cli: &'static [&'static str],
    /// On its standard input.
    pub typed: &'static str,
    /// What of the edge's answers is looked at, in a few words.
    pub ask: fn(&Said<'_>) -> String,
    pub held: &'static str,
    pub gone: &'static str,
    /// A folder does not show it.
    pub leads_to_an_app: bool,
}

impl Row {
    /// Whether this way of saying it is tried here; of an app behind the edge only a `[[route]]` has one without an engine.
    pub fn is_asked_here(&self, way: Way) -> bool {
        !self.leads_to_an_app || way == Way::Settings
    }
}

const BIRTH: Row = Row {
    policy: "",
    toml: "",
    settings: None,
    cli: &[],
    typed: "",
    ask: |_| String::new(),
    held: "",
    gone: "",
    leads_to_an_app: false,
};

pub const ROWS: &[Row] = &[
    Row {
        policy: "www to the apex",
        toml: "redirects = [{ to = \"https://APEX\" }]",
        cli: &["--redirect", "https://APEX"],
        ask: |said| {
            let www = said.get_www("/docs/a.txt?b=c").send().unwrap();
            let apex = said.get("/docs/a.txt").send().unwrap().status;
            format!("{} {} {apex}", www.status, www.field("location"))
        },
        held: "308 https://APEX/docs/a.txt?b=c 200",
        gone: "200  200",
        ..BIRTH
    },
    Row {
        policy: "the apex to www",
        toml: "redirects = [{ host = \"APEX\", to = \"https://www.APEX\" }]",
        cli: &["--redirect", "https://www.APEX"],
        ask: |said| {
            let apex = said.get("/docs/a.txt?b=c").send().unwrap();
            let www = said.get_www("/docs/a.txt").send().unwrap().status;
            format!("{} {} {www}", apex.status, apex.field("location"))
        },
        held: "308 https://www.APEX/docs/a.txt?b=c 200",
        gone: "200  200",
        ..BIRTH
    },
    Row {
        policy: "any redirect",
        toml: "redirects = [{ path = \"/old\", to = \"https://example.org/?a=b\", status = 302, keep = false }]",
        cli: &[
            "--policy",
            "redirects = [{ path = \"/old\", to = \"https://example.org/?a=b\", status = 302, keep = false }]",
        ],
        ask: |said| {
            let old = said.get("/old/page").send().unwrap();
            let other = said.get("/docs/").send().unwrap().status;
            format!("{} {} {other}", old.status, old.field("location"))
        },
        held: "302 https://example.org/?a=b 200",
        gone: "404  200",
        ..BIRTH
    },
    Row {
        policy: "a path that is taken off",
        toml: "strip_prefix = true",
        cli: &["--strip-prefix"],
        ask: |said| {
            let seen = said.get("/api/users?a=b").send().unwrap();
            seen.text().lines().next().unwrap_or_default().to_owned()
        },
        held: "GET /users?a=b HTTP/1.1",
        gone: "GET /api/users?a=b HTTP/1.1",
        leads_to_an_app: true,
        ..BIRTH
    },
    Row {
        policy: "rules for requests' headers",
        toml: "request_headers = { set = { range = \"bytes=4-7\" }, remove = [\"if-none-match\"] }",
        cli: &[
            "--header",
            "request set range: bytes=4-7",
            "--header",
            "request remove if-none-match",
        ],
        ask: |said| {
            let answer = said.get("/").field("If-None-Match", "*").send().unwrap();
            format!("{} {}", answer.status, answer.text())
        },
        held: "206 home",
        gone: "304 ",
        ..BIRTH
    },
    Row {
        policy: "rules for answers' headers",
        toml: "answer_headers = { set = { x-frame-options = \"DENY\" }, add = { cache-control = \"private\" }, remove = [\"etag\"] }",
        cli: &[
            "--header",
            "answer set x-frame-options: DENY",
            "--header",
            "answer add cache-control: private",
            "--header",
            "answer remove etag",
        ],
        ask: |said| {
            let answer = said.get("/").send().unwrap();
            let tagged = !answer.field("etag").is_empty();
            let (frames, kept) = (
                answer.field("x-frame-options"),
                answer.field("cache-control"),
            );
            format!("{frames}; {kept}; tagged: {tagged}")
        },
        held: "DENY; no-cache, private; tagged: false",
        gone: "; no-cache; tagged: true",
        ..BIRTH
    },
    Row {
        policy: "HSTS",
        toml: "hsts = { max_age_days = 30, include_subdomains = true }",
        cli: &["--hsts", "30,subdomains"],
        ask: |said| {
            let answer = said.get("/").send().unwrap();
            answer.field("strict-transport-security")
        },
        held: "max-age=2592000; includeSubDomains",
        gone: "",
        ..BIRTH
    },
    Row {
        policy: "a password",
        toml: "basic_auth = { realm = \"Staff\", users = [{ name = \"ana\", password = \"hunter2\" }] }",
        cli: &["--basic-auth", "ana", "--realm", "Staff"],
        typed: "hunter2\n",
        ask: |said| {
            let refused = said.get("/").send().unwrap();
            let wrong = said.get("/").field("Authorization", &basic("ana:hunter3"));
            let right = said.get("/").field("Authorization", &basic("ana:hunter2"));
            let asks = refused.field("www-authenticate");
            let status = |asked: crate::client::Asked<'_>| asked.send().unwrap().status;
            let staff = asks.contains("realm=\"Staff\"");
            format!(
                "{} {} {} asked: {staff}",
                refused.status,
                status(wrong),
                status(right)
            )
        },
        held: "401 401 200 asked: true",
        gone: "200 200 200 asked: false",
        ..BIRTH
    },
    Row {
        policy: "addresses that are served",
        toml: "allow = [\"127.0.0.2\", \"10.0.0.0/8\"]",
        cli: &["--allow", "127.0.0.2", "--allow", "10.0.0.0/8"],
        ask: first_and_second,
        held: "403 200",
        gone: "200 200",
        ..BIRTH
    },
    Row {
        policy: "addresses that are not",
        toml: "deny = [\"127.0.0.2\", \"10.0.0.0/8\"]",
        cli: &["--deny", "127.0.0.2", "--deny", "10.0.0.0/8"],
        ask: first_and_second,
        held: "200 403",
        gone: "200 200",
        ..BIRTH
    },
    Row {
        policy: "a rate by address",
        toml: "rate_limit = { requests = 1, per = \"day\" }",
        cli: &["--rate", "1/day"],
        ask: |said| {
            let address = |n: u16| format!("127.1.{}.{}", n >> 8, n & 255);
            let (one, two) = (address(said.fresh()), address(said.fresh()));
            let status = |from: &str| said.get("/").from(from).send().unwrap().status;
            format!("{} {} {}", status(&one), status(&one), status(&two))
        },
        held: "200 429 200",
        gone: "200 200 200",
        ..BIRTH
    },
    Row {
        policy: "a rate by a header",
        toml: "rate_limit = { requests = 1, per = \"day\", header = \"x-api-key\" }",
        cli: &["--rate", "1/day", "--rate-by", "header:x-api-key"],
        ask: |said| {
            let (one, two) = (said.fresh().to_string(), said.fresh().to_string());
            let ask = |key: &str| said.get("/").field("X-Api-Key", key).send().unwrap();
            let (first, second, other) = (ask(&one), ask(&one), ask(&two));
            let again = !second.field("retry-after").is_empty();
            format!(
                "{} {} {} told: {again}",
                first.status, second.status, other.status
            )
        },
        held: "200 429 200 told: true",
        gone: "200 200 200 told: false",
        ..BIRTH
    },
    Row {
        policy: "a body's limit",
        toml: "body_limit = \"1KB\"",
        cli: &["--body-limit", "1KB"],
        // A folder takes no body at all.
        ask: |said| {
            let post = |bytes| said.get("/").post(vec![b'x'; bytes]).send().unwrap().status;
            format!("{} {}", post(1_024), post(1_025))
        },
        held: "405 413",
        gone: "405 405",
        ..BIRTH
    },
    Row {
        policy: "compression",
        toml: "compress = { codings = [\"br\", \"gzip\"] }",
        cli: &["--policy", "compress = { codings = [\"br\", \"gzip\"] }"],
        ask: |said| {
            let ask = |codings| said.get("/long.txt").field("Accept-Encoding", codings);
            let coding = |codings| ask(codings).send().unwrap().field("content-encoding");
            format!(
                "{} {} {}",
                coding("gzip, br"),
                coding("gzip"),
                coding("zstd")
            )
        },
        held: "br gzip ",
        gone: "  ",
        ..BIRTH
    },
    Row {
        policy: "compression in a word",
        toml: "compress = true",
        cli: &["--compress"],
        ask: |said| {
            let asked = said.get("/long.txt").field("Accept-Encoding", "gzip, zstd");
            asked.send().unwrap().field("content-encoding")
        },
        held: "zstd",
        gone: "",
        ..BIRTH
    },
    Row {
        policy: "own error pages",
        toml: "error_pages = { \"404\" = \"<h1>Not here</h1>\" }",
        cli: &["--error-page", "404=FOLDER/page.html"],
        ask: |said| {
            let answer = said.get("/none").for_a_page().send().unwrap();
            let own = answer.text() == "<h1>Not here</h1>";
            format!("{} own: {own}", answer.status)
        },
        held: "404 own: true",
        gone: "404 own: false",
        ..BIRTH
    },
    Row {
        policy: "a folder of the release",
        toml: "static = \"docs\"",
        // There it is a folder of the box.
        settings: Some("static = \"FOLDER/site/docs\""),
        cli: &["--static", "docs"],
        ask: |said| {
            let root = said.get("/").send().unwrap().text();
            let beside = said.get("/secret.txt").send().unwrap().status;
            format!("{root} {beside}")
        },
        held: "<h1>docs</h1> 404",
        gone: "<h1>home</h1> 200",
        ..BIRTH
    },
    Row {
        policy: "a single page",
        toml: "single_page = true",
        cli: &["--single-page"],
        ask: |said| {
            let page = said.get("/cart/7").for_a_page().send().unwrap();
            let file = said.get("/cart/7.js").for_a_page().send().unwrap();
            format!("{} {}", page.status, file.status)
        },
        held: "200 404",
        gone: "404 404",
        ..BIRTH
    },
    Row {
        policy: "no access log",
        toml: "access_log = \"off\"",
        cli: &["--access-log", "off"],
        ask: part_logged,
        held: "none",
        gone: "all",
        ..BIRTH
    },
    Row {
        policy: "a sampled access log",
        toml: "access_log = 0.5",
        cli: &["--access-log", "0.5"],
        ask: part_logged,
        held: "some",
        gone: "all",
        ..BIRTH
    },
    Row {
        policy: "a browser that stays with its replica",
        toml: "sticky = true",
        cli: &["--sticky"],
        ask: |said| {
            let answer = said.get("/api").send().unwrap();
            let cookie = answer.field("set-cookie");
            format!("{} cookie: {}", answer.status, !cookie.is_empty())
        },
        held: "200 cookie: true",
        gone: "200 cookie: false",
        leads_to_an_app: true,
        ..BIRTH
    },
];

/// What a way refuses, because it is no policy, or is none of this way's by design (docs/policies.md).
pub struct Refused {
    pub way: Way,
    /// A line in the table of a `[[route]]` or of freehold.toml, or options.
    pub said: &'static [&'static str],
    /// A part of the sentence.
    pub words: &'static str,
}

const fn refused(way: Way, said: &'static [&'static str], words: &'static str) -> Refused {
    Refused { way, said, words }
}

pub const REFUSED: &[Refused] = &[
    // Timeouts are the box's.
    refused(
        Way::Settings,
        &["timeouts = 1"],
        "there is no setting `timeouts` here",
    ),
    refused(Way::AppFile, &["timeouts = 1"], "unknown field `timeouts`"),
    refused(Way::Api, &["timeouts = 1"], "unknown field `timeouts`"),
    refused(
        Way::CommandLine,
        &["--policy", "timeouts = 1"],
        "there is no policy \"timeouts\"",
    ),
    // A folder of the release is none of a route that has no release, and the other way round.
    refused(
        Way::Settings,
        &["single_page = true\nupstream = \"http://APP\""],
        "single_page is for a folder of files",
    ),
    refused(
        Way::Settings,
        &["static = \"docs\""],
        "\"docs\" is not a full path",
    ),
    refused(
        Way::AppFile,
        &["static = \"/srv/www\""],
        "no folder of the app's release",
    ),
    refused(
        Way::Api,
        &["static = \"/srv/www\""],
        "no folder of the app's release",
    ),
    refused(
        Way::CommandLine,
        &["--static", "/srv/www"],
        "no folder of the app's release",
    ),
    // Everybody on the box sees a command, and verifiers are the box's own.
    refused(
        Way::CommandLine,
        &["--policy", "basic_auth = { users = [] }"],
        "a password is never part of a command",
    ),
    refused(
        Way::Api,
        &["basic_auth = { users = [{ name = \"ana\", verifier = \"00\" }] }"],
        "a verifier is this box's own",
    ),
];

/// The statuses that the first address of the loopback gets, and the second.
fn first_and_second(said: &Said<'_>) -> String {
    let status = |from| said.get("/").from(from).send().unwrap().status;
    format!("{} {}", status("127.0.0.1"), status("127.0.0.2"))
}

/// That half of twenty is none or all of them happens once in half a million tries, of which there are many.
fn part_logged(said: &Said<'_>) -> String {
    match said.logged_of(20) {
        0 => "none",
        20 => "all",
        _ => "some",
    }
    .to_owned()
}
