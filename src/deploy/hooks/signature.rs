//! Whether the sender knows the app's secret.

use crate::base::secret::{Secret, constant_time_eq, hmac_sha256};

use super::{Headers, Host};

pub(super) fn check(
    host: Host,
    header: &Headers<'_>,
    body: &[u8],
    secret: &Secret,
) -> Result<(), String> {
    let names: &[&str] = match host {
        Host::GitHub => &["x-hub-signature-256"],
        Host::Gitea => &[
            "x-gitea-signature",
            "x-forgejo-signature",
            "x-hub-signature-256",
        ],
        Host::Bitbucket => &["x-hub-signature"],
        Host::GitLab => {
            let given = header("x-gitlab-token").ok_or_else(|| missing("X-Gitlab-Token"))?;
            return match constant_time_eq(given.as_bytes(), secret.expose().as_bytes()) {
                true => Ok(()),
                false => Err(wrong()),
            };
        }
    };
    let given = names
        .iter()
        .find_map(|name| header(name))
        .ok_or_else(|| missing(names[0]))?;
    let text = given.strip_prefix("sha256=").unwrap_or(&given);
    let given = hex::decode(text).map_err(|_| wrong())?;
    let expected = hmac_sha256(secret.expose().as_bytes(), body);
    match constant_time_eq(&given, &expected) {
        true => Ok(()),
        false => Err(wrong()),
    }
}

fn missing(name: &str) -> String {
    format!(
        "the event is not signed ({name} is missing): set the app's webhook secret at the git host"
    )
}

fn wrong() -> String {
    "the signature is wrong: the secret at the git host is not this app's webhook secret".into()
}
