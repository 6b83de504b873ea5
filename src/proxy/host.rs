//! Host: the name a request is for, from `:authority` or `Host`, where there is exactly one and it is well-formed.
use std::net::IpAddr;

use http::header;
use http::request::Parts;

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
            (Some(authority), Some(field)) if !authority.as_str().eq_ignore_ascii_case(field) => {
                return Err(EdgeError::BadRequest(
                    "its Host and the host of its address differ",
                ));
            }
            (Some(authority), _) => authority.as_str(),
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
