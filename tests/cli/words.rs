//! What `docs/cli.md` says in words of `--json`, held against what is printed, for the verbs that need no engine.

use std::collections::BTreeSet;

use serde_json::Value;

use super::page::AS_WORDS;
use super::quiet::Daemon;
use super::typed::freehold;

/// The verb, and how it is typed; `<dir>` is an empty folder.
const HELD: &[(&str, &[&str])] = &[
    ("jobs", &["jobs"]),
    ("events", &["events"]),
    ("audit", &["audit"]),
    ("target rm", &["target", "rm", "usb", "--yes"]),
    ("completions", &["completions", "bash"]),
];

/// The fields that the words name: what stands in backticks, but for what is said of their values.
fn named(words: &str) -> BTreeSet<String> {
    let mut depth = 0;
    let outside = words.chars().filter(|c| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    });
    let outside: String = outside.collect();
    let odd = outside.split('`').skip(1).step_by(2);
    odd.map(str::to_owned).collect()
}

#[test]
fn a7_what_json_prints_is_as_the_words_say() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    let dir = daemon.data().parent().unwrap().join("usb");
    std::fs::create_dir(&dir).unwrap();
    let place = format!("dir://{}", dir.display());
    for made in [
        &["target", "add", "usb", &place][..],
        &["db", "create", "main", "--no-wait"],
    ] {
        let said = freehold(&socket, made);
        assert_eq!(said.code, 0, "{}", said.all());
    }
    for (verb, typed) in HELD {
        let said = freehold(&socket, &[typed, &["--json"][..]].concat());
        assert_eq!(said.code, 0, "{verb}: {}", said.all());
        let json: Value = serde_json::from_str(&said.out).unwrap();
        let one = match &json {
            Value::Array(all) => all
                .first()
                .unwrap_or_else(|| panic!("{verb} lists nothing")),
            one => one,
        };
        let told: BTreeSet<String> = one.as_object().unwrap().keys().cloned().collect();
        let (_, words) = AS_WORDS.iter().find(|(v, _)| v == verb).unwrap();
        assert_eq!(told, named(words), "{verb}");
    }
}
