//! What `[[route]]`, `[proxies]` and the logs of both may say.

use super::*;
use crate::base::log_share::LogShare;

#[test]
fn e2_proxies_are_named_by_range_or_by_name() {
    let text = "[listen]\nproxy_protocol = [\"10.0.0.7\"]\n[proxies]\ntrusted = [\"cloudflare\", \"fd00::/8\"]";
    let config = load(text).unwrap();
    let range = |text| crate::base::cidr::Cidr::parse(text).unwrap();
    assert_eq!(config.listen.proxy_protocol, [range("10.0.0.7/32")]);
    assert_eq!(
        config.proxies.trusted,
        [Trusted::Cloudflare, Trusted::Range(range("fd00::/8"))]
    );
    let many = format!("[proxies]\ntrusted = [{}]", "\"10.0.0.1\",".repeat(257));
    let error = load(&many).unwrap_err().to_string();
    assert!(error.contains("more than 256 ranges"), "{error}");
    let default = Config::default();
    assert!(default.listen.proxy_protocol.is_empty() && default.proxies.trusted.is_empty());
}

#[test]
fn e6_a_route_may_be_a_folder_of_files() {
    let route = "[[route]]\nhost = \"a.b\"\nstatic = \"/srv/www\"\n";
    let config = load(route).unwrap();
    let files = config.routes[0].files.clone().unwrap();
    assert!(files.path.ends_with("srv/www") && !files.single_page);
    let config = load(&format!("{route}single_page = true\n")).unwrap();
    assert!(config.routes[0].files.clone().unwrap().single_page);
}

/// The example route of the sample, and a line of it that stands for each policy.
fn example() -> String {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.toml")).unwrap();
    let (_, route) = text.split_once("# A route to something").unwrap();
    let lines = route.lines().filter_map(|line| line.strip_prefix("# "));
    let set = |line: &&str| {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        *line == "[[route]]" || !key.is_empty() && !key.contains(' ')
    };
    lines.filter(set).collect::<Vec<_>>().join("\n")
}

#[test]
fn e6_the_samples_route_is_one_with_every_policy() {
    let config = load(&example()).unwrap();
    let policies = &config.routes[0].policies;
    policies.check().unwrap();
    let shown = serde_json::to_value(policies).unwrap();
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 13, "{keys:?}");
    assert!(
        !format!("{config:?}").contains('…'),
        "a password is printed"
    );
}

#[test]
fn e6_a_route_that_sends_everybody_elsewhere_needs_no_upstream() {
    let of = |more: &str| load(&format!("[[route]]\nhost = \"www.a.test\"\n{more}"));
    let config = of("redirects = [{ to = \"https://a.test\" }]").unwrap();
    assert_eq!(config.routes[0].upstream, None);
    for less in [
        "",
        "redirects = [{ path = \"/a\", to = \"https://a.test\" }]",
    ] {
        let error = of(less).unwrap_err();
        assert!(error.to_string().contains("add upstream ="), "{error}");
        assert_eq!(error.line, Some(1));
    }
}

#[test]
fn e6_a_mistake_in_a_routes_policy_names_file_line_and_key() {
    let route = "[[route]]\nhost = \"a.b\"\nupstream = \"http://x\"\n\n";
    for (more, line, key, part) in [
        ("hsts = 1", 5, "route.hsts", "true, false or a table"),
        (
            "allow = [\"here\"]",
            5,
            "route.allow",
            "write it like \"192.0.2.7\"",
        ),
        (
            "strip_prefx = true",
            5,
            "route.strip_prefx",
            "Did you mean `strip_prefix`?",
        ),
        (
            "sticky = true\nanswer_headers = { set = { x-a = \"1\\n\" } }",
            6,
            "route.answer_headers",
            "one line",
        ),
        (
            "[route.basic_auth]\nrealm = \"A\"\nusers = [{ name = \"ana\" }]",
            5,
            "route.basic_auth",
            "add password",
        ),
    ] {
        let error = load(&format!("{route}{more}")).unwrap_err();
        assert_eq!(error.line, Some(line), "{more}: {error}");
        assert!(error.file.ends_with("config.toml"));
        assert!(error.to_string().contains(part), "{more}: {error}");
        let named = error.key.as_deref().unwrap_or_default();
        assert!(
            named.starts_with(key) || key.starts_with(named),
            "{more}: {named}"
        );
    }
}

#[test]
fn e7_what_is_logged_is_set_for_all_and_for_a_route() {
    let config = load(
        r#"
[access_log]
share = 0.1
files = 2
[[route]]
host = "legacy.example.com"
upstream = "http://127.0.0.1:9001"
access_log = "off"
[[route]]
host = "other.example.com"
upstream = "http://127.0.0.1:9001"
"#,
    )
    .unwrap();
    assert_eq!(config.access_log.share, LogShare::part(0.1).unwrap());
    let of_routes: Vec<_> = config.routes.iter().map(|route| route.access_log).collect();
    assert_eq!(of_routes, [Some(LogShare::OFF), None]);
    for (wrong, line) in [
        ("[access_log]\nshare = 2", 2),
        ("[access_log]\nshare = \"some\"", 2),
        ("[access_log]\nfiles = 0", 2),
        ("[access_log]\nsize = \"1K\"", 2),
        (
            "\n[[route]]\nhost = \"a.test\"\nupstream = \"http://a\"\naccess_log = true",
            5,
        ),
    ] {
        let error = load(wrong).unwrap_err();
        assert_eq!(error.line, Some(line), "{wrong}: {error}");
    }
}
