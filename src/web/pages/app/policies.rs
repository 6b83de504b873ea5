//! `/apps/{app}/domains/{domain}/policies`: what a domain asks of requests and does to answers, in words and as a form.
//!
//! What is common has a field; the rest, and what a field cannot say, stands in one box as freehold.toml has it. Sent, the
//! form is the whole of the domain's own policies.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::act::Act;
use super::head::{AppHead, Tab};
use crate::apps::Domain;
use crate::base::policies::{Policies, RateLimit, Redirect, Toggle};
use crate::web::api::policies::{OfRelease, check_files, words};
use crate::web::error::Failure;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::parts::Field;
use crate::web::pages::visit::{self, Visit};
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_domain_policies.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// `shop.example.com/api`
    pub domain: String,
    /// Where the form goes.
    pub action: String,
    /// What holds, a sentence each.
    pub words: Vec<String>,
    /// The keys that freehold.toml sets.
    pub app_file: String,
    /// The mark of what is shown: whoever saves means to replace no other.
    pub seen: String,
    /// The fields, in order; those of one row side by side.
    pub fields: Vec<Vec<Field>>,
}

/// The form; an empty field is nothing of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Given {
    redirect: String,
    user: String,
    password: String,
    allow: String,
    deny: String,
    rate: String,
    body_limit: String,
    compress: String,
    hsts: String,
    strip_prefix: String,
    more: String,
    /// The mark of the policies that the form showed.
    seen: String,
}

/// What a field holds, and what is wrong with it.
struct Fault {
    field: &'static str,
    why: String,
}

impl Fault {
    /// A sentence that begins with the key it is about.
    fn of(why: String, given: &Given) -> Self {
        let fields = [
            ("redirects", "redirect", &given.redirect),
            ("basic_auth", "password", &given.user),
            ("allow", "allow", &given.allow),
            ("deny", "deny", &given.deny),
            ("rate_limit", "rate", &given.rate),
            ("body_limit", "body_limit", &given.body_limit),
        ];
        let about = fields
            .iter()
            .find(|(key, _, text)| why.starts_with(key) && !text.trim().is_empty());
        let field = about.map_or("more", |(_, field, _)| field);
        Self { field, why }
    }
}

impl Given {
    /// The form that shows these policies.
    fn showing(policies: &Policies) -> Self {
        let mut rest = policies.told();
        let mut given = Self::default();
        let mut field = |key: &str, text: Option<String>| {
            text.inspect(|_| {
                rest.remove(key);
            })
            .unwrap_or_default()
        };
        let one = match policies.redirects.as_slice() {
            [one] => one.is_short().map(str::to_owned),
            _ => None,
        };
        given.redirect = field("redirects", one);
        let user = policies.basic_auth.as_ref().and_then(|auth| {
            let plain = auth.realm == "Restricted";
            match auth.users.as_slice() {
                [user] if plain => Some(user.name.clone()),
                _ => None,
            }
        });
        given.user = field("basic_auth", user);
        for (key, to, ranges) in [
            ("allow", &mut given.allow, &policies.allow),
            ("deny", &mut given.deny, &policies.deny),
        ] {
            let all: Vec<String> = ranges.iter().map(|range| range.0.to_string()).collect();
            *to = field(key, (!all.is_empty()).then(|| all.join(", ")));
        }
        let rate = policies.rate_limit.as_ref();
        let rate = rate.filter(|rate| rate.header.is_none());
        given.rate = field("rate_limit", rate.map(ToString::to_string));
        given.body_limit = field(
            "body_limit",
            policies.body_limit.map(|size| size.to_string()),
        );
        let word = |on: bool| if on { "on" } else { "off" }.to_owned();
        let compress = match policies.compress {
            Some(Toggle::Plain(on)) => Some(word(on)),
            _ => None,
        };
        given.compress = field("compress", compress);
        let hsts = match policies.hsts {
            Some(Toggle::Plain(on)) => Some(word(on)),
            _ => None,
        };
        given.hsts = field("hsts", hsts);
        given.strip_prefix = field("strip_prefix", policies.strip_prefix.map(word));
        if !rest.is_empty() {
            given.more = toml::to_string(&rest).unwrap_or_default();
        }
        given
    }

    /// The policies that the form says.
    fn read(&self) -> Result<Map<String, Value>, Fault> {
        let mut all: Map<String, Value> = toml::from_str(&self.more).map_err(|error| Fault {
            field: "more",
            why: format!("this is not TOML: {}", error.message()),
        })?;
        let ranges = |text: &str| {
            let parts = text.split([',', ' ', '\r', '\n', '\t']);
            let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
            json!(parts)
        };
        let switch = |text: &str| match text {
            "on" => json!(true),
            "off" => json!(false),
            other => json!(other),
        };
        let rate = |text: &str| match RateLimit::short(text) {
            Ok(rate) => Ok(json!(rate)),
            Err(why) => Err(Fault { field: "rate", why }),
        };
        let user = |name: &str| {
            let mut user = json!({ "name": name });
            if !self.password.is_empty() {
                user["password"] = json!(self.password);
            }
            json!({ "users": [user] })
        };
        type Reading<'a> = &'a dyn Fn(&str) -> Result<Value, Fault>;
        let fields: [(&str, &'static str, &str, Reading<'_>); 9] = [
            ("redirects", "redirect", &self.redirect, &|text| {
                Ok(json!([Redirect::short(text)]))
            }),
            ("basic_auth", "user", &self.user, &|name| Ok(user(name))),
            ("allow", "allow", &self.allow, &|text| Ok(ranges(text))),
            ("deny", "deny", &self.deny, &|text| Ok(ranges(text))),
            ("rate_limit", "rate", &self.rate, &rate),
            ("body_limit", "body_limit", &self.body_limit, &|text| {
                Ok(json!(text))
            }),
            ("compress", "compress", &self.compress, &|text| {
                Ok(switch(text))
            }),
            ("hsts", "hsts", &self.hsts, &|text| Ok(switch(text))),
            (
                "strip_prefix",
                "strip_prefix",
                &self.strip_prefix,
                &|text| Ok(switch(text)),
            ),
        ];
        for (key, field, text, reading) in fields {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            if all.contains_key(key) {
                let why = format!("{key} stands here and among the rest: leave one of them");
                return Err(Fault { field, why });
            }
            all.insert(key.to_owned(), reading(text)?);
        }
        Ok(all)
    }

    fn fields(self, path: &str, fault: Option<Fault>) -> Vec<Vec<Field>> {
        let choice = |name, label: &str, on: &str, off: &str, value: String| {
            let choices = [("", "As the app’s file says"), ("on", on), ("off", off)];
            let choices = choices.map(|(id, text)| (id.to_owned(), text.to_owned()));
            Field::choice(name, label, choices.to_vec()).value(value)
        };
        let mut password = Field::password("password", "Password", "new-password")
            .hint("Empty keeps the one that is set. It is shown to nobody.");
        password.required = false;
        let mut rows = vec![
            vec![
                Field::code("redirect", "Send everybody to")
                    .like("https://example.com")
                    .hint("The rest of the path and the query are kept.")
                    .value(self.redirect),
            ],
            vec![
                Field::code("user", "Only with a password: user")
                    .like("ana")
                    .value(self.user),
                password,
            ],
            vec![
                Field::code("allow", "Serve these addresses only")
                    .like("10.0.0.0/8, 2001:db8::/32")
                    .value(self.allow),
                Field::code("deny", "Do not serve these addresses")
                    .like("192.0.2.7")
                    .value(self.deny),
            ],
            vec![
                Field::code("rate", "Requests of one address")
                    .like("100/minute")
                    .value(self.rate),
                Field::code("body_limit", "Largest body of a request")
                    .like("10MB")
                    .value(self.body_limit),
            ],
            vec![
                choice(
                    "compress",
                    "Compression",
                    "Compress answers",
                    "Leave answers as they are",
                    self.compress,
                ),
                choice(
                    "hsts",
                    "By https only (HSTS)",
                    "Tell browsers, for a year",
                    "Tell browsers nothing",
                    self.hsts,
                ),
            ],
        ];
        if path != "/" || !self.strip_prefix.is_empty() {
            rows.push(vec![choice(
                "strip_prefix",
                "The path",
                "Take it off before the app is asked",
                "Leave it",
                self.strip_prefix,
            )]);
        }
        rows.push(vec![
            Field::code("more", "The rest, as freehold.toml has it")
                .area()
                .like("answer_headers = { set = { x-frame-options = \"DENY\" } }")
                .hint("Headers, error pages, sticky, access_log, static, single_page, several redirects or users, details of the above.")
                .value(self.more),
        ]);
        if let Some(Fault { field, why }) = fault {
            let all = rows.iter_mut().flatten();
            let place = if field == "user" { "password" } else { field };
            for one in all.filter(|one| one.name == place) {
                one.fault.clone_from(&why);
            }
        }
        rows
    }
}

/// What stands in one part of a path as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'~');

/// Where a domain's policies are shown, below `/apps`.
pub fn address(app: &str, domain: &str) -> String {
    let domain = utf8_percent_encode(domain, KEPT);
    format!("/apps/{app}/domains/{domain}/policies")
}

async fn page(
    app: &App,
    visit: Visit,
    (name, domain): (&str, &str),
    typed: Option<(Given, Fault)>,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(app, name, Tab::Domains).await?;
    let route = app.apps.route_at(row.id, Domain::parse(domain)?).await?;
    let of_release = OfRelease::load(app, &route).await?;
    let own = route.policies.clone().unwrap_or_default();
    let (given, fault) = match typed {
        Some((given, fault)) => (given, Some(fault)),
        None => (Given::showing(&own), None),
    };
    let domain = route.domain.to_string();
    let keys: Vec<String> = of_release.app_file.told().keys().cloned().collect();
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit),
        action: address(name, &domain),
        words: words(&route, &of_release),
        app_file: keys.join(", "),
        seen: own.mark(),
        fields: given.fields(&route.domain.path, fault),
        head,
        domain,
    }))
}

/// `GET /apps/{app}/domains/{domain}/policies`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((name, domain)): Path<(String, String)>,
) -> Result<Response, Failure> {
    page(&app, visit, (&name, &domain), None).await
}

/// `POST /apps/{app}/domains/{domain}/policies`
pub async fn set(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    Path((_, domain)): Path<(String, String)>,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let place = Domain::parse(&domain)?;
    let name = act.row.name.as_str();
    let fault = match given.read() {
        Err(fault) => fault,
        Ok(sent) => {
            let seen = (!given.seen.is_empty()).then(|| given.seen.clone());
            let set = async {
                check_files(&app, act.row.id, &place, &sent).await?;
                let (by, now) = (&act.by, act.now);
                let set = app
                    .apps
                    .set_policies(act.row.id, place.clone(), sent, seen, by, now);
                set.await.map_err(Failure::from)
            };
            match set.await {
                Ok(changed) => {
                    let text = match changed {
                        true => format!("{place} is changed, and it holds from now on."),
                        false => format!("{place} was so before; nothing is different."),
                    };
                    let here = address(name, &place.to_string());
                    return Ok(visit::done(&here, &text));
                }
                Err(failure) => {
                    let words = failure.words_for_a_form().ok_or(failure)?;
                    Fault::of(words, &given)
                }
            }
        }
    };
    let typed = Given {
        password: String::new(),
        ..given
    };
    let page = page(&app, visit, (name, &domain), Some((typed, fault))).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

/// The page with something in it, for the preview.
#[cfg(test)]
pub fn sample(frame: Frame, head: AppHead) -> View {
    let policies: Policies = toml::from_str(
        "rate_limit = { requests = 100 }\nallow = [\"10.0.0.0/8\"]\nhsts = true\n[answer_headers.set]\nx-frame-options = \"DENY\"\n",
    )
    .unwrap_or_default();
    View {
        frame,
        domain: "shop.example.com".to_owned(),
        action: address("shop", "shop.example.com"),
        words: policies.words(),
        app_file: "compress".to_owned(),
        seen: policies.mark(),
        fields: Given::showing(&policies).fields("/", None),
        head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Given {
        Given::showing(&toml::from_str(text).unwrap())
    }

    /// Sent back as it was shown, a form changes nothing.
    #[test]
    fn e6_a_form_says_what_it_shows() {
        for text in [
            "",
            "redirects = [{ to = \"https://a.test\" }]\nhsts = true\ncompress = false\nstrip_prefix = true",
            "redirects = [{ path = \"/a\", to = \"/b\" }, { to = \"https://a.test\" }]\nhsts = { max_age_days = 3 }",
            "allow = [\"10.0.0.0/8\", \"2001:db8::/32\"]\ndeny = [\"10.0.0.1\"]\nbody_limit = \"10MB\"",
            "rate_limit = { requests = 5, per = \"hour\" }\nsticky = true\nerror_pages = { 503 = \"<h1>Down</h1>\" }",
            "rate_limit = { requests = 5, header = \"x-a\" }\nanswer_headers = { set = { x-a = \"1\" }, remove = [\"b\"] }",
            "compress = { codings = [\"gzip\"] }\nbody_limit = 1000",
            "static = \"docs/en\"\nsingle_page = false",
        ] {
            let policies: Policies = toml::from_str(text).unwrap();
            let read = shown(text).read().ok().unwrap();
            let again: Policies = serde_json::from_value(Value::Object(read)).unwrap();
            assert_eq!(again, policies, "{text}");
        }
    }

    #[test]
    fn e6_what_is_common_has_a_field_and_the_rest_is_toml() {
        let text = "redirects = [{ to = \"https://a.test\" }]\nrate_limit = { requests = 5 }\nsticky = true\n\
            basic_auth.users = [{ name = \"ana\", password = \"x\" }]";
        let given = shown(text);
        assert_eq!(given.redirect, "https://a.test");
        assert_eq!(
            (given.rate.as_str(), given.user.as_str()),
            ("5/minute", "ana")
        );
        assert_eq!(given.more.trim(), "sticky = true");
        let two = "basic_auth.users = [{ name = \"a\", password = \"x\" }, { name = \"b\", password = \"y\" }]";
        let given = shown(two);
        assert!(given.user.is_empty() && given.more.contains("name = \"b\""));
        assert!(!given.more.contains("verifier") && !given.more.contains("password"));
    }

    #[test]
    fn e6_a_fault_stands_at_its_field() {
        let fault = |given: Given| given.read().err().unwrap();
        let twice = Given {
            rate: "5/m".into(),
            more: "rate_limit = { requests = 1 }".into(),
            ..Given::default()
        };
        assert_eq!(fault(twice).field, "rate");
        let no_toml = Given {
            more: "<h1>".into(),
            ..Given::default()
        };
        let found = fault(no_toml);
        assert!(
            found.field == "more" && found.why.contains("not TOML"),
            "{}",
            found.why
        );
        let given = Given {
            allow: "here".into(),
            ..Given::default()
        };
        let field = |why: &str| Fault::of(why.to_owned(), &given).field;
        assert_eq!(field("allow[0]: \"here\" is no range"), "allow");
        assert_eq!(field("deny[0]: \"here\" is no range"), "more");
    }
}
