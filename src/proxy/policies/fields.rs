//! Header rules, applied.
use std::collections::BTreeMap;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::base::policies::{HeaderRules, Hsts, is_edges_own};
use crate::proxy::headers::has_token;

#[derive(Debug, Default)]
pub(super) struct Fields {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Fields {
    /// Rules were checked; one that nevertheless is none is left out.
    pub(super) fn new(rules: &HeaderRules) -> Fields {
        let name = |name: &String| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            (!is_edges_own(name.as_str())).then_some(name)
        };
        let pairs = |from: &BTreeMap<String, String>| {
            from.iter()
                .filter_map(|(key, value)| Some((name(key)?, HeaderValue::from_str(value).ok()?)))
                .collect()
        };
        Fields {
            remove: rules.remove.iter().filter_map(name).collect(),
            set: pairs(&rules.set),
            add: pairs(&rules.add),
        }
    }

    pub(super) fn change(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }

    /// The same for what an app is told. It may read `_` as `-`, and the client may not take a field of ours away by naming
    /// it in `Connection`: that is settled first.
    pub(super) fn change_request(&self, headers: &mut HeaderMap) {
        if self.remove.is_empty() && self.set.is_empty() && self.add.is_empty() {
            return;
        }
        settle_connection(headers);
        let ours = || {
            self.remove
                .iter()
                .chain(self.set.iter().map(|(name, _)| name))
        };
        let alike: Vec<HeaderName> = headers
            .keys()
            .filter(|there| ours().any(|name| is_alike(name.as_str(), there.as_str())))
            .cloned()
            .collect();
        for name in alike {
            headers.remove(name);
        }
        self.change(headers);
    }
}

fn is_alike(one: &str, other: &str) -> bool {
    let same = |(a, b): (u8, u8)| a == b || matches!((a, b), (b'-', b'_') | (b'_', b'-'));
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(same)
}

/// Takes out what `Connection` names, and leaves in it the change of protocol alone, which is judged later.
fn settle_connection(headers: &mut HeaderMap) {
    let lines: Vec<HeaderValue> = headers
        .get_all(header::CONNECTION)
        .iter()
        .cloned()
        .collect();
    if lines.is_empty() {
        return;
    }
    for token in lines
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
    {
        let Ok(name) = HeaderName::from_bytes(token.trim_ascii()) else {
            continue;
        };
        if name != header::UPGRADE && name != header::TE && name != header::EXPECT {
            headers.remove(name);
        }
    }
    headers.remove(header::CONNECTION);
    if lines.iter().any(|line| has_token(line, "upgrade")) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

pub(super) fn hsts(hsts: Hsts) -> HeaderValue {
    let mut text = format!("max-age={}", u64::from(hsts.max_age_days) * 86_400);
    if hsts.include_subdomains {
        text.push_str("; includeSubDomains");
    }
    if hsts.preload {
        text.push_str("; preload");
    }
    // Digits and words alone.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("max-age=0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::new(&toml::from_str(text).unwrap())
    }

    fn changed(rules: &str, lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        fields(rules).change_request(&mut headers);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        headers.iter().map(line).collect()
    }

    #[test]
    fn e6_headers_are_removed_set_and_added_in_that_order() {
        let rules = "set = { x-a = \"1\" }\nadd = { x-b = \"2\" }\nremove = [\"x-c\", \"X-B\"]";
        let lines = &[
            ("x-a", "0"),
            ("x-a", "00"),
            ("x-b", "0"),
            ("x-c", "0"),
            ("x-d", "0"),
        ];
        let mut found = changed(rules, lines);
        found.sort();
        assert_eq!(found, ["x-a: 1", "x-b: 2", "x-d: 0"]);
    }

    #[test]
    fn e6_a_field_of_the_rules_is_nobodys_to_forge_or_to_take_away() {
        let rules = "set = { x-user-id = \"1\" }\nremove = [\"x-role\"]";
        let lines = &[
            ("x_user_id", "6"),
            ("x-user_id", "6"),
            ("x_role", "6"),
            ("connection", "x-user-id, keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ];
        let mut found = changed(rules, lines);
        found.sort();
        assert_eq!(
            found,
            ["connection: upgrade", "upgrade: websocket", "x-user-id: 1"]
        );
    }

    #[test]
    fn e6_hsts_is_written_as_the_rfc_has_it() {
        assert_eq!(hsts(Hsts::default()), "max-age=31536000");
        let all = Hsts {
            max_age_days: 730,
            include_subdomains: true,
            preload: true,
        };
        assert_eq!(hsts(all), "max-age=63072000; includeSubDomains; preload");
    }
}
