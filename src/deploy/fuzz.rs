//! Fuzz targets of what a deploy is given: `freehold.toml`, an uploaded tree, its Dockerfile, an image's name, a git host's
//! event.

use std::path::PathBuf;

use crate::base::policies::VerifierKey;
use crate::base::secret::{Secret, hmac_sha256};

use super::app_file::AppFile;
use super::context;
use super::hooks::{Verdict, judge};
use super::image_name::{Own, goes_by, short};

/// What was understood is stored and read back the same; a mistake names a line of the text and says why.
pub fn app_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match AppFile::parse(text) {
        Ok(mut file) => {
            // As a deploy does: a password is never stored.
            file.take_in(&VerifierKey::default());
            let stored = serde_json::to_value(&file).map(serde_json::from_value::<AppFile>);
            assert_eq!(stored.ok().and_then(Result::ok), Some(file));
        }
        Err(mistake) => {
            let lines = text.split('\n').count();
            assert!((1..=lines).contains(&mistake.line), "{mistake}");
            assert!(!mistake.why.is_empty());
        }
    }
}

/// A tree that passes the look can be trimmed, and what is left passes again.
pub fn upload(data: &[u8]) {
    let file = |name: &str| -> PathBuf {
        std::env::temp_dir().join(format!("freehold-fuzz-{}-{name}", std::process::id()))
    };
    let (tar, trimmed) = (file("in.tar"), file("out.tar"));
    if let Err(error) = std::fs::write(&tar, data) {
        panic!("{}: {error}", tar.display());
    }
    let Ok(tree) = context::look(&tar) else {
        return;
    };
    let dockerfile = tree
        .settings(None)
        .map_or_else(|_| "Dockerfile".to_owned(), |file| file.dockerfile);
    if tree.trim(&dockerfile, &tar, &trimmed) == Ok(true)
        && let Err(why) = context::look(&trimmed)
    {
        assert!(why.contains("empty"), "the trimmed tree: {why}");
    }
}

/// The first byte chooses the host and the content type. A body signed with the app's secret is judged by what it says; the
/// same body signed with another never passes.
pub fn webhook(data: &[u8]) {
    const HOSTS: [(&str, &str, &str); 4] = [
        ("x-github-event", "push", "x-hub-signature-256"),
        ("x-gitlab-event", "Push Hook", "x-gitlab-token"),
        ("x-gitea-event", "push", "x-gitea-signature"),
        ("x-event-key", "repo:push", "x-hub-signature"),
    ];
    let [choice, body @ ..] = data else { return };
    let (event_header, event, signature_header) = HOSTS[usize::from(choice & 3)];
    let kind = match choice & 4 {
        0 => "application/json",
        _ => "application/x-www-form-urlencoded",
    };
    let secret = Secret::new("a secret of the app");
    let judged = |key: &str| {
        let signature = match signature_header {
            "x-gitlab-token" => key.to_owned(),
            _ => format!("sha256={}", hex::encode(hmac_sha256(key.as_bytes(), body))),
        };
        let header = |name: &str| match name {
            name if name == event_header => Some(event.to_owned()),
            name if name == signature_header => Some(signature.clone()),
            "content-type" => Some(kind.to_owned()),
            _ => None,
        };
        judge(&header, body, &secret, "main").verdict
    };
    assert!(!matches!(judged(secret.expose()), Verdict::Unsigned(_)));
    assert!(matches!(judged("another"), Verdict::Unsigned(_)));
}

fn shop() -> Own {
    Own {
        prefix: "fh-abcdef".into(),
        app: "shop".into(),
    }
}

/// Whatever stands in a Dockerfile: it is read, and a line more that takes of another app is refused.
pub fn dockerfile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let own = shop();
    match own.allows_dockerfile(text) {
        Ok(()) => {
            let bad = format!("{text}\nCOPY --from=fh-abcdef/blog:d3 /a /b\n");
            assert!(own.allows_dockerfile(&bad).is_err());
            // Text that stands there plainly is no other app's.
            let foreign = text
                .to_ascii_lowercase()
                .contains("from fh-abcdef/blog:d3 ");
            assert!(!foreign || text.contains('#'), "{text}");
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

/// A reference that may be deployed can be pulled, is no option and no other app's; and it goes by its own name.
pub fn image_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match shop().allows(text) {
        Ok(()) => {
            assert!(text.bytes().all(|b| b.is_ascii_graphic()) && !text.starts_with('-'));
            let name = short(text);
            let own = name.strip_prefix("fh-abcdef/");
            let app = own.and_then(|rest| rest.split([':', '@']).next());
            assert!(app.is_none_or(|app| app == "shop"), "{text}");
            assert!(goes_by(&[text.to_owned()], text));
        }
        Err(why) => assert!(!why.is_empty()),
    }
}
