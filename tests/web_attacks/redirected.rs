//! Requests bent: redirects that lead away, a Host of the attacker's, paths out of the folder, methods in disguise,
//! two requests dressed as one.

use freehold::web::table;

use crate::world::{FORM, SAME_ORIGIN, World, ask, raw};

const ELSEWHERE: [&str; 12] = [
    "//evil.internal",
    "///evil.internal",
    "/\\evil.internal",
    "\\\\evil.internal",
    "https://evil.internal/",
    "https:evil.internal",
    "javascript:alert(1)",
    "/\t/evil.internal",
    "/\r\nSet-Cookie: planted=1",
    "/\nLocation: https://evil.internal",
    " //evil.internal",
    "/%0d%0aSet-Cookie:planted=1",
];

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}

/// Whether a browser that follows this stays on the host.
fn stays(location: &str) -> bool {
    let base = url::Url::parse("https://panel.internal/sign-in").unwrap();
    let to = base.join(location).unwrap();
    to.host_str() == Some("panel.internal") && to.scheme() == "https"
}

#[test]
fn a6_no_redirect_leads_away() {
    assert!(stays("/box") && !stays("//evil.internal") && !stays("/\\evil.internal"));
    let world = World::new();
    let (cookie, token) = (world.cookie(), world.token());
    for to in ELSEWHERE {
        let to = encoded(to);
        for name in [
            "back",
            "next",
            "return",
            "return_to",
            "url",
            "redirect",
            "rd",
            "goto",
            "continue",
        ] {
            let query = format!("?{name}={to}");
            for path in ["/", "/sign-in", "/account", "/nowhere", "/apps/shop"] {
                for headers in [
                    vec!["Accept: text/html"],
                    vec!["Accept: text/html", &cookie],
                ] {
                    let answer = world.edge("GET", &format!("{path}{query}"), &headers, "");
                    check(&answer, &query);
                }
            }
        }
        let form = format!("form-token={token}&theme=dark&back={to}");
        let answer = world.edge("POST", "/theme", &[FORM, &cookie, SAME_ORIGIN], &form);
        assert_eq!(answer.status, 303, "{}", answer.text);
        check(&answer, &form);
    }
}

fn check(answer: &crate::world::Answer, what: &str) {
    let head = answer.text.split("\r\n\r\n").next().unwrap();
    if let Some(location) = answer.header("location") {
        assert!(stays(location), "{what}: {head}");
    }
    assert!(
        !head.to_lowercase().contains("\nset-cookie: planted"),
        "{what}: {head}"
    );
    assert_ne!(answer.status, 500, "{what}: {head}");
}

/// Every redirect of every address, whatever it is given.
#[test]
fn a6_every_redirect_of_the_table_stays_on_the_host() {
    let world = World::new();
    let (cookie, token) = (world.cookie(), world.token());
    let mut redirects = 0;
    for route in table() {
        if route.path.ends_with("/stream") || route.path == "/sign-out" {
            continue;
        }
        let part = |part: &str| match part {
            "{app}" => "shop".to_owned(),
            _ if part.starts_with('{') => encoded("//evil.internal"),
            _ => part.to_owned(),
        };
        let path: Vec<String> = route.path.split('/').map(part).collect();
        let path = path.join("/").replace("//", "/");
        let form = format!(
            "form-token={token}&name=%2f%2fevil.internal&typed=x&app=%2f%2fevil.internal&domain=%2f%2fevil&theme=a&back=%2f%2fevil"
        );
        let headers = [FORM, &cookie, SAME_ORIGIN, "Accept: text/html"];
        let body = if route.method == "GET" { "" } else { &form };
        let answer = world.edge(route.method.as_str(), &path, &headers, body);
        redirects += usize::from(answer.header("location").is_some());
        check(&answer, &path);
    }
    assert!(redirects > 8, "{redirects}");
}

#[test]
fn a6_the_host_header_names_nothing() {
    let world = World::new();
    let (cookie, token) = (world.cookie(), world.token());
    let poison = [
        "Host: evil.example",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: http",
        "X-Original-URL: /settings",
        "X-Rewrite-URL: /settings",
        "Forwarded: host=evil.example",
    ];
    let local = |method: &str, path: &str, body: &str| {
        let mut headers = vec!["Content-Type: application/json"];
        headers.extend(poison);
        ask(
            world.daemon.socket("freehold.sock"),
            method,
            path,
            &headers,
            body,
        )
    };
    let link = local("POST", "/api/v1/setup-link", "");
    assert!(
        link.body().contains("https://panel.internal") && !link.body().contains("evil.example"),
        "{}",
        link.text
    );
    let invited = local(
        "POST",
        "/api/v1/users",
        "{\"name\":\"ana\",\"role\":\"viewer\"}",
    );
    assert!(!invited.body().contains("evil.example"), "{}", invited.text);
    // The browser's own words of where it is are shown, escaped, and nothing is made of them.
    let mut headers = vec![FORM, &cookie, SAME_ORIGIN, "Accept: text/html"];
    headers.extend(poison);
    let socket = || world.daemon.socket("edge.sock");
    let form = format!("form-token={token}");
    for (method, path, form) in [
        ("GET", "/apps/shop/settings", ""),
        ("POST", "/settings/people/ana/reset", &*form),
        ("GET", "/settings/people", ""),
        ("GET", "/sign-in", ""),
    ] {
        let answer = ask(socket(), method, path, &headers, form);
        assert!(
            !answer
                .header("location")
                .unwrap_or_default()
                .contains("evil"),
            "{}",
            answer.text
        );
        let links: Vec<&str> = answer.text.split("https://").skip(1).collect();
        assert!(
            !links.iter().any(|l| l.starts_with("evil.example")),
            "{path}: {}",
            answer.text
        );
        assert!(
            !answer.text.contains("=\"//evil"),
            "{path}: {}",
            answer.text
        );
    }
    // An unsafe request whose Host is another than its Origin is not taken, whoever says so.
    let origin = ["Origin: https://panel.internal"];
    let mut headers = vec![FORM, &cookie, SAME_ORIGIN];
    headers.extend(poison);
    headers.extend(origin);
    assert_eq!(ask(socket(), "POST", "/theme", &headers, &form).status, 403);
}

#[test]
fn a6_no_path_leads_out_of_the_static_files() {
    let world = World::new();
    for path in [
        "/static/../Cargo.toml",
        "/static/..%2f..%2fetc%2fpasswd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/....//etc/passwd",
        "/static//etc/passwd",
        "/static/app.css%00.js",
        "/static/..\\..\\etc\\passwd",
        "/static/",
        "/static",
        "/apps/..%2f..%2fetc%2fpasswd",
        "/api/v1/apps/..%2fshop",
        "/apps/shop/../../settings",
        "/apps/shop/deploys/..%2f1/log",
    ] {
        let answer = world.edge("GET", path, &[&world.cookie()], "");
        assert!(
            [400, 404, 422].contains(&answer.status),
            "{path}: {}",
            answer.text
        );
        assert!(!answer.text.contains("root:"), "{path}: {}", answer.text);
    }
    assert_eq!(world.edge("GET", "/static/app.css", &[], "").status, 200);
}

#[test]
fn a6_a_method_in_disguise_is_the_method_it_is() {
    let world = World::new();
    let cookie = world.cookie();
    let before = world.state();
    for header in [
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: PATCH",
    ] {
        let answer = world.edge("GET", "/api/v1/apps/shop", &[&cookie, header], "");
        assert_eq!(answer.status, 200, "{}", answer.text);
        let form = format!("form-token={}&_method=DELETE", world.token());
        let answer = world.edge(
            "POST",
            "/apps/shop",
            &[FORM, &cookie, SAME_ORIGIN, header],
            &form,
        );
        assert_eq!(answer.status, 405, "{}", answer.text);
    }
    for method in ["TRACE", "CONNECT", "PROPFIND", "DEBUG"] {
        let answer = world.edge(method, "/api/v1/apps/shop", &[&cookie], "");
        assert!(
            [400, 403, 405].contains(&answer.status),
            "{method}: {}",
            answer.text
        );
        assert!(
            !answer.text.contains(&world.session),
            "{method} gives the cookie back"
        );
    }
    assert_eq!(world.state(), before);
}

/// What the edge and the dashboard could read differently: neither takes it, or both the same way.
#[test]
fn a6_two_requests_dressed_as_one_are_not_two() {
    let world = World::new();
    let hidden = format!(
        "GET /api/v1/users HTTP/1.1\r\nHost: panel.internal\r\n{}\r\n\r\n",
        world.cookie()
    );
    for framing in [
        format!(
            "Content-Length: 4\r\nContent-Length: {}\r\n\r\n",
            hidden.len()
        ),
        format!("Content-Length: {}, 4\r\n\r\n", hidden.len()),
        "Content-Length: +4\r\n\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n".to_owned(),
    ] {
        let bytes = format!("POST /theme HTTP/1.1\r\nHost: panel.internal\r\n{framing}{hidden}");
        let answer = raw(world.daemon.socket("edge.sock"), bytes.as_bytes());
        assert!(
            !answer.text.contains("\"role\""),
            "{framing:?}: {}",
            answer.text
        );
        assert!(
            answer.text.matches("HTTP/1.1 ").count() <= 1,
            "{framing:?}: {}",
            answer.text
        );
    }
}

/// Every answer, whoever asks and whatever comes of it, says how it may be used.
#[test]
fn a6_every_answer_is_hardened_and_none_is_kept() {
    let world = World::new();
    let cookie = world.cookie();
    let mut answers = vec![
        world.edge("GET", "/static/app.js", &[], ""),
        world.edge("GET", "/static/none", &[&cookie], ""),
        world.edge("GET", "/nowhere", &["Accept: text/html"], ""),
        world.edge("DELETE", "/box", &[&cookie], ""),
        world.edge(
            "GET",
            "/",
            &["Authorization: Bearer freehold_pat_wrong"],
            "",
        ),
        world.edge("POST", "/sign-in", &["Origin: https://evil.internal"], ""),
        world.edge(
            "POST",
            "/api/v1/apps",
            &[&cookie, SAME_ORIGIN, "Content-Type: application/json"],
            "{",
        ),
        world.edge("GET", "/api/v1/health", &[], ""),
        world.edge("GET", "/api/v1/root.pem", &[], ""),
    ];
    for route in table() {
        if route.method != "GET" || route.path.ends_with("/stream") {
            continue;
        }
        let part = |part: &str| {
            if part == "{app}" {
                "shop".to_owned()
            } else {
                part.replace(['{', '}'], "")
            }
        };
        let path: Vec<String> = route.path.split('/').map(part).collect();
        for headers in [
            vec!["Accept: text/html"],
            vec!["Accept: text/html", &cookie],
        ] {
            answers.push(world.edge("GET", &path.join("/"), &headers, ""));
        }
    }
    for answer in answers {
        let says = |name: &str| {
            answer
                .header(name)
                .unwrap_or_else(|| panic!("{name}: {}", answer.text))
        };
        let csp = says("content-security-policy");
        for rule in [
            "default-src 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
        ] {
            assert!(csp.split("; ").any(|r| r == rule), "{rule}: {csp}");
        }
        for lax in ["unsafe", "data:", "blob:", "http", "*", "nonce"] {
            assert!(!csp.contains(lax), "{csp}");
        }
        assert_eq!(says("x-content-type-options"), "nosniff");
        assert_eq!(says("referrer-policy"), "same-origin");
        assert_eq!(says("cross-origin-opener-policy"), "same-origin");
        assert_eq!(says("cross-origin-resource-policy"), "same-origin");
        assert!(says("permissions-policy").contains("camera=()"));
        let kept = says("cache-control");
        let is_file = answer.status == 200
            && (kept.contains("immutable") || answer.text.contains("BEGIN CERTIFICATE"));
        assert!(kept == "no-store" || is_file, "{}", answer.text);
        assert!(answer.header("access-control-allow-origin").is_none());
        assert!(answer.header("server").is_none() && answer.header("x-powered-by").is_none());
        if !answer.body().is_empty() {
            says("content-type");
        }
    }
}
