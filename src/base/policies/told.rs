//! What is told of policies, which of two hold, and what they do in words. No password and no verifier is in any of it.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::super::log_share::LogShare;
use super::{AddressRange, HeaderRules, Policies, Redirect, Subfolder};

/// Entries of a list that are told by name; the others are counted.
const NAMED: usize = 5;

impl Policies {
    /// These before `others`, key by key: what is not set here is as it is there.
    #[must_use]
    pub fn over(&self, others: &Policies) -> Policies {
        fn list<T: Clone>(own: &[T], other: &[T]) -> Vec<T> {
            if own.is_empty() { other } else { own }.to_vec()
        }
        fn rules(own: &HeaderRules, other: &HeaderRules) -> HeaderRules {
            if own.is_empty() { other } else { own }.clone()
        }
        Policies {
            redirects: list(&self.redirects, &others.redirects),
            strip_prefix: self.strip_prefix.or(others.strip_prefix),
            request_headers: rules(&self.request_headers, &others.request_headers),
            answer_headers: rules(&self.answer_headers, &others.answer_headers),
            hsts: self.hsts.or(others.hsts),
            basic_auth: self.basic_auth.clone().or(others.basic_auth.clone()),
            allow: list(&self.allow, &others.allow),
            deny: list(&self.deny, &others.deny),
            rate_limit: self.rate_limit.clone().or(others.rate_limit.clone()),
            body_limit: self.body_limit.or(others.body_limit),
            compress: self.compress.clone().or(others.compress.clone()),
            sticky: self.sticky.or(others.sticky),
            access_log: self.access_log.or(others.access_log),
            error_pages: match self.error_pages.is_empty() {
                true => others.error_pages.clone(),
                false => self.error_pages.clone(),
            },
            files: self.files.clone().or(others.files.clone()),
            single_page: self.single_page.or(others.single_page),
        }
    }

    /// Its keys and values as people write them, users by name alone.
    pub fn told(&self) -> Map<String, Value> {
        // Text keys and plain values alone: writing them does not fail.
        let Ok(Value::Object(mut all)) = serde_json::to_value(self) else {
            return Map::new();
        };
        let users = all.get_mut("basic_auth").and_then(|a| a.get_mut("users"));
        for user in users.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(user) = user.as_object_mut() {
                user.remove("verifier");
            }
        }
        all
    }

    /// Another text whenever a user or a password is another one; none without any.
    pub fn passwords_mark(&self) -> Option<String> {
        let auth = self.basic_auth.as_ref()?;
        let text = serde_json::to_vec(&auth.users).unwrap_or_default();
        let mark = crate::base::secret::sha256_hex(&text);
        Some(mark.chars().take(16).collect())
    }

    /// A sentence for each thing that is done.
    pub fn words(&self) -> Vec<String> {
        let mut all: Vec<String> = self.redirects.iter().map(sent).collect();
        if self.strip_prefix == Some(true) {
            all.push("The path is taken off before a request goes to the app.".into());
        }
        all.extend(changed("Requests", &self.request_headers));
        all.extend(changed("Answers", &self.answer_headers));
        if let Some(hsts) = self.hsts.and_then(|hsts| hsts.details()) {
            let below = match hsts.include_subdomains {
                true => ", also for the names below",
                false => "",
            };
            all.push(format!(
                "Browsers come by https only, for {} days{below}.",
                hsts.max_age_days
            ));
        }
        if let Some(auth) = &self.basic_auth {
            let names = auth.users.iter().map(|user| &user.name);
            all.push(format!("A password is asked for: {}.", some(names)));
        }
        if !self.allow.is_empty() {
            let ranges = self.allow.iter().map(one_or_many);
            all.push(format!("Only {} are served.", some(ranges)));
        }
        if !self.deny.is_empty() {
            let ranges = self.deny.iter().map(one_or_many);
            all.push(format!("Not served: {}.", some(ranges)));
        }
        if let Some(rate) = &self.rate_limit {
            let window = rate.per.as_str();
            let whom = rate.header.as_deref().unwrap_or("address");
            all.push(format!("{} requests a {window}, by {whom}.", rate.requests));
        }
        if let Some(limit) = self.body_limit {
            all.push(format!("Bodies up to {limit}."));
        }
        if let Some(compress) = self.compress.as_ref().and_then(|c| c.details()) {
            let codings = compress.codings.iter().map(|coding| match coding {
                super::Coding::Zstd => "zstd",
                super::Coding::Br => "br",
                super::Coding::Gzip => "gzip",
            });
            all.push(format!("Answers are compressed: {}.", some(codings)));
        }
        if self.sticky == Some(true) {
            all.push("A browser stays with the replica that answered it first.".into());
        }
        if let Some(share) = self.access_log {
            all.push(match share {
                LogShare::OFF => "No request stands in the access log.".into(),
                LogShare::ALL => "Every request stands in the access log.".into(),
                part => format!("A part of {part} of the requests stands in the access log."),
            });
        }
        if !self.error_pages.is_empty() {
            let statuses = self.error_pages.0.keys();
            all.push(format!("Own error pages: {}.", some(statuses)));
        }
        match self.files.as_ref().map(Subfolder::name) {
            None => {}
            Some("") => all.push("All of the release's folder is served.".into()),
            Some(name) => all.push(format!(
                "Only the folder {name} of the release's folder is served."
            )),
        }
        match self.single_page {
            None => {}
            Some(true) => all.push("Who goes to a path that is no file gets index.html.".into()),
            Some(false) => all.push("A path that is no file is not found.".into()),
        }
        all
    }
}

/// A range, or the one address it is of.
fn one_or_many(range: &AddressRange) -> String {
    let text = range.0.to_string();
    let whole = if text.contains(':') { "/128" } else { "/32" };
    text.strip_suffix(whole).unwrap_or(&text).to_owned()
}

fn sent(redirect: &Redirect) -> String {
    let who = match (&redirect.host, redirect.path.as_str()) {
        (None, "/") => "Everybody is sent".to_owned(),
        (None, path) => format!("{path} is sent"),
        (Some(host), "/") => format!("{host} is sent"),
        (Some(host), path) => format!("{host}{path} is sent"),
    };
    format!("{who} to {} ({}).", redirect.to, redirect.status)
}

fn changed(what: &str, rules: &HeaderRules) -> Option<String> {
    let parts = [
        ("set", some(rules.set.keys())),
        ("added", some(rules.add.keys())),
        ("removed", some(rules.remove.iter())),
    ];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts.map(|(how, names)| format!("{names} {how}")).collect();
    (!parts.is_empty()).then(|| format!("{what}: {}.", parts.join("; ")))
}

/// The first few, and how many more.
fn some<T: Display>(all: impl Iterator<Item = T>) -> String {
    let mut names: Vec<String> = all.map(|one| one.to_string()).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let named = names.join(", ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
