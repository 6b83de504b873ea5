//! Policies of a domain: read as they are sent, passwords become verifiers, kept in the domain's row.
//!
//! What is sent is the whole of a domain's own policies. Since no password is ever told, a user who is sent back without
//! one keeps the one they have.

use serde_json::{Map, Value};

use super::{AppError, Apps, Domain, Route, record, store};
use crate::base::clock::UnixMs;
use crate::base::policies::{Policies, VerifierKey};

impl Apps {
    /// The route of `domain`, which is the app's.
    ///
    /// # Errors
    /// [`AppError::NoDomain`] when it has none such.
    pub async fn route_at(&self, app: i64, domain: Domain) -> Result<Route, AppError> {
        self.db.read(move |c| find(c, app, &domain)).await
    }

    /// Gives a domain policies of its own, in force at once. Says whether any differs. `seen`: the mark of those that the
    /// sender was shown, who means to replace no others.
    ///
    /// # Errors
    /// [`AppError::NoDomain`]; [`AppError::Invalid`] with a sentence that names the key, or says that they changed.
    pub async fn set_policies(
        &self,
        app: i64,
        domain: Domain,
        sent: Map<String, Value>,
        seen: Option<String>,
        by: &str,
        now: UnixMs,
    ) -> Result<bool, AppError> {
        let key = VerifierKey::of(&self.key);
        let by = by.to_owned();
        self.db
            .write(move |tx| {
                let route = find(tx, app, &domain)?;
                let was = route.policies.clone().unwrap_or_default();
                if seen.is_some_and(|seen| seen != was.mark()) {
                    return Err(AppError::Invalid(format!(
                        "What holds for {domain} was changed meanwhile, and stands above. What you typed stands here: save it again to have it instead."
                    )));
                }
                let mut new = read(sent, &was).map_err(AppError::Invalid)?;
                new.take_in(&key);
                if route.policies.as_ref() == Some(&new) {
                    return Ok(false);
                }
                store::set_route_policies(tx, route.id, &new)?;
                let keys = match differing(&was, &new).join(", ") {
                    keys if keys.is_empty() => "nothing of its own holds".to_owned(),
                    keys => keys,
                };
                let message = format!("What holds for {domain} was changed by {by}: {keys}.");
                record(tx, now, app, "app.domain_policies", message)?;
                Ok(true)
            })
            .await
    }
}

fn find(c: &rusqlite::Connection, app: i64, domain: &Domain) -> Result<Route, AppError> {
    let mut all = store::routes(c, Some(app))?.into_iter();
    all.find(|route| route.domain == *domain)
        .ok_or_else(|| AppError::NoDomain(domain.to_string()))
}

/// The keys that are not the same in both.
fn differing(was: &Policies, new: &Policies) -> Vec<String> {
    let (mut old, new_told) = (was.told(), new.told());
    let passwords = was.passwords_mark() != new.passwords_mark();
    let mut keys = Vec::new();
    for (key, value) in &new_told {
        let same = old.remove(key).is_some_and(|old| old == *value);
        if !same || (passwords && key == "basic_auth") {
            keys.push(key.clone());
        }
    }
    keys.extend(old.into_iter().map(|(key, _)| key));
    keys
}

/// Policies as they were sent; users without a password keep the one that `stored` has for them.
///
/// # Errors
/// A sentence that names the key and what to write instead.
pub(super) fn read(mut sent: Map<String, Value>, stored: &Policies) -> Result<Policies, String> {
    let users = sent.get_mut("basic_auth").and_then(|a| a.get_mut("users"));
    for user in users.and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(user) = user.as_object_mut() else {
            continue;
        };
        if user.contains_key("verifier") {
            return Err(
                "basic_auth: a verifier is this box's own: write password = \"…\" instead, or the name alone to keep the password that is set"
                    .into(),
            );
        }
        let name = user.get("name").and_then(Value::as_str).unwrap_or_default();
        let mut known = stored.basic_auth.iter().flat_map(|auth| &auth.users);
        let known = known.rfind(|known| known.name == name);
        let kept = known.and_then(|known| serde_json::to_value(&known.verifier).ok());
        if user.get("password").is_none_or(Value::is_null)
            && let Some(kept) = kept
        {
            user.insert("verifier".into(), kept);
        }
    }
    serde_path_to_error::deserialize(Value::Object(sent)).map_err(|error| {
        let key = error.path().to_string();
        let why = error.into_inner().to_string();
        let top = key.split(['.', '[']).next().unwrap_or_default();
        let says_it = why.starts_with(top) || why.starts_with(&format!("unknown field `{key}`"));
        match says_it || key == "." {
            true => why,
            false => format!("{key}: {why}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn e6_a_user_without_a_password_keeps_the_one_that_is_set() {
        let key = VerifierKey::new(b"key");
        let ana = json!({"basic_auth": {"users": [{"name": "ana", "password": "hunter2"}]}});
        let mut stored = read(sent(ana), &Policies::default()).unwrap();
        stored.take_in(&key);
        let again = read(stored.told(), &stored).unwrap();
        assert_eq!(again, stored);
        let bob = json!({"basic_auth": {"users": [{"name": "ana"}, {"name": "bob"}]}});
        let why = read(sent(bob), &stored).unwrap_err();
        assert_eq!(
            why,
            "basic_auth: \"bob\" has no password: add password = \"…\""
        );
        let forged = json!({"basic_auth": {"users": [{"name": "ana", "verifier": "00"}]}});
        let why = read(sent(forged), &stored).unwrap_err();
        assert!(why.contains("this box's own"), "{why}");
    }

    #[test]
    fn e6_a_mistake_names_its_key_once() {
        for (value, words) in [
            (json!({"hst": true}), "unknown field `hst`"),
            (
                json!({"rate_limit": {"requests": 0}}),
                "rate_limit: requests is from 1",
            ),
            (
                json!({"rate_limit": {"requests": "a"}}),
                "rate_limit.requests: invalid type",
            ),
            (json!({"allow": ["here"]}), "allow[0]: \"here\""),
        ] {
            let why = read(sent(value), &Policies::default()).unwrap_err();
            assert!(why.starts_with(words), "{why}");
        }
    }

    #[test]
    fn e6_what_differs_is_named_by_key() {
        let read = |value| read(sent(value), &Policies::default()).unwrap();
        let user = |password: &str| json!({"hsts": true, "basic_auth": {"users": [{"name": "a", "password": password}]}});
        let (mut one, mut two) = (read(user("1")), read(user("2")));
        for policies in [&mut one, &mut two] {
            policies.take_in(&VerifierKey::new(b"key"));
        }
        assert_eq!(differing(&one, &two), ["basic_auth"]);
        let three = read(json!({"hsts": false, "sticky": true}));
        assert_eq!(differing(&one, &three), ["hsts", "sticky", "basic_auth"]);
    }
}
