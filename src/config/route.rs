//! Routes of the settings files: a host (and path) to an upstream that is not an app.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de::Error as _};

use crate::base::ids::HostName;
use crate::base::log_share::LogShare;
use crate::base::policies::{
    AddressRange, BasicAuth, Compress, ErrorPages, HeaderRules, Hsts, Policies, RateLimit,
    Redirect, Size, Toggle, checked, is_path,
};
use crate::base::protocol::Protocol;

/// Where a route's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// The configured ACME server.
    Acme,
    /// The box's own CA.
    Internal,
    /// These files, in PEM.
    Files {
        /// The chain.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
    },
}

/// Where a route leads: an address that speaks HTTP without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamAddress {
    /// A name or an IP address (without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// How it is spoken to.
    pub protocol: Protocol,
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `static` of a route: a folder of this box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredFolder {
    /// Its full path.
    pub path: PathBuf,
    /// Paths that are no file are its `index.html`'s.
    pub single_page: bool,
}

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredRoute {
    /// The name it answers.
    pub host: HostName,
    /// `/`, or a prefix such as `/api` without a slash at its end.
    pub path: String,
    /// Where it leads; nowhere, where everybody is sent elsewhere.
    pub upstream: Option<UpstreamAddress>,
    /// The path that its addresses are asked now and then whether they are well.
    pub health: Option<String>,
    /// The folder of files it serves instead.
    pub files: Option<ConfiguredFolder>,
    /// Where its certificate comes from.
    pub tls: Tls,
    /// Which of its requests are written to the access log, instead of the usual share.
    pub access_log: Option<LogShare>,
    /// What it asks of requests and does to answers.
    pub policies: Policies,
}

/// The route's own keys, and beside them those of its policies: serde cannot flatten them and refuse unknown ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    host: HostName,
    #[serde(default = "root", deserialize_with = "path")]
    path: String,
    #[serde(default, deserialize_with = "upstream")]
    upstream: Option<UpstreamAddress>,
    #[serde(default, deserialize_with = "health")]
    health: Option<String>,
    #[serde(rename = "static")]
    folder: Option<PathBuf>,
    single_page: Option<bool>,
    #[serde(default, deserialize_with = "tls")]
    tls: Option<Tls>,
    access_log: Option<LogShare>,
    #[serde(default, deserialize_with = "checked")]
    redirects: Vec<Redirect>,
    strip_prefix: Option<bool>,
    #[serde(default, deserialize_with = "checked")]
    request_headers: HeaderRules,
    #[serde(default, deserialize_with = "checked")]
    answer_headers: HeaderRules,
    #[serde(default, deserialize_with = "checked")]
    hsts: Option<Toggle<Hsts>>,
    #[serde(default, deserialize_with = "checked")]
    basic_auth: Option<BasicAuth>,
    #[serde(default, deserialize_with = "checked")]
    allow: Vec<AddressRange>,
    #[serde(default, deserialize_with = "checked")]
    deny: Vec<AddressRange>,
    #[serde(default, deserialize_with = "checked")]
    rate_limit: Option<RateLimit>,
    #[serde(default, deserialize_with = "checked")]
    body_limit: Option<Size>,
    #[serde(default, deserialize_with = "checked")]
    compress: Option<Toggle<Compress>>,
    sticky: Option<bool>,
    #[serde(default, deserialize_with = "checked")]
    error_pages: ErrorPages,
}

impl Written {
    /// What is not right about the folder, and what to write instead.
    fn wrong_folder(&self) -> Option<String> {
        match &self.folder {
            None if self.single_page.is_some() => Some(
                "single_page is for a folder of files: add static = \"/srv/www\", or remove it"
                    .into(),
            ),
            Some(_) if self.upstream.is_some() => Some(
                "the route leads to an upstream and to a folder: remove upstream or static".into(),
            ),
            Some(folder) if !folder.is_absolute() => Some(format!(
                "static: \"{}\" is not a full path: begin it with /",
                folder.display()
            )),
            _ => None,
        }
    }

    fn files(&self) -> Option<ConfiguredFolder> {
        Some(ConfiguredFolder {
            path: self.folder.clone()?,
            single_page: self.single_page.unwrap_or_default(),
        })
    }

    fn policies(self) -> Policies {
        Policies {
            redirects: self.redirects,
            strip_prefix: self.strip_prefix,
            request_headers: self.request_headers,
            answer_headers: self.answer_headers,
            hsts: self.hsts,
            basic_auth: self.basic_auth,
            allow: self.allow,
            deny: self.deny,
            rate_limit: self.rate_limit,
            body_limit: self.body_limit,
            compress: self.compress,
            sticky: self.sticky,
            // A key of the route itself.
            access_log: None,
            error_pages: self.error_pages,
            // Keys of the route itself, which names a folder of this box.
            files: None,
            single_page: None,
        }
    }
}

impl<'de> Deserialize<'de> for ConfiguredRoute {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(from)?;
        let birth = if written.host.is_private() {
            Tls::Internal
        } else {
            Tls::Acme
        };
        let sends_all = |redirect: &Redirect| redirect.host.is_none() && redirect.path == "/";
        if let Some(wrong) = written.wrong_folder() {
            return Err(D::Error::custom(wrong));
        }
        let leads = written.upstream.is_some() || written.folder.is_some();
        if !leads && !written.redirects.iter().any(sends_all) {
            return Err(D::Error::custom(
                "the route leads nowhere: add upstream = \"http://127.0.0.1:9001\", static = \"/srv/www\", or redirects = [{ to = \"https://example.com\" }]",
            ));
        }
        Ok(Self {
            host: written.host.clone(),
            path: written.path.clone(),
            upstream: written.upstream.clone(),
            health: written.health.clone(),
            files: written.files(),
            tls: written.tls.clone().unwrap_or(birth),
            access_log: written.access_log,
            policies: written.policies(),
        })
    }
}

fn root() -> String {
    "/".into()
}

fn path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if !is_path(&text) {
        return Err(D::Error::custom(format!(
            "\"{}\" is not a path: write it like \"/api\", without query",
            text.chars().take(60).collect::<String>()
        )));
    }
    let short = text.trim_end_matches('/');
    Ok(if short.is_empty() {
        root()
    } else {
        short.to_owned()
    })
}

fn health<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    let good = text.starts_with('/')
        && text.len() <= 500
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if good {
        Ok(Some(text))
    } else {
        Err(D::Error::custom("health is a path such as \"/healthz\""))
    }
}

fn upstream<'de, D: Deserializer<'de>>(from: D) -> Result<Option<UpstreamAddress>, D::Error> {
    let text = String::deserialize(from)?;
    parse_upstream(&text).map(Some).map_err(D::Error::custom)
}

/// `http://127.0.0.1:9001`, or `h2c://…`
fn parse_upstream(text: &str) -> Result<UpstreamAddress, String> {
    let example =
        "write it like \"http://127.0.0.1:9001\", or \"h2c://127.0.0.1:9001\" for HTTP/2 and gRPC";
    // Read as http, whose hosts are looked at more strictly than those of a scheme nobody knows.
    let (protocol, as_http) = match text.strip_prefix("h2c://") {
        Some(rest) => (Protocol::H2c, format!("http://{rest}")),
        None => (Protocol::Http1, text.to_owned()),
    };
    let url = url::Url::parse(&as_http)
        .map_err(|_| format!("\"{text}\" is not an address: {example}"))?;
    if url.scheme() != "http" {
        return Err(format!(
            "an upstream is reached by plain http or h2c, not by {}: {example}",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("an upstream takes no user and password: {example}"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("an upstream takes no path: {example}"));
    }
    let host = match url.host() {
        Some(url::Host::Domain(name)) => name.to_owned(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        Some(url::Host::Ipv6(address)) => address.to_string(),
        None => return Err(format!("\"{text}\" names no host: {example}")),
    };
    Ok(UpstreamAddress {
        host,
        port: url.port().unwrap_or(80),
        protocol,
    })
}

fn tls<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tls>, D::Error> {
    struct Choice;
    impl<'de> Visitor<'de> for Choice {
        type Value = Option<Tls>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(r#""acme", "internal" or { cert = "…", key = "…" }"#)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            match text {
                "acme" => Ok(Some(Tls::Acme)),
                "internal" => Ok(Some(Tls::Internal)),
                other => Err(E::custom(format!(
                    r#""{other}" is not a source of certificates: write "acme", "internal" or {{ cert = "…", key = "…" }}"#
                ))),
            }
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Files {
                cert: PathBuf,
                key: PathBuf,
            }
            let files = Files::deserialize(de::value::MapAccessDeserializer::new(map))?;
            for path in [&files.cert, &files.key] {
                if !path.is_absolute() {
                    return Err(de::Error::custom(format!(
                        "\"{}\" is not a full path: begin it with /",
                        path.display()
                    )));
                }
            }
            Ok(Some(Tls::Files {
                cert: files.cert,
                key: files.key,
            }))
        }
    }
    from.deserialize_any(Choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f5_upstreams_are_plain_http_addresses() {
        let found = parse_upstream("http://127.0.0.1:9001").unwrap();
        assert_eq!(found.to_string(), "127.0.0.1:9001");
        assert_eq!(
            parse_upstream("http://[::1]:9/").unwrap().to_string(),
            "[::1]:9"
        );
        assert_eq!(
            parse_upstream("http://legacy").unwrap().to_string(),
            "legacy:80"
        );
        for (text, protocol) in [
            ("http://127.0.0.1:9001", Protocol::Http1),
            ("h2c://127.0.0.1:9001", Protocol::H2c),
            ("h2c://[::1]:9001/", Protocol::H2c),
            ("h2c://legacy", Protocol::H2c),
        ] {
            assert_eq!(parse_upstream(text).unwrap().protocol, protocol, "{text}");
        }
        for (text, shown) in [
            ("h2c://127.0.0.1:9001", "127.0.0.1:9001"),
            ("h2c://[::1]:9001/", "[::1]:9001"),
            ("h2c://legacy", "legacy:80"),
        ] {
            assert_eq!(parse_upstream(text).unwrap().to_string(), shown);
        }
        for bad in [
            "https://a",
            "h2c://a/b",
            "h2c://",
            "h2://a",
            "127.0.0.1:9001",
            "http://a/b",
            "http://u:p@a",
            "",
            "http://",
        ] {
            let error = parse_upstream(bad).unwrap_err();
            assert!(error.contains("http://127.0.0.1:9001"), "{bad}: {error}");
        }
    }
}
