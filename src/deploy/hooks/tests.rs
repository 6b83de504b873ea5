//! The hosts' own shapes, and what must not pass.

use super::*;
use crate::base::secret::hmac_sha256;
use proptest::prelude::*;
use std::collections::BTreeMap;

const COMMIT: &str = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7";

fn secret() -> Secret {
    Secret::new("It's a Secret to Everybody")
}

fn github(event: &str, body: &str) -> BTreeMap<&'static str, String> {
    let mac = hex::encode(hmac_sha256(secret().expose().as_bytes(), body.as_bytes()));
    BTreeMap::from([
        ("x-github-event", event.to_owned()),
        (
            "x-github-delivery",
            "72d3162e-cc78-11e3-81ab-4c9367dc0958".into(),
        ),
        ("x-hub-signature-256", format!("sha256={mac}")),
        ("content-type", "application/json".into()),
    ])
}

fn ask(headers: &BTreeMap<&'static str, String>, body: &str) -> Judged {
    judge(
        &|name| headers.get(name).cloned(),
        body.as_bytes(),
        &secret(),
        "main",
    )
}

fn push(reference: &str, after: &str) -> String {
    format!(
        r#"{{"ref":"{reference}","before":"0000000000000000000000000000000000000000","after":"{after}","deleted":false,
        "repository":{{"clone_url":"https://evil.test/x.git","full_name":"a/b"}},
        "pusher":{{"name":"ada","email":"ada@x.test"}},
        "head_commit":{{"id":"{after}","message":"Fix login\n\nLong text"}},"commits":[]}}"#
    )
}

#[test]
fn f4_githubs_own_example_signature_is_right() {
    let headers = BTreeMap::from([
        ("x-github-event", "push".to_owned()),
        (
            "x-hub-signature-256",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17".into(),
        ),
    ]);
    let judged = ask(&headers, "Hello, World!");
    assert!(
        matches!(judged.verdict, Verdict::Invalid(_)),
        "signed, but no push: {judged:?}"
    );
}

#[test]
fn f4_a_push_to_the_branch_deploys_exactly_its_commit() {
    let body = push("refs/heads/main", COMMIT);
    let judged = ask(&github("push", &body), &body);
    let Verdict::Deploy(push) = judged.verdict else {
        panic!("{judged:?}");
    };
    assert_eq!(push.commit.as_str(), COMMIT);
    assert_eq!(push.title.as_deref(), Some("Fix login"));
    assert_eq!(push.by.as_deref(), Some("ada"));
    assert_eq!(
        judged.delivery.as_deref(),
        Some("72d3162e-cc78-11e3-81ab-4c9367dc0958")
    );
}

#[test]
fn f4_wrong_signature_is_401_whatever_the_body_says() {
    let body = push("refs/heads/main", COMMIT);
    let mut cases = Vec::new();
    let mut unsigned = github("push", &body);
    unsigned.remove("x-hub-signature-256");
    cases.push(unsigned);
    for wrong in ["sha256=00", "sha256=zz", "", "sha1=aa"] {
        let mut headers = github("push", &body);
        headers.insert("x-hub-signature-256", wrong.into());
        cases.push(headers);
    }
    cases.push(github("push", "another body"));
    cases.push(BTreeMap::from([("x-gitlab-event", "Push Hook".to_owned())]));
    cases.push(BTreeMap::from([
        ("x-gitlab-event", "Push Hook".to_owned()),
        ("x-gitlab-token", "guess".into()),
    ]));
    for headers in cases {
        let judged = ask(&headers, &body);
        assert!(
            matches!(judged.verdict, Verdict::Unsigned(_)),
            "{headers:?}: {judged:?}"
        );
    }
}

#[test]
fn f4_other_branches_tags_deletions_and_events_are_ignored_with_a_reason() {
    for (event, body, part) in [
        (
            "push",
            push("refs/heads/dev", COMMIT),
            "the app follows \"main\"",
        ),
        ("push", push("refs/tags/main", COMMIT), "refs/tags/main"),
        (
            "push",
            push("refs/heads/main", &"0".repeat(40)),
            "was deleted",
        ),
        ("issues", "{}".into(), "not a push"),
    ] {
        let judged = ask(&github(event, &body), &body);
        let Verdict::Ignored(why) = judged.verdict else {
            panic!("{judged:?}");
        };
        assert!(why.contains(part), "{why}");
    }
    let ping = ask(&github("ping", "{\"zen\":\"x\"}"), "{\"zen\":\"x\"}");
    assert_eq!(ping.verdict, Verdict::Pong);
    let bad = ask(&github("push", "{"), "{");
    assert!(matches!(bad.verdict, Verdict::Invalid(_)));
    let evil = push("refs/heads/main", "--upload-pack=x");
    assert!(matches!(
        ask(&github("push", &evil), &evil).verdict,
        Verdict::Invalid(_)
    ));
    assert!(matches!(
        ask(&BTreeMap::new(), "{}").verdict,
        Verdict::Invalid(_)
    ));
}

#[test]
fn f4_a_form_encoded_github_event_is_understood() {
    let json = push("refs/heads/main", COMMIT);
    let form: String =
        percent_encoding::utf8_percent_encode(&json, percent_encoding::NON_ALPHANUMERIC)
            .to_string()
            .replace("%20", "+");
    let body = format!("payload={form}");
    let mut headers = github("push", &body);
    headers.insert("content-type", "application/x-www-form-urlencoded".into());
    assert!(matches!(ask(&headers, &body).verdict, Verdict::Deploy(_)));
}

#[test]
fn f4_gitlab_gitea_and_bitbucket_speak_too() {
    let gitlab = format!(
        r#"{{"object_kind":"push","ref":"refs/heads/main","after":"{COMMIT}","checkout_sha":"{COMMIT}","user_username":"jsmith",
        "commits":[{{"id":"b6568db1bc1dcd7f8b4d5a946b0b91f9dacd7327","message":"old"}},{{"id":"{COMMIT}","message":"fixed readme"}}]}}"#
    );
    let headers = BTreeMap::from([
        ("x-gitlab-event", "Push Hook".to_owned()),
        ("x-gitlab-token", secret().expose().to_owned()),
        ("x-gitlab-event-uuid", "13792a34".into()),
    ]);
    let judged = ask(&headers, &gitlab);
    let Verdict::Deploy(told) = judged.verdict else {
        panic!("{judged:?}");
    };
    assert_eq!(told.title.as_deref(), Some("fixed readme"));
    assert_eq!(told.by.as_deref(), Some("jsmith"));
    assert_eq!(
        (judged.host, judged.delivery.as_deref()),
        ("gitlab", Some("13792a34"))
    );

    let gitea = push("refs/heads/main", COMMIT);
    let mac = hex::encode(hmac_sha256(secret().expose().as_bytes(), gitea.as_bytes()));
    let headers = BTreeMap::from([
        ("x-gitea-event", "push".to_owned()),
        ("x-github-event", "push".to_owned()),
        ("x-gitea-delivery", "f6266f16".into()),
        ("x-gitea-signature", mac.clone()),
    ]);
    let judged = ask(&headers, &gitea);
    assert!(matches!(judged.verdict, Verdict::Deploy(_)), "{judged:?}");
    assert_eq!(judged.host, "gitea");

    let bitbucket = format!(
        r#"{{"actor":{{"display_name":"Emma"}},"push":{{"changes":[{{"old":{{"type":"branch","name":"main"}},
        "new":{{"type":"branch","name":"main","target":{{"hash":"{COMMIT}","message":"new commit\n"}}}}}}]}}}}"#
    );
    let sign = |body: &str| {
        let mac = hex::encode(hmac_sha256(secret().expose().as_bytes(), body.as_bytes()));
        BTreeMap::from([
            ("x-event-key", "repo:push".to_owned()),
            ("x-request-uuid", "b2".into()),
            ("x-hub-signature", format!("sha256={mac}")),
        ])
    };
    let Verdict::Deploy(told) = ask(&sign(&bitbucket), &bitbucket).verdict else {
        panic!("bitbucket");
    };
    assert_eq!(told.by.as_deref(), Some("Emma"));
    let gone = r#"{"push":{"changes":[{"old":{"type":"branch","name":"main"},"new":null}]}}"#;
    assert!(matches!(
        ask(&sign(gone), gone).verdict,
        Verdict::Ignored(_)
    ));
    let other = r#"{"push":{"changes":[{"new":{"type":"branch","name":"dev"}}]}}"#;
    assert!(matches!(
        ask(&sign(other), other).verdict,
        Verdict::Ignored(_)
    ));
}

proptest! {
    #[test]
    fn f4_no_signed_body_panics(body in "\\PC*|[\\[\\]{}\":a-z0-9,]*", event in "push|ping|\\PC*") {
        let judged = ask(&github(&event, &body), &body);
        let unsigned = matches!(judged.verdict, Verdict::Unsigned(_));
        prop_assert!(!unsigned);
    }
}
