//! Addresses, branches and commit ids, checked once and safe as arguments.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

/// Why one was refused, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidGit(pub String);

/// A repository's address: https or ssh, without credentials in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct GitUrl(String);

impl GitUrl {
    /// Checks `text`; `git@host:path` becomes `ssh://git@host/path`.
    ///
    /// # Errors
    /// [`InvalidGit`] with what to write instead.
    pub fn parse(text: &str) -> Result<Self, InvalidGit> {
        let shown: String = redacted(text).chars().take(120).collect();
        let bad = |why: &str| {
            InvalidGit(format!(
                "\"{shown}\" is not a repository Freehold can fetch: {why}."
            ))
        };
        let example =
            "write it like https://github.com/you/shop.git or ssh://git@github.com/you/shop.git";
        if text.len() > 1000 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad(example));
        }
        let text = match text.split_once(':') {
            Some((host, path))
                if !path.starts_with("//") && host.contains('@') && !host.contains('/') =>
            {
                format!("ssh://{host}/{}", path.trim_start_matches('/'))
            }
            _ => text.to_owned(),
        };
        let url = Url::parse(&text).map_err(|_| bad(example))?;
        if cfg!(test) && url.scheme() == "file" {
            return Ok(Self(url.to_string()));
        }
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() || host.starts_with('-') || url.path().len() < 2 {
            return Err(bad(example));
        }
        match url.scheme() {
            "https" if !url.username().is_empty() || url.password().is_some() => Err(bad(
                "leave user and token out of the address and give the token separately, so that it is kept sealed",
            )),
            "ssh" if url.password().is_some() => Err(bad("ssh takes a deploy key, not a password")),
            "ssh" if url.username().starts_with('-') => Err(bad(example)),
            "https" | "ssh" if url.query().is_some() || url.fragment().is_some() => {
                Err(bad(example))
            }
            "https" | "ssh" => Ok(Self(url.to_string())),
            "http" | "git" => Err(bad("only https and ssh are safe to fetch code over")),
            _ => Err(bad(example)),
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is fetched over https.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Whether it is fetched from the host, port and way of `other`: where a token given for `other` may go.
    pub fn is_on_the_host_of(&self, other: &str) -> bool {
        Self(other.to_owned()).origin() == self.origin()
    }

    /// `https://host:port/`, for settings that must not leave that host.
    pub(super) fn origin(&self) -> String {
        match Url::parse(&self.0) {
            Ok(url) => format!("{}/", url.origin().ascii_serialization()),
            Err(_) => self.0.clone(),
        }
    }
}

/// The text without what stands between `//` and `@`.
fn redacted(text: &str) -> String {
    match (text.find("//"), text.rfind('@')) {
        (Some(start), Some(end)) if start + 2 < end && text.starts_with("http") => {
            format!("{}…{}", &text[..start + 2], &text[end..])
        }
        _ => text.to_owned(),
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A branch's name, by git's own rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Branch(String);

impl Branch {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidGit`] as a sentence.
    pub fn parse(text: &str) -> Result<Self, InvalidGit> {
        let part = |p: &str| !p.is_empty() && !p.starts_with('.') && !p.ends_with(".lock");
        let good = !text.is_empty()
            && text.len() <= 200
            && !text.starts_with('-')
            && !text.ends_with('.')
            && !text.contains("..")
            && !text.contains("@{")
            && text != "@"
            && text.split('/').all(part)
            && !text
                .chars()
                .any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c));
        if good {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(InvalidGit(format!(
            "\"{shown}\" cannot be the name of a branch: write it as git shows it, such as main."
        )))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole commit id: 40 or 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CommitId(String);

impl CommitId {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidGit`] as a sentence.
    pub fn parse(text: &str) -> Result<Self, InvalidGit> {
        let hex = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let length = text.len() == 40 || text.len() == 64;
        if hex && length && text.bytes().any(|b| b != b'0') {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(InvalidGit(format!(
            "\"{shown}\" is not a whole commit id: it has 40 digits, as `git rev-parse` prints it."
        )))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first ten digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }

    pub(super) fn object_format(&self) -> &'static str {
        match self.0.len() {
            64 => "--object-format=sha256",
            _ => "--object-format=sha1",
        }
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! deserialize {
    ($($type:ident),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

deserialize!(GitUrl, Branch, CommitId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_only_https_and_ssh_without_secrets_in_them() {
        for good in [
            "https://github.com/you/shop.git",
            "https://git.example.com:8443/a/b",
            "ssh://git@github.com:22/you/shop.git",
        ] {
            assert_eq!(GitUrl::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(
            GitUrl::parse("git@github.com:you/shop.git")
                .unwrap()
                .as_str(),
            "ssh://git@github.com/you/shop.git"
        );
        for bad in [
            "",
            "http://github.com/a/b",
            "git://github.com/a/b",
            "ext::sh -c id",
            "--upload-pack=id",
            "https://-oProxyCommand=id/a",
            "ssh://-oProxyCommand=id/a",
            "ssh://-l@host/a",
            "https://github.com",
            "/srv/git/shop.git",
            "https://a/b c",
        ] {
            assert!(GitUrl::parse(bad).is_err(), "{bad}");
        }
        let error = GitUrl::parse("https://me:hunter2@github.com/a/b").unwrap_err();
        assert!(
            !error.0.contains("hunter2") && error.0.contains("sealed"),
            "{error}"
        );
    }

    #[test]
    fn f4_branches_follow_gits_rules() {
        for good in ["main", "release/1.2", "fix_#12", "ü"] {
            assert!(Branch::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a/", "/a", "a.lock", "a~1", "@{u}", "a\n", ".a",
        ] {
            assert!(Branch::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn f4_commit_ids_are_whole() {
        assert!(CommitId::parse(&"a".repeat(40)).is_ok());
        assert!(
            CommitId::parse(&"0".repeat(40)).is_err(),
            "a deleted branch"
        );
        for bad in ["HEAD", "abc123", &"g".repeat(40), &"A".repeat(40)] {
            assert!(CommitId::parse(bad).is_err(), "{bad}");
        }
    }
}
