//! What the source itself shows of who may do what, of forms and of proofs.

use std::fmt::Write as _;
use std::path::Path;

use super::hold_lines;

/// A route is a row of the one table, with what it needs; there is no other way to make an address.
#[test]
fn a4_every_route_stands_in_the_table_with_what_it_needs() {
    const WAYS: [&str; 9] = [
        ".route(",
        ".route_service(",
        ".nest(",
        ".nest_service(",
        ".merge(",
        ".fallback_service(",
        "Router::new()",
        "routing::get",
        "routing::post",
    ];
    hold_lines("routes are made in web/router.rs alone", |source, line| {
        let home = source.path.ends_with("web/router.rs");
        (!home && source.module == "web" && WAYS.iter().any(|w| line.contains(w)))
            .then(|| line.to_owned())
    });
    let router = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/router.rs");
    let text = std::fs::read_to_string(router).unwrap();
    let (before, rest) = text.split_once("    let mut all = pages! {").unwrap();
    let (pages, rest) = rest.split_once("\n    };\n").unwrap();
    let (between, rest) = rest.split_once("api! {").unwrap();
    let (api, after) = rest.split_once("\n    });\n").unwrap();
    let rows = format!("{pages}{api}");
    let outside = format!("{before}{between}{after}");
    assert_eq!(
        outside.matches(".route(").count(),
        1,
        "one loop makes every route"
    );
    assert_eq!(outside.matches("Router::new()").count(), 1);
    let access = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/access.rs");
    let access = std::fs::read_to_string(access).unwrap();
    assert!(
        !access.contains("Default"),
        "what a route needs has no default"
    );
    let (_, roles) = access.split_once("pub enum Needs {").unwrap();
    let (roles, _) = roles.split_once("\n}").unwrap();
    let roles: Vec<&str> = roles
        .lines()
        .map(str::trim)
        .filter_map(|l| l.strip_suffix(','))
        .collect();
    assert!(roles.len() >= 10, "{roles:?}");
    let mut count = 0;
    for row in rows
        .lines()
        .map(str::trim)
        .filter(|r| !r.is_empty() && !r.starts_with("//"))
    {
        let mut words = row.split_whitespace();
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        let needs = words.next().unwrap_or_default();
        assert!(method.chars().all(char::is_uppercase), "{row}");
        assert!(path.starts_with("\"/") && path.ends_with('"'), "{row}");
        assert!(
            roles.contains(&needs),
            "{needs} is nothing that a route can need: {row}"
        );
        count += 1;
    }
    assert!(count > 120, "{count}");
}

/// What proves who somebody is is compared by `base::secret` alone, in constant time (`Secret` compares so itself).
#[test]
fn a6_proofs_are_compared_in_constant_time() {
    const PROOFS: [&str; 7] = [
        "expose()",
        "token",
        "digest",
        "signature",
        "hmac",
        "mac",
        "proof",
    ];
    let word = |c: char| c.is_alphanumeric() || "_().".contains(c);
    let is_proof = |side: &str| {
        let last = side
            .trim_end_matches(".as_bytes()")
            .trim_end_matches(".as_str()");
        let last = last.rsplit('.').next().unwrap_or_default();
        side.contains("expose()")
            || PROOFS
                .iter()
                .any(|p| last == *p || last.ends_with(&format!("_{p}")))
    };
    hold_lines(
        "proofs are compared with constant_time_eq",
        |source, line| {
            if source.path.ends_with("base/secret.rs") || source.path.ends_with("fuzz.rs") {
                return None;
            }
            ["==", "!="].iter().find_map(|operator| {
                let (left, right) = line.split_once(operator)?;
                let left = left
                    .trim_end()
                    .rsplit(|c| !word(c))
                    .next()
                    .unwrap_or_default();
                let right = right.trim_start().trim_start_matches(['&', '*']);
                let right = right.split(|c| !word(c)).next().unwrap_or_default();
                (is_proof(left) || is_proof(right)).then(|| line.to_owned())
            })
        },
    );
    // The rule finds what it is there for.
    for bent in [
        "given.digest",
        "secret.expose()",
        "token",
        "session.token.as_bytes()",
        "form_token",
    ] {
        assert!(is_proof(bent), "{bent}");
    }
    assert!(!is_proof("tokens") && !is_proof("image_tag") && !is_proof("spec_hash"));
}

/// Every form that changes something carries the token of the session it was shown in (src/web/forgery.rs).
#[test]
fn a6_every_form_carries_the_token() {
    const TOKEN: &str = "{% include \"parts/token.html\" %}";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let mut report = String::new();
    let (mut folders, mut forms) = (vec![root.clone()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
            let mut bent = |what: &str| writeln!(report, "{}: {what}", path.display()).unwrap();
            for (_, form) in text.match_indices("<form").map(|(at, _)| text.split_at(at)) {
                let (tag, after) = form.split_once('>').unwrap();
                if tag.contains("method=\"get\"") {
                    continue;
                }
                forms += 1;
                if !tag.contains("method=\"post\"") || !after.starts_with(TOKEN) {
                    bent(tag);
                }
                // What one does to oneself is shown to those as well who may change nothing else (static/app.css).
                let ones_own = ["/account", "/sign-out"].iter();
                let ones_own = ones_own
                    .clone()
                    .any(|a| tag.contains(&format!("action=\"{a}")));
                let shown = tag.split(['"', ' ']).any(|word| word == "own");
                if ones_own && !shown {
                    bent("a form of one's own account without class own");
                }
            }
            if text.contains("formaction") || text.contains("formmethod") {
                bent("a button that sends a form elsewhere");
            }
        }
    }
    assert!(
        report.is_empty(),
        "a form that posts begins with {TOKEN}\n{report}"
    );
    assert!(forms > 40, "only {forms} forms were found");
    let part = std::fs::read_to_string(root.join("parts/token.html")).unwrap();
    assert!(part.contains("name=\"form-token\" value=\"{{ frame.form_token }}\""));
}
