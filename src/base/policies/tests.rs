//! Policies as they are read, written, refused and bounded.
use super::*;

const WHOLE: &str = r#"
redirects = [
    { host = "www.example.com", to = "https://example.com" },
    { path = "/old", to = "/new?x=1", status = 302, keep = false },
]
strip_prefix = true
request_headers = { set = { "x-env" = "staging" }, remove = ["x-debug"] }
answer_headers = { set = { "x-frame-options" = "DENY" }, add = { "link" = "</a.css>; rel=preload" }, remove = ["server"] }
hsts = { max_age_days = 730, include_subdomains = true, preload = true }
basic_auth = { realm = "Staging", users = [{ name = "ana", password = "hunter2" }] }
allow = ["10.0.0.0/8", "2001:db8::1"]
deny = ["10.1.0.0/16"]
rate_limit = { requests = 100, per = "minute", header = "x-api-key" }
body_limit = "10MB"
compress = { codings = ["br", "gzip"], types = ["text/*"] }
sticky = true
error_pages = { "404" = "<h1>{status}</h1>", "5xx" = "<p>{request_id}" }
"#;

fn read(text: &str) -> Result<Policies, String> {
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

#[test]
fn e6_policies_are_the_same_in_toml_and_json_and_a_password_is_in_neither() {
    let mut policies = read(WHOLE).unwrap();
    assert!(policies.check().is_ok() && !policies.is_empty());
    assert_eq!(policies.body_limit, Some(Size(10 << 20)));
    policies.take_in(&VerifierKey::new(b"key"));
    let json = serde_json::to_string(&policies).unwrap();
    let back: Policies = serde_json::from_str(&json).unwrap();
    assert_eq!(back, policies);
    assert_eq!(back.mark(), policies.mark());
    let again = read(&toml::to_string(&policies).unwrap()).unwrap();
    assert_eq!(again, policies);
    assert_eq!(serde_json::to_string(&Policies::default()).unwrap(), "{}");
}

#[test]
fn e6_neither_a_password_nor_its_verifier_prints_or_is_written_in_the_clear() {
    let mut policies = read(WHOLE).unwrap();
    let before = format!("{policies:?} {}", serde_json::to_string(&policies).unwrap());
    assert!(!before.contains("hunter2"), "{before}");
    policies.take_in(&VerifierKey::new(b"key"));
    let user = &policies.basic_auth.as_ref().unwrap().users[0];
    let verifier = hex::encode(user.verifier.as_ref().unwrap().0);
    assert!(user.password.is_none());
    let after = format!("{policies:?}");
    assert!(
        !after.contains(&verifier) && !after.contains("hunter2"),
        "{after}"
    );
    let stored = serde_json::to_string(&policies).unwrap();
    assert!(stored.contains(&verifier) && !stored.contains("hunter2"));
}

#[test]
fn e6_a_verifier_is_of_its_user_its_password_and_its_box() {
    let of = |name: &str, password: &str, key: &[u8]| {
        let text =
            format!("basic_auth.users = [{{ name = \"{name}\", password = \"{password}\" }}]");
        let mut policies = read(&text).unwrap();
        policies.take_in(&VerifierKey::new(key));
        policies.mark()
    };
    let one = of("ana", "secret", b"1");
    assert_eq!(one, of("ana", "secret", b"1"));
    assert_ne!(one, of("ben", "secret", b"1"));
    assert_ne!(one, of("ana", "secreT", b"1"));
    assert_ne!(one, of("ana", "secret", b"2"));
}

#[test]
fn e6_a_mistake_in_a_policy_names_the_key_and_the_remedy() {
    for (text, part) in [
        ("hsts = 1", "true, false or a table"),
        ("hsts = { max_age = 1 }", "max_age_days"),
        ("hsts = { preload = true }", "include_subdomains = true"),
        ("hst = true", "unknown field `hst`"),
        (
            "redirects = [{ to = \"//evil.test\" }]",
            "https://example.com/new",
        ),
        (
            "redirects = [{ to = \"javascript:alert(1)\" }]",
            "is not a place",
        ),
        (
            "redirects = [{ to = \"https://a@b.test\" }]",
            "is not a place",
        ),
        (
            "redirects = [{ to = \"https://a.test/\\r\\nx: y\" }]",
            "is not a place",
        ),
        ("redirects = [{ to = \"https:///a\" }]", "is not a place"),
        (
            "redirects = [{ path = \"/b\", to = \"/a?b\" }]",
            "keep = false",
        ),
        ("redirects = [{ to = \"/a\" }]", "sent on for ever"),
        (
            "redirects = [{ path = \"/a/\", to = \"/a/b\" }]",
            "sent on for ever",
        ),
        (
            "redirects = [{ path = \"/b\", to = \"/a\", status = 200 }]",
            "307 or 308",
        ),
        (
            "redirects = [{ to = \"/a\", path = \"a\" }]",
            "write it like \"/old\"",
        ),
        ("redirects = [{ to = \"/a\", host = \"a b\" }]", "host name"),
        (
            "request_headers.set = { \"x-a\" = \"b\\r\\nx-c: d\" }",
            "one line",
        ),
        (
            "request_headers.set = { \"x-a\" = \"b\\u0000\" }",
            "one line",
        ),
        ("answer_headers.add = { \"x-a\" = \"\\n\" }", "one line"),
        (
            "answer_headers.set = { \"x a\" = \"b\" }",
            "name of a header",
        ),
        (
            "answer_headers.set = { \"x-a\\r\\nb\" = \"c\" }",
            "name of a header",
        ),
        (
            "answer_headers.set = { \"Content-Length\" = \"0\" }",
            "remove this rule",
        ),
        (
            "answer_headers.remove = [\"transfer_encoding\"]",
            "remove this rule",
        ),
        (
            "request_headers.set = { \"Host\" = \"a\" }",
            "remove this rule",
        ),
        (
            "request_headers.remove = [\"X_Forwarded_For\"]",
            "remove this rule",
        ),
        (
            "request_headers.add = { connection = \"close\" }",
            "remove this rule",
        ),
        ("basic_auth = { users = [] }", "users takes 1 to 64"),
        ("basic_auth.users = [{ name = \"ana\" }]", "add password"),
        (
            "basic_auth.users = [{ name = \"a:b\", password = \"c\" }]",
            "without a colon",
        ),
        (
            "basic_auth.users = [{ name = \"a\", verifier = \"12\" }]",
            "64 hex digits",
        ),
        (
            "basic_auth.users = [{ name = \"a\", password = \"b\" }, { name = \"a\", password = \"c\" }]",
            "twice",
        ),
        (
            "basic_auth = { realm = 'a\"b', users = [{ name = \"a\", password = \"b\" }] }",
            "realm",
        ),
        ("allow = [\"0.0.0.0/0\"]", "is everybody"),
        ("deny = [\"here\"]", "write it like"),
        ("rate_limit = { requests = 0 }", "1 to 10,000 a second"),
        (
            "rate_limit = { requests = 20000, per = \"second\" }",
            "1 to 10,000 a second",
        ),
        ("rate_limit = { requests = 1, per = \"week\" }", "`minute`"),
        (
            "rate_limit = { requests = 1, header = \"a b\" }",
            "x-api-key",
        ),
        ("body_limit = 0", "write it like \"10MB\""),
        ("body_limit = \"much\"", "not a size"),
        ("compress = { codings = [] }", "one at least"),
        ("compress = { types = [\"html\"] }", "text/html"),
        ("error_pages = { \"200\" = \"x\" }", "\"5xx\""),
        ("error_pages = { \"404\" = \"\" }", "64 KB"),
    ] {
        let why = read(text).expect_err(text);
        assert!(why.contains(part), "{text}: {why}");
    }
}

#[test]
fn e6_every_list_and_text_of_a_policy_has_an_end() {
    let long = "a".repeat(70_000);
    let many = |count: usize, one: &str| vec![one; count].join(", ");
    for text in [
        format!("redirects = [{}]", many(101, "{ to = \"/a\" }")),
        format!("redirects = [{{ to = \"/{long}\" }}]"),
        format!("answer_headers.remove = [{}]", many(65, "\"x\"")),
        format!("answer_headers.set = {{ \"x\" = \"{long}\" }}"),
        format!("answer_headers.remove = [\"{long}\"]"),
        format!("allow = [{}]", many(1001, "\"10.0.0.1\"")),
        format!("deny = [{}]", many(1001, "\"10.0.0.1\"")),
        format!("basic_auth.users = [{{ name = \"{long}\", password = \"b\" }}]"),
        format!("basic_auth.users = [{{ name = \"b\", password = \"{long}\" }}]"),
        format!(
            "basic_auth = {{ realm = \"{long}\", users = [{{ name = \"a\", password = \"b\" }}] }}"
        ),
        format!("rate_limit = {{ requests = 1, header = \"{long}\" }}"),
        format!("compress = {{ types = [{}] }}", many(65, "\"text/html\"")),
        format!("compress = {{ types = [\"text/{long}\"] }}"),
        format!("error_pages = {{ \"404\" = \"{long}\" }}"),
    ] {
        let why = read(&text).expect_err(&text[..40]);
        assert!(why.len() < 400, "{why}");
    }
}
