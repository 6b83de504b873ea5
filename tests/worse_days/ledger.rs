//! What was asked of a box and what it acknowledged: all of that must be there afterwards, and nothing of what it refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::quiet_box::QuietBox;
use crate::support::freehold::words;

/// The app whose changes are made.
pub const APP: &str = "shop";

/// A change of one of many kinds; `n` makes it different from all before.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    Env,
    Unset,
    Domain,
    Policy,
    App,
    Token,
    User,
    Check,
    Maintenance,
    Source,
}

impl Verb {
    pub const ALL: [Self; 10] = [
        Self::Env,
        Self::Unset,
        Self::Domain,
        Self::Policy,
        Self::App,
        Self::Token,
        Self::User,
        Self::Check,
        Self::Maintenance,
        Self::Source,
    ];
}

/// By kind and name, what each thing is.
pub type Things = BTreeMap<String, String>;

#[derive(Default)]
pub struct Ledger {
    /// What must be there.
    things: Things,
    /// Acknowledged, refused.
    pub counts: (usize, usize),
    /// The sentences of refusals.
    pub said: BTreeSet<String>,
}

impl Ledger {
    /// Makes the app that the rest is about.
    pub fn begin(on: &QuietBox) -> Self {
        on.cli(&["app", "create", APP]);
        on.cli(&["domain", "add", APP, "shop.localhost"]);
        Self::of(on)
    }

    /// All that a box has is what it acknowledged.
    pub fn of(on: &QuietBox) -> Self {
        Self {
            things: seen(on, true),
            ..Self::default()
        }
    }

    /// Asks for one change and notes how that ended. Panics when something else than a refusal came of it.
    pub fn ask(&mut self, on: &QuietBox, verb: Verb, n: usize) -> bool {
        let (key, value, args) = self.change(verb, n);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let out = on.try_cli(&args);
        let said = words(&out);
        match out.status.code() {
            // What is made although the deploy for it could not be queued says so.
            Some(code) if code == 0 || said.contains("the change is made") => {
                self.counts.0 += 1;
                match value {
                    Some(value) => self.things.insert(key, value),
                    None => self.things.remove(&key),
                };
                true
            }
            Some(_) => {
                self.counts.1 += 1;
                self.said
                    .insert(said.lines().next().unwrap_or_default().to_owned());
                false
            }
            None => panic!("{args:?} was killed: {said}"),
        }
    }

    fn change(&self, verb: Verb, n: usize) -> (String, Option<String>, Vec<String>) {
        let text = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        let some = |value: &str| Some(value.to_owned());
        match verb {
            Verb::Env => {
                let (name, value) = (
                    format!("NAME_{}", n % 40),
                    format!("{n}-{}", "x".repeat(n % 900)),
                );
                let args = text(&["env", APP, "set", &format!("{name}={value}")]);
                (format!("env {name}"), Some(value), args)
            }
            Verb::Unset => {
                let name = format!("NAME_{}", n % 40);
                let there = self.things.contains_key(&format!("env {name}"));
                if !there {
                    return self.change(Verb::Env, n);
                }
                let args = text(&["env", APP, "unset", &name, "--yes"]);
                (format!("env {name}"), None, args)
            }
            Verb::Domain => {
                let host = format!("n{n}.localhost");
                let args = text(&["domain", "add", APP, &host]);
                (format!("domain {host}"), some("there"), args)
            }
            Verb::Policy => {
                let rate = format!("{}/minute", 100 + n);
                let args = text(&["domain", "set", APP, "shop.localhost", "--rate", &rate]);
                ("policy".into(), Some((100 + n).to_string()), args)
            }
            Verb::App => {
                let name = format!("app-{n}");
                let args = text(&["app", "create", &name]);
                (format!("app {name}"), some("there"), args)
            }
            Verb::Token => {
                let name = format!("token-{n}");
                let args = text(&["token", "add", &name, "--verb", "read"]);
                (format!("token {name}"), some("there"), args)
            }
            Verb::User => {
                let name = format!("u{n}@example.com");
                let args = text(&["user", "add", &name, "--role", "viewer"]);
                (format!("user {name}"), some("there"), args)
            }
            Verb::Check => {
                let name = format!("check-{n}");
                let url = format!("https://127.0.0.1:1/{n}");
                let args = text(&["check", "add", &name, &url]);
                (format!("check {name}"), some("there"), args)
            }
            Verb::Maintenance => {
                let to = if n.is_multiple_of(2) { "on" } else { "off" };
                let args = text(&["maintenance", APP, to]);
                ("maintenance".into(), Some((to == "on").to_string()), args)
            }
            Verb::Source => {
                let branch = format!("b{n}");
                let url = "https://git.example.com/shop.git";
                let args = text(&["app", "set", APP, "--git", url, "--branch", &branch]);
                ("branch".into(), Some(branch), args)
            }
        }
    }

    /// What is not as acknowledged, in sentences.
    pub fn wrong(&self, on: &QuietBox) -> Vec<String> {
        self.differs(&seen(on, true))
    }

    /// The same without the values of variables: that those are shown is audited, for which a full disk has no room.
    pub fn wrong_but_values(&self, on: &QuietBox) -> Vec<String> {
        let mut seen = seen(on, false);
        for (key, value) in seen.iter_mut().filter(|(key, _)| key.starts_with("env ")) {
            *value = self.things.get(key).cloned().unwrap_or_default();
        }
        self.differs(&seen)
    }

    fn differs(&self, seen: &Things) -> Vec<String> {
        let lost = self.things.iter().filter_map(|(key, value)| {
            let found = seen.get(key);
            (found != Some(value)).then(|| format!("{key} should be {value:?} and is {found:?}"))
        });
        let extra = seen
            .iter()
            .filter(|(key, _)| !self.things.contains_key(*key));
        let extra = extra.map(|(key, value)| format!("{key} is {value:?} and was refused"));
        lost.chain(extra).collect()
    }
}

/// All that the verbs above can change, as the box tells it.
fn seen(on: &QuietBox, values: bool) -> Things {
    let mut things = Things::new();
    let app = on.json(&["app", "show", APP]);
    things.insert("maintenance".into(), app["maintenance"].to_string());
    let branch = app["git_branch"].as_str().unwrap_or_default();
    things.insert("branch".into(), branch.to_owned());
    let args = &["env", APP, "--values"];
    for line in on.cli(&args[..2 + usize::from(values)]).lines() {
        let (name, value) = match values {
            true => line.split_once('=').unwrap_or_default(),
            // With when it was set.
            false => (line.split(' ').next().unwrap_or_default(), ""),
        };
        if name.starts_with("NAME_") {
            things.insert(format!("env {name}"), value.to_owned());
        }
    }
    let policy = on.json(&["domain", "show", APP, "shop.localhost"]);
    let rate = &policy["policies"]["rate_limit"]["requests"];
    if !rate.is_null() {
        things.insert("policy".into(), rate.to_string());
    }
    for (kind, list, name) in [
        ("app", &["app", "list"][..], "name"),
        ("domain", &["domain", "list", APP], "domain"),
        ("token", &["token", "list"], "name"),
        ("user", &["user", "list"], "name"),
        ("check", &["check", "list"], "name"),
    ] {
        for one in on.json(list).as_array().unwrap() {
            let name = one[name].as_str().unwrap_or_default();
            things.insert(format!("{kind} {name}"), "there".into());
        }
    }
    things
}
