//! Specs that cannot become a container are refused before a row is written.

use super::error::SuperviseError;
use super::spec::{Health, Kind, Spec};

fn bad(name: &str, why: impl Into<String>) -> SuperviseError {
    SuperviseError::BadSpec {
        name: name.chars().take(100).collect(),
        why: why.into(),
    }
}

/// A name of a container, network or volume.
pub(super) fn name(what: &str, name: &str) -> Result<(), SuperviseError> {
    let good = !name.is_empty()
        && name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match good {
        true => Ok(()),
        false => Err(bad(
            name,
            format!(
                "the name of a {what} has lower-case letters, digits and hyphens only, at most 100"
            ),
        )),
    }
}

pub(super) fn job(spec: &Spec) -> Result<(), SuperviseError> {
    match spec.kind {
        Kind::Job => self::spec(spec),
        _ => Err(bad(&spec.name, "only a job can be run to its end")),
    }
}

pub(super) fn spec(spec: &Spec) -> Result<(), SuperviseError> {
    name("container", &spec.name)?;
    let refuse = |why: String| Err(bad(&spec.name, why));
    if spec.image.is_empty() {
        return refuse("it names no image".to_owned());
    }
    for (key, value) in &spec.env {
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return refuse(format!(
                "the environment variable \"{}\" has an empty name, a = in its name or a NUL byte",
                key.chars().take(60).collect::<String>()
            ));
        }
    }
    for network in &spec.networks {
        name("network", network)?;
    }
    for mount in &spec.volumes {
        name("volume", &mount.volume)?;
        if !mount.path.starts_with('/') || mount.path == "/" {
            return refuse(format!(
                "the volume {} must be mounted at an absolute path other than /",
                mount.volume
            ));
        }
    }
    let words = spec.command.iter().chain(&spec.entrypoint).flatten();
    if words.into_iter().any(|word| word.contains('\0')) {
        return refuse("its command holds a NUL byte".to_owned());
    }
    if spec.memory_bytes.is_some_and(|m| m < 6 << 20) {
        return refuse("a memory limit below 6 MB is refused by the engine: give more".to_owned());
    }
    if spec.kind == Kind::Job {
        return Ok(());
    }
    let asked_over_network = matches!(spec.health, Health::Http { .. } | Health::Tcp);
    if asked_over_network && spec.port.is_none_or(|p| p == 0) {
        return refuse("its check needs a port: set `port`".to_owned());
    }
    if asked_over_network && spec.networks.is_empty() {
        return refuse("its check needs a network".to_owned());
    }
    match &spec.health {
        Health::Http { path, .. }
            if !path.starts_with('/')
                || path.len() > 1024
                || !path.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            refuse(
                "the health path must begin with / and have no spaces, such as /healthz".to_owned(),
            )
        }
        Health::Exec(argv) if argv.is_empty() => refuse("its check names no command".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::protocol::Protocol;

    fn good() -> Spec {
        let mut spec = Spec::new(Kind::Replica, "tasks-web-v1-1", "app:1", "tasks:1");
        spec.port = Some(3000);
        spec.networks = vec!["app-1".into()];
        spec.health = Health::Http {
            path: "/healthz".into(),
            protocol: Protocol::Http1,
        };
        spec
    }

    type Change = fn(&mut Spec);

    #[test]
    fn f4_specs_that_cannot_work_are_refused_with_a_remedy() {
        assert!(spec(&good()).is_ok());
        let cases: [(Change, &str); 8] = [
            (|s| s.name = "../x".into(), "lower-case"),
            (|s| s.port = None, "port"),
            (|s| s.networks.clear(), "network"),
            (
                |s| {
                    s.health = Health::Http {
                        path: "x y".into(),
                        protocol: Protocol::H2c,
                    };
                },
                "/healthz",
            ),
            (
                |s| {
                    s.env.insert("A=B".into(), "c".into());
                },
                "environment",
            ),
            (|s| s.memory_bytes = Some(1), "6 MB"),
            (
                |s| {
                    s.volumes = vec![crate::supervise::Mount {
                        volume: "v".into(),
                        path: "rel".into(),
                        read_only: false,
                        existing: false,
                    }];
                },
                "absolute",
            ),
            (|s| s.health = Health::Exec(vec![]), "command"),
        ];
        for (change, part) in cases {
            let mut changed = good();
            change(&mut changed);
            let error = spec(&changed).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(job(&good()).is_err());
    }
}
