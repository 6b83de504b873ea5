//! Host: the name a request is for, from `:authority` or `Host`, where there is exactly one and it is well-formed.
use std::net::IpAddr;

use http::request::Parts;
use http::{Version, header};

use super::error::EdgeError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// As the client wrote it, port included: what the app is told.
    pub(super) written: String,
    /// Lower case, without port, brackets kept around an IPv6 address.
    pub(super) name: String,
}

impl Host {
    pub(super) fn of(parts: &Parts) -> Result<Host, EdgeError> {
        let mut fields = parts.headers.get_all(header::HOST).iter();
        let field = match (fields.next(), fields.next()) {
            (_, Some(_)) => return Err(EdgeError::BadRequest("it has several Host fields")),
            (Some(value), None) => Some(
                value
                    .to_str()
                    .map_err(|_| EdgeError::BadRequest("its Host is malformed"))?,
            ),
            (None, None) => None,
        };
        let written = match (parts.uri.authority(), field) {
            (Some(authority), Some(field)) => {
                let scheme = parts.uri.scheme_str();
                if without_usual_port(authority.as_str(), scheme)
                    .eq_ignore_ascii_case(without_usual_port(field, scheme))
                {
                    authority.as_str()
                } else {
                    return Err(EdgeError::BadRequest(
                        "its Host and the host of its address differ",
                    ));
                }
            }
            // In an address of HTTP/1.1 the host does not stand for the field (RFC 9112, 3.2).
            (Some(_), None) if parts.version == Version::HTTP_11 => {
                return Err(EdgeError::BadRequest("it has no Host"));
            }
            (Some(authority), None) => authority.as_str(),
            (None, Some(field)) => field,
            (None, None) => return Err(EdgeError::BadRequest("it has no Host")),
        };
        let name = parse(written).ok_or(EdgeError::BadRequest("its Host is malformed"))?;
        Ok(Host {
            written: written.to_owned(),
            name,
        })
    }

    /// Whether the client named a port: then it came to the door itself, not through a port mapped from the usual one.
    pub(super) fn has_port(&self) -> bool {
        self.written
            .rsplit(']')
            .next()
            .is_some_and(|rest| rest.contains(':'))
    }

    /// The address, if the host is one and not a name.
    pub(super) fn is_address(&self) -> bool {
        let bare = self
            .name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(&self.name);
        bare.parse::<IpAddr>().is_ok()
    }
}

/// An authority without the port that its scheme has anyway (RFC 9110, 4.2.3).
fn without_usual_port<'a>(authority: &'a str, scheme: Option<&str>) -> &'a str {
    let usual = match scheme {
        Some("http") => ":80",
        Some("https") => ":443",
        _ => ":",
    };
    authority.strip_suffix(usual).unwrap_or(authority)
}

/// The name in an authority without user, or nothing. Only characters of names and addresses pass.
pub(super) fn parse(authority: &str) -> Option<String> {
    if authority.is_empty() || authority.len() > 300 {
        return None;
    }
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            rest[..end].parse::<std::net::Ipv6Addr>().ok()?;
            (&authority[..end + 2], &rest[end + 1..])
        }
        None => match authority.find(':') {
            Some(colon) => authority.split_at(colon),
            None => (authority, ""),
        },
    };
    let port_is_well = port.is_empty()
        || (port.starts_with(':') && port[1..].bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.strip_suffix('.').unwrap_or(name);
    let labels_are_well = name.split('.').all(|label| !label.is_empty());
    let well = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':')
    };
    (port_is_well && labels_are_well && name.bytes().all(well)).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str, field: &str) -> Result<Host, EdgeError> {
        let request = http::Request::builder()
            .uri(address)
            .header(header::HOST, field)
            .body(())
            .unwrap();
        Host::of(&request.into_parts().0)
    }

    #[test]
    fn e3_a_host_is_the_same_with_the_port_its_scheme_has_anyway() {
        for (address, field) in [
            ("https://tasks.test/", "tasks.test:443"),
            ("https://tasks.test:443/", "Tasks.test"),
            ("http://tasks.test/", "tasks.test:80"),
            ("http://[::1]:80/", "[::1]"),
            ("http://tasks.test:8080/", "tasks.test:8080"),
        ] {
            assert!(of(address, field).is_ok(), "{address} {field}");
        }
        for (address, field) in [
            ("https://tasks.test/", "tasks.test:80"),
            ("http://tasks.test/", "tasks.test:443"),
            ("http://tasks.test:8080/", "tasks.test"),
            ("http://tasks.test/", "tasks.test:8080"),
            ("http://tasks.test/", "other.test"),
            ("http://[::80]/", "[:"),
        ] {
            assert!(of(address, field).is_err(), "{address} {field}");
        }
    }

    #[test]
    fn f5_names_are_read_without_port_case_and_dot() {
        for (authority, name) in [
            ("Tasks.Test:8443", Some("tasks.test")),
            ("tasks.test.", Some("tasks.test")),
            ("[::1]:443", Some("[::1]")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("", None),
            (".", None),
            ("tasks..test", None),
            ("tasks.test..", None),
            (".tasks.test", None),
            ("a@b", None),
            ("a b", None),
            ("a/b", None),
            ("a:b", None),
            ("[::1", None),
            ("[nonsense]", None),
            ("a\"b", None),
        ] {
            assert_eq!(parse(authority).as_deref(), name, "{authority}");
        }
    }
}
