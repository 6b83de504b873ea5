//! What images a deploy may name. Pure.
//!
//! Our own tags look like names of Docker Hub, and an engine takes an image's id for a
//! name: by either a developer of one app would run another app's image, with the
//! source and whatever was built into it. So a reference is one that could be pulled,
//! and under this installation's tags it is the app's own.
//! What a Dockerfile names is held to the same: `dockerfile`.

/// This installation's tags, and the app that asks.
#[derive(Clone, Debug)]
pub struct Own {
    /// What all our tags begin with: `fh-` and the beginning of the installation's id.
    pub prefix: String,
    /// The app's name.
    pub app: String,
}

/// The longest name a registry takes.
const LONGEST_NAME: usize = 255;

impl Own {
    /// Whether this app may deploy the image `reference`.
    ///
    /// # Errors
    /// A sentence: it is no reference, an image's id, or another app's.
    pub fn allows(&self, reference: &str) -> Result<(), String> {
        well_formed(reference)?;
        self.not_foreign(reference)
    }

    pub(super) fn not_foreign(&self, reference: &str) -> Result<(), String> {
        let name = short(reference).to_ascii_lowercase();
        let Some(rest) = name.strip_prefix(&format!("{}/", self.prefix)) else {
            return Ok(());
        };
        match rest.split([':', '@']).next() == Some(self.app.as_str()) {
            true => Ok(()),
            false => Err(format!(
                "{reference} is an image that this box made for another app: deploy one of {}'s own, or one from a registry",
                self.app
            )),
        }
    }
}

/// Whether the image the engine has under `reference` really goes by that name: an
/// engine also finds one by the beginning of its id.
pub fn goes_by(tags: &[String], reference: &str) -> bool {
    let whole = |reference: &str| {
        let name = short(reference).to_owned();
        match name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'))
        {
            true => name,
            false => format!("{name}:latest"),
        }
    };
    reference.contains('@') || tags.iter().any(|tag| whole(tag) == whole(reference))
}

/// Without what Docker Hub's names may leave out.
pub(super) fn short(reference: &str) -> &str {
    let name = ["docker.io/", "index.docker.io/", "registry-1.docker.io/"]
        .iter()
        .find_map(|hub| reference.strip_prefix(hub))
        .unwrap_or(reference);
    name.strip_prefix("library/").unwrap_or(name)
}

pub(super) fn is_id(reference: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
    hex(digits) && (digits.len() == 12 || digits.len() == 64 || reference.starts_with("sha256:"))
}

pub(super) fn id_refused(reference: &str) -> String {
    let shown: String = reference.chars().take(80).collect();
    format!(
        "\"{shown}\" is the id of an image, which could be any app's: name the image and its tag, such as registry.example.com/team/app:1.2"
    )
}

/// Whether `reference` can be pulled: `[registry/]name[:tag][@digest]`, as registries have it.
fn well_formed(reference: &str) -> Result<(), String> {
    if is_id(reference) {
        return Err(id_refused(reference));
    }
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            (Some(host), path)
        }
        _ => (None, name),
    };
    let good = name.len() <= LONGEST_NAME
        && host.is_none_or(is_host)
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    if good {
        return Ok(());
    }
    let shown: String = reference.chars().take(80).collect();
    let why = match path.bytes().any(|b| b.is_ascii_uppercase()) {
        true => ", and a name has no capital letters",
        false => "",
    };
    Err(format!(
        "\"{shown}\" is no image reference: write it like registry.example.com/team/app:1.2{why}"
    ))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let named = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(label),
    };
    named && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Small letters and digits, joined by `.`, `_`, `__` or hyphens.
fn is_component(part: &str) -> bool {
    let joint = |b: u8| b"._-".contains(&b);
    let bytes = part.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    let inside = part
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'));
    inside && ends.is_some_and(|(first, last)| !joint(*first) && !joint(*last))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|b| word(*b))
        && bytes.iter().all(|b| word(*b) || b".-".contains(b))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(kind, hex)| {
        let known = kind
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b));
        !kind.is_empty() && known && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The app shop's own, of an installation that others are on too.
    pub fn shop() -> Own {
        Own {
            prefix: "fh-abcdef".into(),
            app: "shop".into(),
        }
    }

    #[test]
    fn a4_an_image_of_another_app_is_not_deployed() {
        for good in [
            "nginx",
            "nginx:1.27",
            "fh-abcdef/shop:d3",
            "fh-000000/blog:d3",
            "ghcr.io/a/b:1",
            "127.0.0.1:5000/tasks:1",
            "[::1]:5000/a",
            "localhost/a__b/c-d.e",
            "r.test/a@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(shop().allows(good), Ok(()), "{good}");
        }
        for other in [
            "fh-abcdef/blog:d3",
            "fh-abcdef/blog",
            "docker.io/fh-abcdef/blog:d3",
            "index.docker.io/fh-abcdef/blog:d3",
            "fh-abcdef/shop2:d1",
            "fh-abcdef/shop/blog:d1",
        ] {
            let error = shop().allows(other).unwrap_err();
            assert!(error.contains("for another app"), "{other}: {error}");
        }
    }

    #[test]
    fn a4_an_images_id_is_no_name() {
        let long = "a".repeat(64);
        for id in [
            "0123456789ab",
            &long,
            &format!("sha256:{long}"),
            "sha256:0123",
        ] {
            let error = shop().allows(id).unwrap_err();
            assert!(error.contains("is the id of an image"), "{id}: {error}");
        }
        // An engine finds an image by any beginning of its id; that is not its name.
        let tags = ["fh-abcdef/blog:d3".to_owned(), "nginx:latest".to_owned()];
        assert!(!goes_by(&tags, "cafe"));
        assert!(goes_by(&tags, "nginx") && goes_by(&tags, "docker.io/library/nginx:latest"));
        assert!(!goes_by(&tags, "nginx:1"));
        assert!(goes_by(&["a.test:5000/b:latest".into()], "a.test:5000/b"));
    }

    #[test]
    fn a8_what_is_no_reference_is_told_at_once() {
        for bad in [
            "",
            "UPPER CASE",
            "a b",
            "Shop",
            "a//b",
            "-a",
            "a:",
            "a:b:c",
            "a@sha256:1",
            "../a",
            "https://r.test/a",
            "r.test:99999/a",
            "a..b",
            "a___b",
            "r.test/",
        ] {
            let error = shop().allows(bad).unwrap_err();
            assert!(error.contains("is no image reference"), "{bad}: {error}");
        }
        let capital = shop().allows("r.test/Team/app").unwrap_err();
        assert!(
            capital.ends_with("a name has no capital letters"),
            "{capital}"
        );
    }
}
