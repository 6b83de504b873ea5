//! What is told of policies, which of two hold, and how they are written in a few characters.

use super::*;
use crate::base::units;

fn read(text: &str) -> Policies {
    toml::from_str(text).unwrap()
}

#[test]
fn e6_a_domains_own_policies_go_before_the_app_files_key_by_key() {
    let file = read(
        "hsts = true\nallow = [\"10.0.0.0/8\"]\nrate_limit = { requests = 5 }\nstrip_prefix = true\n\
         error_pages = { \"404\" = \"file\" }\nanswer_headers.set = { x-a = \"1\" }",
    );
    let own = read(
        "hsts = false\nrate_limit = { requests = 9 }\nstrip_prefix = false\nbody_limit = 7\nsticky = true\n\
         error_pages = { \"503\" = \"own\" }",
    );
    let both = own.over(&file);
    assert_eq!(both.hsts, Some(Toggle::Plain(false)));
    assert_eq!(both.rate_limit, own.rate_limit);
    assert_eq!(both.strip_prefix, Some(false));
    assert_eq!(
        (&both.allow, both.body_limit),
        (&file.allow, own.body_limit)
    );
    assert_eq!(both.error_pages, own.error_pages);
    assert_eq!(both.answer_headers, file.answer_headers);
    assert_eq!(Policies::default().over(&file), file);
    assert_eq!(own.over(&Policies::default()), own);
    // A key that is forgotten here would be lost: each one survives both ways.
    let all = read(
        "redirects = [{ to = \"https://a.test\" }]\nstrip_prefix = true\nhsts = true\nallow = [\"10.0.0.1\"]\n\
         deny = [\"10.0.0.2\"]\nbody_limit = 1\ncompress = true\nsticky = true\naccess_log = \"off\"\nrate_limit = { requests = 1 }\n\
         basic_auth.users = [{ name = \"ana\", password = \"x\" }]\nrequest_headers.remove = [\"x-a\"]\n\
         answer_headers.remove = [\"x-a\"]\nerror_pages = { \"404\" = \"x\" }\n\
         static = \"docs\"\nsingle_page = true",
    );
    assert_eq!(all.over(&Policies::default()), all);
    assert_eq!(Policies::default().over(&all), all);
}

#[test]
fn e6_what_is_told_has_no_password_and_no_verifier() {
    let mut policies = read(
        "basic_auth = { realm = \"Staff\", users = [{ name = \"ana\", password = \"hunter2\" }] }",
    );
    policies.take_in(&VerifierKey::new(b"key"));
    let told = serde_json::to_string(&policies.told()).unwrap();
    assert_eq!(
        told,
        r#"{"basic_auth":{"realm":"Staff","users":[{"name":"ana"}]}}"#
    );
    let mark = policies.passwords_mark().unwrap();
    let mut other = read(
        "basic_auth = { realm = \"Staff\", users = [{ name = \"ana\", password = \"hunter3\" }] }",
    );
    other.take_in(&VerifierKey::new(b"key"));
    assert_ne!(Some(mark), other.passwords_mark());
    assert_eq!(Policies::default().passwords_mark(), None);
    assert_eq!(policies.words(), ["A password is asked for: ana."]);
}

#[test]
fn e6_policies_are_told_in_words() {
    let policies = read(
        "redirects = [{ to = \"https://a.test\" }, { host = \"www.a.test\", path = \"/old\", to = \"/new\", status = 302 }]\n\
         strip_prefix = true\nhsts = { max_age_days = 30, include_subdomains = true }\nallow = [\"10.0.0.0/8\"]\n\
         deny = [\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\", \"10.0.0.4\", \"10.0.0.5\", \"10.0.0.6\", \"10.0.0.7\"]\n\
         body_limit = \"10MB\"\ncompress = true\nsticky = true\naccess_log = 0.1\nrate_limit = { requests = 100, header = \"x-api-key\" }\n\
         answer_headers = { set = { x-a = \"1\" }, remove = [\"server\"] }\nerror_pages = { \"5xx\" = \"x\" }\n\
         static = \"docs/en\"\nsingle_page = true",
    );
    assert_eq!(
        policies.words(),
        [
            "Everybody is sent to https://a.test (308).",
            "www.a.test/old is sent to /new (302).",
            "The path is taken off before a request goes to the app.",
            "Answers: x-a set; server removed.",
            "Browsers come by https only, for 30 days, also for the names below.",
            "Only 10.0.0.0/8 are served.",
            "Not served: 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5 and 2 more.",
            "100 requests a minute, by x-api-key.",
            "Bodies up to 10MB.",
            "Answers are compressed: zstd, br, gzip.",
            "A browser stays with the replica that answered it first.",
            "A part of 0.1 of the requests stands in the access log.",
            "Own error pages: 5xx.",
            "Only the folder docs/en of the release's folder is served.",
            "Who goes to a path that is no file gets index.html.",
        ]
    );
    assert_eq!(
        read("static = \".\"\nsingle_page = false").words(),
        [
            "All of the release's folder is served.",
            "A path that is no file is not found."
        ]
    );
    assert!(Policies::default().words().is_empty());
}

#[test]
fn e6_common_policies_are_written_in_a_few_characters() {
    for (text, short) in [
        ("100/1m", "100/minute"),
        ("5 / second", "5/second"),
        ("9/h", "9/hour"),
        ("1/day", "1/day"),
    ] {
        assert_eq!(RateLimit::short(text).unwrap().to_string(), short);
    }
    for text in ["100", "a/m", "1/week", "-1/m", ""] {
        let why = RateLimit::short(text).unwrap_err();
        assert!(why.contains("100/minute"), "{why}");
    }
    let all = Redirect::short("https://a.test");
    assert_eq!((all.path.as_str(), all.keep), ("/", true));
    assert_eq!(all.is_short(), Some("https://a.test"));
    let some = Redirect::short("/old=https://a.test/?a=b");
    assert_eq!((some.path.as_str(), some.keep), ("/old", false));
    assert_eq!(some.to, "https://a.test/?a=b");
    assert_eq!(some.is_short(), None);
    assert_eq!(Hsts::short("off").unwrap(), Toggle::Plain(false));
    let long = Hsts::short("730,subdomains,preload").unwrap();
    let long = long.details().unwrap();
    assert!(long.include_subdomains && long.preload && long.max_age_days == 730);
    assert!(Hsts::short("ever").unwrap_err().contains("365,subdomains"));
    let mut rules = HeaderRules::default();
    rules.take_in("set X-Env:  staging").unwrap();
    rules.take_in("remove server").unwrap();
    rules.take_in("add link: <a:b>").unwrap();
    assert_eq!(rules.set["X-Env"], "staging");
    assert_eq!(rules.add["link"], "<a:b>");
    assert_eq!(rules.remove, ["server"]);
    for text in ["", "set", "set x", "give x: y"] {
        assert!(rules.take_in(text).unwrap_err().contains("x-env"), "{text}");
    }
    for (bytes, text) in [
        (10 << 20, "10MB"),
        (1 << 30, "1GB"),
        (1_000, "1000"),
        (3 << 10, "3KB"),
    ] {
        assert_eq!(Size(bytes).to_string(), text);
        assert_eq!(units::size(text), Ok(bytes));
    }
}
