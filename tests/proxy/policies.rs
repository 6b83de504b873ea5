//! Policies of a route, over HTTP/1.1 and HTTP/2, put in force and taken back while connections live, and attempts to get
//! around them. Each refusal is shown beside the same request without the policy, which is served.
use std::sync::Arc;

use base64::Engine as _;
use freehold::base::cidr::Cidr;
use freehold::base::policies::VerifierKey;

use freehold::proxy::{Policies, Proxies, Refusal, RouteSpec};
use http::{Method, Request, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::app::App;
use crate::client::{Body, Http1, Http2, Whole, bytes, empty, full, get, post};
use crate::rig::{Rig, World, route, target};
use crate::table::{Seen, witness};

const HOST: &str = "tasks.test";

/// A route with these policies, as a settings file has them.
pub fn policed(place: &str, app: &App, policies: &str) -> RouteSpec {
    let read = toml::from_str(policies).unwrap();
    RouteSpec {
        redirect_http: false,
        policies: Arc::new(Policies::compile(&read, &VerifierKey::new(b"a box's own"))),
        public_certificate: true,
        ..route(place, &[&target(app.address)])
    }
}

/// One host, an app that answers with the request it got, and policies that change.
struct Site {
    rig: Rig,
    app: App,
    seen: Seen,
    http1: Http1,
    http2: Http2,
}

impl Site {
    async fn new(policies: &str) -> Site {
        let (app, seen) = witness().await;
        let rig = Rig::start(World::of([policed(HOST, &app, policies)]));
        let http1 = Http1::tls(&rig, HOST).await;
        let http2 = Http2::tls(&rig, HOST).await;
        Site {
            rig,
            app,
            seen,
            http1,
            http2,
        }
    }

    /// From now on, on the connections that are open, too.
    fn now(&self, policies: &str) {
        self.rig
            .publish(World::of([policed(HOST, &self.app, policies)]));
    }

    /// The same request over both protocols.
    async fn ask(&mut self, request: impl Fn() -> Request<Body>) -> [Whole; 2] {
        if self.http1.is_closed() {
            self.http1 = Http1::tls(&self.rig, HOST).await;
        }
        [
            self.http1.ask(request()).await.unwrap(),
            self.http2.ask(request()).await.unwrap(),
        ]
    }

    async fn statuses(&mut self, request: impl Fn() -> Request<Body>) -> [u16; 2] {
        self.ask(request).await.map(|answer| answer.status.as_u16())
    }

    fn app_was_asked(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn with(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(format!("https://{HOST}{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(empty()).unwrap()
}

fn plain(path: &str) -> Request<Body> {
    with(path, &[])
}

#[tokio::test]
async fn e6_clients_are_redirected_and_a_change_counts_on_open_connections() {
    let mut site = Site::new("").await;
    assert_eq!(site.statuses(|| plain("/old/a?b=c")).await, [200, 200]);
    site.now(
        r#"redirects = [
            { path = "/old", to = "/new", status = 301 },
            { path = "/away", to = "https://other.test/x", keep = false, status = 302 },
        ]"#,
    );
    for answer in site.ask(|| plain("/old/a?b=c")).await {
        assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
        assert_eq!(answer.header("location"), "https://tasks.test/new/a?b=c");
    }
    for answer in site.ask(|| plain("/away/a?b=c")).await {
        assert_eq!(answer.status, StatusCode::FOUND);
        assert_eq!(answer.header("location"), "https://other.test/x");
        assert!(!answer.header("x-request-id").is_empty());
    }
    for answer in site.ask(|| plain("/old//evil.test")).await {
        assert_eq!(
            answer.header("location"),
            "https://tasks.test/new//evil.test"
        );
    }
    assert_eq!(site.statuses(|| plain("/older")).await, [200, 200]);
    // A name's other names are brought to it, and it is not sent to itself.
    site.now("redirects = [{ to = \"https://www.tasks.test\" }]");
    for answer in site.ask(|| plain("/a?b")).await {
        assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT);
        assert_eq!(answer.header("location"), "https://www.tasks.test/a?b");
    }
    site.now("redirects = [{ to = \"https://TASKS.test\" }]");
    assert_eq!(site.statuses(|| plain("/a?b")).await, [200, 200]);
    site.now("");
    assert_eq!(site.statuses(|| plain("/old/a?b=c")).await, [200, 200]);
}

#[tokio::test]
async fn e6_a_routes_path_is_kept_or_taken_off_and_told() {
    let mut site = Site::new("").await;
    let api = |policies: &str| {
        World::of([
            policed("tasks.test/api", &site.app, policies),
            policed(HOST, &site.app, ""),
        ])
    };
    let forged = || with("/api/a%2Fb?c=/api", &[("x-forwarded-prefix", "/forged")]);
    site.rig.publish(api(""));
    let kept = site.ask(forged).await;
    let api = |policies: &str| {
        World::of([
            policed("tasks.test/api", &site.app, policies),
            policed(HOST, &site.app, ""),
        ])
    };
    site.rig.publish(api("strip_prefix = true"));
    let stripped = site.ask(forged).await;
    for answer in kept {
        assert!(
            answer
                .text()
                .starts_with("GET /api/a%2Fb?c=/api HTTP/1.1\r\n")
        );
        assert!(!answer.text().contains("x-forwarded-prefix"));
    }
    for answer in stripped {
        let text = answer.text();
        assert!(text.starts_with("GET /a%2Fb?c=/api HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("x-forwarded-prefix: /api\r\n"), "{text}");
        assert!(!text.contains("forged"), "{text}");
    }
    for (path, told) in [
        ("/api", "GET / "),
        ("/api?x", "GET /?x "),
        ("/apix", "GET /apix "),
    ] {
        for answer in site.ask(|| plain(path)).await {
            assert!(answer.text().starts_with(told), "{path}: {}", answer.text());
        }
    }
    // What begins with two slashes is another host to some.
    for path in ["/api//evil.test/", "/api/\\evil.test"] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
        let answer = bytes(&site.rig, HOST, head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn e6_headers_are_set_added_and_removed_both_ways() {
    let mut site = Site::new(
        r#"
        request_headers = { set = { x-env = "staging" }, add = { accept-language = "de" }, remove = ["x-debug"] }
        answer_headers = { set = { x-frame-options = "DENY" }, add = { link = "</a>; rel=preload" }, remove = ["content-type"] }
        "#,
    )
    .await;
    let fields = [
        ("x-env", "forged"),
        ("x_env", "forged"),
        ("x-debug", "forged"),
        ("x_debug", "forged"),
        ("accept-language", "en"),
    ];
    for answer in site.ask(|| with("/", &fields)).await {
        let text = answer.text();
        assert!(
            text.contains("\r\nx-env: staging\r\n") && !text.contains("forged"),
            "{text}"
        );
        assert!(
            text.contains("\r\naccept-language: en\r\naccept-language: de\r\n"),
            "{text}"
        );
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("link"), "</a>; rel=preload");
        assert_eq!(answer.header("content-type"), "");
    }
    // Named by Connection, a field of ours stays.
    let head = "GET / HTTP/1.1\r\nhost: tasks.test\r\nconnection: close, x-env, x-secret\r\nx-secret: 1\r\n\r\n";
    let answer = bytes(&site.rig, HOST, head).await;
    assert!(
        answer.contains("\r\nx-env: staging\r\n") && !answer.contains("x-secret: 1"),
        "{answer}"
    );
    // The edge's own answers have them as well.
    site.now("deny = [\"127.0.0.0/8\"]\nanswer_headers.set = { x-frame-options = \"DENY\" }");
    for answer in site.ask(|| plain("/")).await {
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.header("x-frame-options"), "DENY");
    }
    site.now("");
    for answer in site.ask(|| with("/", &fields)).await {
        assert!(answer.text().contains("x-debug: forged\r\n"));
        assert_eq!(answer.header("x-frame-options"), "");
    }
}

#[tokio::test]
async fn e6_hsts_is_told_over_https_and_for_public_certificates_alone() {
    let mut site = Site::new("hsts = { include_subdomains = true }").await;
    let of = |answer: &Whole| answer.header("strict-transport-security").to_owned();
    for answer in site.ask(|| plain("/")).await {
        assert_eq!(of(&answer), "max-age=31536000; includeSubDomains");
    }
    let mut open = Http1::plain(&site.rig).await;
    assert_eq!(of(&open.ask(plain("/")).await.unwrap()), "");
    let internal = RouteSpec {
        public_certificate: false,
        ..policed(HOST, &site.app, "hsts = true")
    };
    site.rig.publish(World::of([internal]));
    for answer in site.ask(|| plain("/")).await {
        assert_eq!((answer.status.as_u16(), &*of(&answer)), (200, ""));
    }
    site.now("hsts = false");
    for answer in site.ask(|| plain("/")).await {
        assert_eq!(of(&answer), "");
    }
}

fn basic(both: &str) -> String {
    let coded = base64::engine::general_purpose::STANDARD.encode(both);
    format!("Basic {coded}")
}

pub const STAFF: &str =
    "basic_auth = { realm = \"Staff\", users = [{ name = \"ana\", password = \"hunter2\" }] }";

#[tokio::test]
async fn e6_a_name_and_password_are_asked_for_and_the_app_never_sees_them() {
    let mut site = Site::new(STAFF).await;
    let good = basic("ana:hunter2");
    for answer in site.ask(|| with("/", &[("authorization", &good)])).await {
        assert_eq!(answer.status, StatusCode::OK);
        assert!(
            !answer.text().to_lowercase().contains("authorization"),
            "{}",
            answer.text()
        );
    }
    let asked = site.app_was_asked();
    let long = basic(&format!("ana:{}", "x".repeat(20_000)));
    let (wrong, other) = (basic("ana:hunter3"), basic("ben:hunter2"));
    let refused: [&[(&str, &str)]; 9] = [
        &[],
        &[("authorization", &wrong)],
        &[("authorization", &other)],
        &[("authorization", &good), ("authorization", &good)],
        &[("authorization", &wrong), ("authorization", &good)],
        &[("authorization", &long)],
        &[("authorization", "Basic")],
        &[("authorization", "Bearer hunter2")],
        &[("proxy-authorization", &good)],
    ];
    for fields in refused {
        for answer in site.ask(|| with("/", fields)).await {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{fields:?}");
            assert_eq!(
                answer.header("www-authenticate"),
                "Basic realm=\"Staff\", charset=\"UTF-8\""
            );
            assert!(answer.text().contains("Sign in to see this"));
        }
    }
    assert_eq!(site.app_was_asked(), asked, "none of them reached the app");
    assert_eq!(site.rig.edge.stats().refusals.of(Refusal::Denied), 18);
    // Without the policy it is the app's to judge, and comes through.
    site.now("");
    for answer in site.ask(|| with("/", &[("authorization", &wrong)])).await {
        assert!(answer.text().contains(&format!("authorization: {wrong}")));
    }
}

#[tokio::test]
async fn e6_addresses_are_allowed_and_denied_by_who_the_client_really_is() {
    let (inside, outside) = ("allow = [\"127.0.0.0/8\"]", "allow = [\"192.0.2.0/24\"]");
    let mut site = Site::new(inside).await;
    let forged = [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
    ];
    assert_eq!(site.statuses(|| plain("/")).await, [200, 200]);
    site.now(outside);
    assert_eq!(site.statuses(|| plain("/")).await, [403, 403]);
    assert_eq!(site.statuses(|| with("/", &forged)).await, [403, 403]);
    site.now("deny = [\"127.0.0.1\"]\nallow = [\"127.0.0.0/8\"]");
    assert_eq!(site.statuses(|| plain("/")).await, [403, 403]);
    assert_eq!(site.app_was_asked(), 2);
    assert_eq!(site.rig.edge.stats().refusals.of(Refusal::Denied), 6);
    // A proxy that is trusted speaks for its clients, as well the good as the bad.
    site.now(outside);
    site.rig.edge.trust(Proxies {
        trusted: vec![Cidr::parse("127.0.0.0/8").unwrap()],
        ..Proxies::default()
    });
    let told = |client: &'static str| move || with("/", &[("x-forwarded-for", client)]);
    assert_eq!(site.statuses(told("192.0.2.1")).await, [200, 200]);
    assert_eq!(site.statuses(told("192.0.3.1")).await, [403, 403]);
    assert_eq!(
        site.statuses(told("192.0.2.1, 192.0.3.1")).await,
        [403, 403]
    );
}

#[tokio::test]
async fn e6_a_client_that_asks_too_often_is_told_when_to_come_again() {
    let mut site = Site::new("rate_limit = { requests = 4, per = \"hour\" }").await;
    let [first, second] = site.ask(|| plain("/")).await;
    assert_eq!(first.header("ratelimit-policy"), "\"requests\";q=4;w=3600");
    assert_eq!(first.header("ratelimit"), "\"requests\";r=3;t=900");
    assert!(
        second
            .header("ratelimit")
            .starts_with("\"requests\";r=2;t=")
    );
    assert_eq!(site.statuses(|| plain("/")).await, [200, 200]);
    let asked = site.app_was_asked();
    for answer in site
        .ask(|| with("/", &[("x-forwarded-for", "192.0.2.1")]))
        .await
    {
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        let wait: u32 = answer.header("retry-after").parse().unwrap();
        assert!((890..=900).contains(&wait), "{wait}");
        assert!(
            answer
                .header("ratelimit")
                .starts_with("\"requests\";r=0;t=")
        );
        assert!(answer.text().contains(&format!("in {wait} seconds")));
    }
    assert_eq!(site.app_was_asked(), asked);
    assert_eq!(site.rig.edge.stats().refusals.of(Refusal::RateLimited), 2);
    // Another snapshot forgets nothing; a larger quota counts at once; without the policy nothing is counted.
    site.now("hsts = true\nrate_limit = { requests = 4, per = \"hour\" }");
    assert_eq!(site.statuses(|| plain("/")).await, [429, 429]);
    site.now("rate_limit = { requests = 1000, per = \"second\" }");
    tokio::time::timeout(std::time::Duration::from_secs(60), async {
        // What was used of the hour counts as the whole second at most.
        while site.statuses(|| plain("/")).await != [200, 200] {}
    })
    .await
    .unwrap();
    site.now("");
    for answer in site.ask(|| plain("/")).await {
        assert_eq!(
            (answer.status.as_u16(), answer.header("ratelimit")),
            (200, "")
        );
    }
}

#[tokio::test]
async fn e6_clients_are_told_apart_by_a_header_where_that_is_wanted() {
    let limit = "rate_limit = { requests = 2, per = \"day\", header = \"x-api-key\" }";
    let mut site = Site::new(limit).await;
    let of = |key: &'static str| move || with("/", &[("x-api-key", key)]);
    assert_eq!(site.statuses(of("one")).await, [200, 200]);
    assert_eq!(site.statuses(of("one")).await, [429, 429]);
    assert_eq!(site.statuses(of("two")).await, [200, 200]);
    // Those without one are counted by their address, and those with several are as well.
    assert_eq!(site.statuses(|| plain("/")).await, [200, 200]);
    let both = || with("/", &[("x-api-key", "three"), ("x-api-key", "four")]);
    assert_eq!(site.statuses(both).await, [429, 429]);
}

#[tokio::test]
async fn e6_a_body_may_be_as_large_as_its_route_takes() {
    let mut site = Site::new("body_limit = \"1K\"").await;
    let of = |length: usize| move || post(&format!("https://{HOST}/"), vec![b'x'; length]);
    assert_eq!(site.statuses(of(1_024)).await, [200, 200]);
    assert_eq!(site.statuses(of(1_025)).await, [413, 413]);
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1_025)
    );
    let answer = bytes(&site.rig, HOST, chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    site.now("");
    assert_eq!(site.statuses(of(1_025)).await, [200, 200]);
}

#[tokio::test]
async fn e6_the_edges_errors_have_the_routes_own_pages_for_people_alone() {
    let pages = "deny = [\"127.0.0.0/8\"]\nerror_pages = { \"4xx\" = \"<h1>Ours: {status}</h1><p>{request_id}</p>\" }";
    let mut site = Site::new(pages).await;
    for answer in site.ask(|| with("/", &[("accept", "text/html,*/*")])).await {
        let page = format!("<h1>Ours: 403</h1><p>{}</p>", answer.header("x-request-id"));
        assert_eq!((answer.status.as_u16(), answer.text()), (403, &*page));
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(answer.header("content-security-policy"), "");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for answer in site
        .ask(|| with("/", &[("accept", "application/json")]))
        .await
    {
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(!answer.text().contains("Ours"));
    }
    // The app's own errors are the app's.
    let app = crate::app::always("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone").await;
    site.rig.publish(World::of([policed(
        HOST,
        &app,
        "error_pages = { \"4xx\" = \"<h1>Ours</h1>\" }",
    )]));
    for answer in site.ask(|| with("/", &[("accept", "text/html")])).await {
        assert_eq!((answer.status.as_u16(), answer.text()), (404, "gone"));
    }
    site.now("deny = [\"127.0.0.0/8\"]");
    for answer in site.ask(|| with("/", &[("accept", "text/html")])).await {
        assert!(answer.text().contains("This is not served to you"));
        assert!(!answer.header("content-security-policy").is_empty());
    }
}

/// Paths that an app may take for one below `/admin`, and ones below it that it may take for another.
const AROUND: [&str; 17] = [
    "//admin",
    "/./admin",
    "/x/../admin",
    "/x//../admin",
    "/x/%2e%2E/admin",
    "/x%2f..%2Fadmin",
    "/%2e/admin",
    "/%61dmin",
    "/%2561dmin",
    "/ADMIN",
    "/Admin/x",
    "/admin;a=b",
    "/x/..;/admin",
    "/admin%2fx",
    "/%2fadmin",
    "/admin/../x",
    "/admin/%2e%2e/x",
];

#[tokio::test]
async fn e6_no_spelling_of_a_path_gets_around_the_policies_of_another_one() {
    let mut site = Site::new("").await;
    let guarded = [
        STAFF,
        "deny = [\"127.0.0.0/8\"]",
        "rate_limit = { requests = 100000 }",
    ];
    for policies in ["", guarded[0], guarded[1], guarded[2]] {
        site.rig.publish(World::of([
            policed("tasks.test/admin", &site.app, policies),
            policed(HOST, &site.app, ""),
        ]));
        for path in AROUND {
            let before = site.app_was_asked();
            let statuses = site.statuses(|| plain(path)).await;
            // The saboteur: where nothing is guarded each of them reaches the app.
            let (status, reached) = if policies.is_empty() {
                (200, 2)
            } else {
                (400, 0)
            };
            assert_eq!(statuses, [status, status], "{path} {policies}");
            assert_eq!(site.app_was_asked() - before, reached, "{path} {policies}");
        }
        // What every reading leads to the same place is served as ever.
        for path in ["/", "/a%2Fb", "/x//y", "/X/../y;z", "/administrator"] {
            assert_eq!(site.statuses(|| plain(path)).await, [200, 200], "{path}");
        }
    }
    for spelling in ["TASKS.test", "tasks.TEST.", "tasks.test:443"] {
        for (path, status) in [("/admin", "401"), ("//admin", "400"), ("/", "200")] {
            site.rig.publish(World::of([
                policed("tasks.test/admin", &site.app, STAFF),
                policed(HOST, &site.app, ""),
            ]));
            let head =
                format!("GET {path} HTTP/1.1\r\nhost: {spelling}\r\nconnection: close\r\n\r\n");
            let answer = bytes(&site.rig, HOST, head).await;
            assert_eq!(
                answer.get(9..12),
                Some(status),
                "{spelling}{path}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn e6_what_comes_first_counts_first_and_challenges_come_before_all() {
    let all = "deny = [\"127.0.0.0/8\"]\nrate_limit = { requests = 1, per = \"day\" }\nredirects = [{ to = \"https://o.test\" }]\n";
    let mut site = Site::new(&format!("{all}{STAFF}")).await;
    assert_eq!(site.statuses(|| plain("/")).await, [403, 403]);
    let rest = all.replace("127.0.0.0/8", "192.0.2.1");
    site.now(&format!("{rest}{STAFF}"));
    // The refused were not counted: one is free.
    assert_eq!(site.statuses(|| plain("/")).await, [308, 429]);
    site.now(&format!(
        "redirects = [{{ to = \"https://o.test\" }}]\n{STAFF}"
    ));
    assert_eq!(site.statuses(|| plain("/")).await, [308, 308]);
    site.now(&format!("body_limit = 1\n{STAFF}"));
    let large = || {
        let request = Request::builder().method(Method::POST);
        request
            .uri(format!("https://{HOST}/"))
            .body(full("large"))
            .unwrap()
    };
    assert_eq!(site.statuses(large).await, [401, 401]);
    site.rig.publish(World {
        challenges: vec![("token", "token.key")],
        ..World::of([policed(HOST, &site.app, &format!("{all}{STAFF}"))])
    });
    let mut open = Http1::plain(&site.rig).await;
    let challenge = get("http://tasks.test/.well-known/acme-challenge/token");
    assert_eq!(open.ask(challenge).await.unwrap().text(), "token.key");
    let other = get("http://tasks.test/.well-known/acme-challenge/other");
    assert_eq!(open.ask(other).await.unwrap().status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn e6_a_websocket_passes_through_a_routes_policies() {
    let app = crate::app::raw(|mut stream, _| async move {
        let head = crate::app::read_head(&mut stream).await.unwrap();
        assert!(head.starts_with("GET /ws HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        assert!(head.contains("x-env: staging\r\n"), "{head}");
        assert!(!head.contains("authorization"), "{head}");
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";
        stream.write_all(switch.as_bytes()).await.unwrap();
    })
    .await;
    let policies = format!(
        "strip_prefix = true\nrequest_headers.set = {{ x-env = \"staging\" }}\nanswer_headers.set = {{ x-b = \"1\" }}\n{STAFF}"
    );
    let rig = Rig::start(World::of([policed("tasks.test/live", &app, &policies)]));
    let ask = |more: &str| {
        format!(
            "GET /live/ws HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade, x-env\r\nupgrade: websocket\r\n{more}\r\n"
        )
    };
    let refused = bytes(&rig, HOST, ask("connection: close\r\n")).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let good = ask(&format!("authorization: {}\r\n", basic("ana:hunter2")));
    let opened = bytes(&rig, HOST, good).await;
    assert!(
        opened.starts_with("HTTP/1.1 101 ") && opened.contains("x-b: 1\r\n"),
        "{opened}"
    );
    assert!(opened.contains("\r\n\r\nhello"), "{opened}");
}
