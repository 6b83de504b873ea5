//! `freehold domain set` and `show`: what a domain asks of requests and does to answers.
//!
//! An option sets its key anew; users, header rules and error pages are put beside those that are there. What no option
//! names stays. What was set is read first and written back only if it is still so.

use std::io::Read as _;

use clap::Args;
use serde_json::{Map, Value, json};

use super::Global;
use super::app::path;
use super::client::{Client, segment};
use super::output::{self, Fail};
use super::typed;
use crate::base::policies::{HeaderRules, Hsts, RateLimit, Redirect};
use crate::base::secret::Secret;
use crate::wire::policies::{DomainPolicies, OwnPolicies};
use crate::wire::problem::ProblemKind;

/// What can be reset.
const KEYS: &[&str] = &[
    "all",
    "redirects",
    "strip_prefix",
    "request_headers",
    "answer_headers",
    "hsts",
    "basic_auth",
    "allow",
    "deny",
    "rate_limit",
    "body_limit",
    "compress",
    "sticky",
    "access_log",
    "error_pages",
    "static",
    "single_page",
];
/// Bytes of an error page that are read; the daemon takes fewer.
const PAGE: u64 = 1 << 20;
/// How often a change is tried that somebody else's came before.
const TRIES: u32 = 4;

/// The policies that `freehold domain set` sets.
#[derive(Debug, Default, Args)]
pub struct Options {
    /// Send everybody to an address, or what is below a path: /old=/new; again for more
    #[arg(long, value_name = "URL")]
    redirect: Vec<String>,
    /// Take the domain's path off before a request goes to the app
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    strip_prefix: Option<bool>,
    /// 'request set x-env: staging', 'answer add NAME: VALUE', 'answer remove server'; again for more
    #[arg(long, value_name = "RULE")]
    header: Vec<String>,
    /// on, off, or days and what else counts: 730,subdomains,preload
    #[arg(long, value_name = "DAYS")]
    hsts: Option<String>,
    /// Ask for this user's password, which is read from standard input, or asked for on a terminal
    #[arg(long, value_name = "USER")]
    basic_auth: Option<String>,
    /// What browsers show when they ask for the password
    #[arg(long, value_name = "TEXT")]
    realm: Option<String>,
    /// Serve these addresses only, such as 10.0.0.0/8; again for more
    #[arg(long, value_name = "CIDR")]
    allow: Vec<String>,
    /// Do not serve these addresses; again for more
    #[arg(long, value_name = "CIDR")]
    deny: Vec<String>,
    /// Requests that one client may send: 100/minute; also per second, hour and day
    #[arg(long, value_name = "N/TIME")]
    rate: Option<String>,
    /// Tell clients apart by a header instead of their address: header:x-api-key
    #[arg(long, value_name = "header:NAME", requires = "rate")]
    rate_by: Option<String>,
    /// The largest body of a request, such as 10MB
    #[arg(long, value_name = "SIZE")]
    body_limit: Option<String>,
    /// Compress answers for clients that take it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    compress: Option<bool>,
    /// A page of your own for an error, of HTML: 503=down.html, 5xx=down.html; again for more
    #[arg(long, value_name = "STATUS=FILE")]
    error_page: Vec<String>,
    /// Keep a browser at the replica that answered it first
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    sticky: Option<bool>,
    /// How many requests stand in the access log: off, all, or a part such as 0.1
    #[arg(long, value_name = "SHARE")]
    access_log: Option<String>,
    /// Of an app that is a folder of files: serve this folder of it only, such as docs/en; . is all of it
    #[arg(long = "static", value_name = "FOLDER")]
    files: Option<String>,
    /// Of such an app: answer who goes to a path that is no file with the folder's index.html
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    single_page: Option<bool>,
    /// Any of them as freehold.toml writes it: 'compress = { codings = ["gzip"] }'; sets its key anew; again for more
    #[arg(long, value_name = "KEY = VALUE")]
    policy: Vec<String>,
    /// Forget what is set for the domain, by key, before anything else: freehold.toml holds again
    #[arg(long, value_name = "KEY", value_parser = clap::builder::PossibleValuesParser::new(KEYS))]
    reset: Vec<String>,
}

impl Options {
    /// Redirects alone.
    pub fn redirects(redirect: Vec<String>) -> Self {
        Self {
            redirect,
            ..Self::default()
        }
    }
}

/// What is read beside the options.
#[derive(Default)]
struct Beside {
    password: Option<Secret>,
    /// Status and page.
    pages: Vec<(String, String)>,
}

impl Beside {
    fn read(options: &Options) -> Result<Self, Fail> {
        let mut pages = Vec::new();
        for given in &options.error_page {
            let (status, file) = given.split_once('=').ok_or_else(|| {
                Fail::usage(format!(
                    "\"{given}\" is not an error page: write it like 503=down.html"
                ))
            })?;
            let mut text = String::new();
            std::fs::File::open(file)
                .and_then(|open| open.take(PAGE).read_to_string(&mut text))
                .map_err(|e| Fail::usage(format!("{file} cannot be read: {e}")))?;
            pages.push((status.to_owned(), text));
        }
        let password = match &options.basic_auth {
            Some(user) => Some(typed::password(user)?),
            None => None,
        };
        Ok(Self { password, pages })
    }
}

/// Sets what the options say.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn set(
    client: &Client,
    global: &Global,
    (name, domain): (&str, &str),
    options: &Options,
) -> Result<(), Fail> {
    let beside = Beside::read(options)?;
    let target = address(name, domain);
    let mut tries = 0;
    loop {
        let (seen, tag): (DomainPolicies, _) = client.seen(&target).await?;
        let wanted = changed(seen.policies.clone(), options, &beside).map_err(Fail::usage)?;
        if wanted == seen.policies && beside.password.is_none() {
            if options.is_nothing() {
                return Err(Fail::usage(
                    "nothing to change: `freehold domain set --help` shows what can be",
                ));
            }
            tell(global, &seen);
            return Ok(());
        }
        tries += 1;
        match client.put(&target, &tag, &OwnPolicies(wanted)).await {
            Err(Fail::Problem(problem))
                if problem.kind == ProblemKind::Changed && tries < TRIES => {}
            answer => {
                tell(global, &answer?);
                return Ok(());
            }
        }
    }
}

/// Shows what holds for a domain.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn show(client: &Client, global: &Global, name: &str, domain: &str) -> Result<(), Fail> {
    let all: DomainPolicies = client.get(&address(name, domain)).await?;
    tell(global, &all);
    Ok(())
}

fn address(name: &str, domain: &str) -> String {
    format!("{}/domains/{}/policies", path(name), segment(domain))
}

fn tell(global: &Global, all: &DomainPolicies) {
    output::either(global.json, all, || {
        output::line(&all.domain);
        if all.words.is_empty() {
            output::line("  Every request goes to the app as it is, and every answer back.");
        }
        for sentence in &all.words {
            output::line(format!("  {sentence}"));
        }
        let keys = |of: &Map<String, Value>| of.keys().cloned().collect::<Vec<_>>().join(", ");
        if !all.policies.is_empty() {
            output::line(format!("Set for the domain: {}.", keys(&all.policies)));
        }
        if !all.app_file.is_empty() {
            output::line(format!("In freehold.toml: {}.", keys(&all.app_file)));
        }
    });
}

impl Options {
    fn is_nothing(&self) -> bool {
        let none = [
            self.strip_prefix.is_none(),
            self.compress.is_none(),
            self.sticky.is_none(),
            self.hsts.is_none(),
            self.basic_auth.is_none(),
            self.realm.is_none(),
            self.rate.is_none(),
            self.body_limit.is_none(),
            self.access_log.is_none(),
            self.files.is_none(),
            self.single_page.is_none(),
        ];
        let lists = [
            &self.redirect,
            &self.header,
            &self.allow,
            &self.deny,
            &self.error_page,
            &self.policy,
            &self.reset,
        ];
        none.iter().all(|none| *none) && lists.iter().all(|list| list.is_empty())
    }
}

/// A domain's own policies with what the options say.
///
/// # Errors
/// A sentence about the option that is not understood.
fn changed(
    mut all: Map<String, Value>,
    options: &Options,
    beside: &Beside,
) -> Result<Map<String, Value>, String> {
    for key in &options.reset {
        match key.as_str() {
            "all" => all.clear(),
            key => {
                all.remove(key);
            }
        }
    }
    for text in &options.policy {
        all.extend(written(text)?);
    }
    let mut set = |key: &str, value: Value| {
        all.insert(key.to_owned(), value);
    };
    if !options.redirect.is_empty() {
        let redirects = options.redirect.iter().map(|text| Redirect::short(text));
        set("redirects", json!(redirects.collect::<Vec<_>>()));
    }
    for (key, value) in [
        ("strip_prefix", options.strip_prefix),
        ("compress", options.compress),
        ("sticky", options.sticky),
        ("single_page", options.single_page),
    ] {
        if let Some(value) = value {
            set(key, value.into());
        }
    }
    for (key, ranges) in [("allow", &options.allow), ("deny", &options.deny)] {
        if !ranges.is_empty() {
            set(key, json!(ranges));
        }
    }
    if let Some(text) = &options.hsts {
        set("hsts", json!(Hsts::short(text)?));
    }
    for (key, text) in [
        ("body_limit", &options.body_limit),
        ("static", &options.files),
    ] {
        if let Some(text) = text {
            set(key, json!(text));
        }
    }
    if let Some(text) = &options.access_log {
        let share = match text.parse::<f64>() {
            Ok(part) => json!(part),
            Err(_) => json!(text),
        };
        set("access_log", share);
    }
    if let Some(text) = &options.rate {
        let mut rate = RateLimit::short(text)?;
        rate.header = match options.rate_by.as_deref() {
            None | Some("address") => None,
            Some(by) => Some(
                by.strip_prefix("header:")
                    .ok_or("--rate-by is address, or a header as in header:x-api-key")?
                    .to_owned(),
            ),
        };
        set("rate_limit", json!(rate));
    }
    for rule in &options.header {
        let (key, rule) = match rule.trim().split_once(' ') {
            Some(("request", rule)) => ("request_headers", rule),
            Some(("answer", rule)) => ("answer_headers", rule),
            _ => ("answer_headers", ""),
        };
        let there = all.get(key).cloned().unwrap_or_default();
        let mut rules: HeaderRules = serde_json::from_value(there).unwrap_or_default();
        rules.take_in(rule)?;
        all.insert(key.to_owned(), json!(rules));
    }
    for (status, page) in &beside.pages {
        put(&mut all, "error_pages", status, json!(page));
    }
    if let (Some(user), Some(password)) = (&options.basic_auth, &beside.password) {
        let known = all
            .get("basic_auth")
            .and_then(|auth| auth["users"].as_array());
        let mut users = known.cloned().unwrap_or_default();
        users.retain(|known| known["name"] != **user);
        users.push(json!({ "name": user, "password": password.expose() }));
        put(&mut all, "basic_auth", "users", users.into());
    }
    if let Some(realm) = &options.realm {
        if !all.contains_key("basic_auth") {
            return Err(
                "--realm is what a password is asked for with: add --basic-auth USER".into(),
            );
        }
        put(&mut all, "basic_auth", "realm", json!(realm));
    }
    Ok(all)
}

/// What a line of freehold.toml sets.
///
/// # Errors
/// A sentence about what is wrong with it.
fn written(text: &str) -> Result<Map<String, Value>, String> {
    let set: Map<String, Value> = toml::from_str(text).map_err(|error| {
        format!(
            "\"{text}\" is no policy ({}): write it like 'sticky = true'",
            error.message()
        )
    })?;
    match set.keys().find(|key| !KEYS[1..].contains(&key.as_str())) {
        Some(key) => Err(format!(
            "there is no policy \"{key}\": there are {}",
            KEYS[1..].join(", ")
        )),
        // What stands in a command is seen by everybody on the box.
        None if set.contains_key("basic_auth") => {
            Err("a password is never part of a command: use --basic-auth USER".into())
        }
        None => Ok(set),
    }
}

/// Puts something into the table under a key.
fn put(all: &mut Map<String, Value>, key: &str, name: &str, value: Value) {
    let mut table = match all.remove(key) {
        Some(Value::Object(table)) => table,
        _ => Map::new(),
    };
    table.insert(name.to_owned(), value);
    all.insert(key.to_owned(), Value::Object(table));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn e6_an_option_sets_its_key_and_what_is_not_named_stays() {
        let there = json!({
            "hsts": true, "allow": ["10.0.0.1"], "answer_headers": { "remove": ["server"] },
            "basic_auth": { "realm": "Staff", "users": [{ "name": "ana" }, { "name": "bob" }] },
            "error_pages": { "404": "x" }
        });
        let text = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let options = Options {
            redirect: text(&["/old=https://a.test"]),
            header: text(&["answer set x-a: 1", "request remove cookie"]),
            basic_auth: Some("ana".into()),
            realm: Some("Team".into()),
            allow: text(&["10.0.0.0/8"]),
            rate: Some("5/s".into()),
            rate_by: Some("header:x-key".into()),
            compress: Some(false),
            access_log: Some("0.5".into()),
            files: Some("docs".into()),
            single_page: Some(false),
            policy: text(&[
                "hsts = { max_age_days = 30 }",
                "compress = { codings = [\"gzip\"] }\nsticky = true",
            ]),
            reset: text(&["hsts"]),
            ..Options::default()
        };
        let beside = Beside {
            password: Some(Secret::new("hunter2")),
            pages: vec![("503".into(), "down".into())],
        };
        let now = changed(map(there.clone()), &options, &beside).unwrap();
        assert_eq!(
            Value::Object(now),
            json!({
                "redirects": [{ "path": "/old", "to": "https://a.test", "status": 308, "keep": true }],
                "allow": ["10.0.0.0/8"],
                "answer_headers": { "set": { "x-a": "1" }, "remove": ["server"] },
                "request_headers": { "remove": ["cookie"] },
                "basic_auth": { "realm": "Team", "users": [
                    { "name": "bob" }, { "name": "ana", "password": "hunter2" }] },
                "rate_limit": { "requests": 5, "per": "second", "header": "x-key" },
                "hsts": { "max_age_days": 30 },
                "sticky": true,
                // The option of its own is the later word.
                "compress": false,
                "access_log": 0.5,
                "static": "docs",
                "single_page": false,
                "error_pages": { "404": "x", "503": "down" }
            })
        );
        let reset = Options {
            reset: text(&["all"]),
            ..Options::default()
        };
        let none = changed(map(there), &reset, &Beside::default()).unwrap();
        assert!(none.is_empty());
        assert!(Options::default().is_nothing() && !reset.is_nothing());
    }

    #[test]
    fn e6_an_option_that_is_not_understood_says_what_to_write() {
        let wrong =
            |options: Options| changed(Map::new(), &options, &Beside::default()).unwrap_err();
        let header = |text: &str| Options {
            header: vec![text.into()],
            ..Options::default()
        };
        for text in ["x", "answer", "reply set a: b", "answer set a"] {
            assert!(
                wrong(header(text)).contains("answer remove server"),
                "{text}"
            );
        }
        let rate = Options {
            rate: Some("often".into()),
            ..Options::default()
        };
        assert!(wrong(rate).contains("100/minute"));
        let realm = Options {
            realm: Some("x".into()),
            ..Options::default()
        };
        assert!(wrong(realm).contains("--basic-auth"));
        for (text, part) in [
            ("sticky", "is no policy"),
            ("stick = true", "there are redirects, "),
            ("all = 1", "there is no policy"),
            ("basic_auth = { users = [] }", "--basic-auth USER"),
        ] {
            let policy = Options {
                policy: vec![text.into()],
                ..Options::default()
            };
            let said = wrong(policy);
            assert!(said.contains(part), "{said}");
        }
    }

    /// Every key of the policies can be reset.
    #[test]
    fn e6_every_policy_is_named_by_reset() {
        let schema = schemars::schema_for!(crate::base::policies::Policies);
        let keys = schema.as_value()["properties"].as_object().unwrap();
        assert_eq!(keys.len() + 1, KEYS.len());
        assert!(keys.keys().all(|key| KEYS.contains(&key.as_str())));
    }
}
