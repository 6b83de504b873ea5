//! The route's path taken off a request's address.
use http::Uri;

use crate::proxy::error::EdgeError;

/// What is left of the address behind the prefix, from the root; nothing where nothing is to be taken off.
///
/// # Errors
/// Where two slashes would begin it: that is another host to some.
pub(super) fn stripped(prefix: &str, uri: &Uri) -> Result<Option<String>, EdgeError> {
    let whole = uri.path_and_query().map_or("/", |path| path.as_str());
    let Some(rest) = whole.strip_prefix(prefix).filter(|_| prefix != "/") else {
        return Ok(None);
    };
    match rest.as_bytes() {
        [b'/', b'/' | b'\\', ..] => Err(EdgeError::PathDoubtful),
        [b'/', ..] => Ok(Some(rest.to_owned())),
        [] | [b'?', ..] => Ok(Some(format!("/{rest}"))),
        // Not at the end of a segment: no route of this prefix.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e6_a_prefix_is_taken_off_at_a_segments_end_alone() {
        let of = |path: &str| stripped("/api", &path.parse().unwrap()).map_err(|_| ());
        let left = |path: &str| Ok(Some(path.to_owned()));
        assert_eq!(of("/api"), left("/"));
        assert_eq!(of("/api/"), left("/"));
        assert_eq!(of("/api?a=/api"), left("/?a=/api"));
        assert_eq!(of("/api/api/x?b"), left("/api/x?b"));
        assert_eq!(of("/api/a%2Fb"), left("/a%2Fb"));
        assert_eq!(of("/apix"), Ok(None));
        assert_eq!(of("/API/x"), Ok(None));
        assert_eq!(of("/api//evil.test/"), Err(()));
        assert_eq!(
            stripped("/", &"/x".parse().unwrap()).map_err(|_| ()),
            Ok(None)
        );
    }
}
