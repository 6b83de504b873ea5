//! Redirects: where a request is sent, if it is not there already.
use http::{HeaderValue, StatusCode, Uri};

use crate::base::policies;
use crate::proxy::host::Host;

#[derive(Debug)]
pub(super) struct Redirect {
    /// Lower case.
    host: Option<String>,
    /// Without a slash at its end: empty for all.
    path: String,
    to: String,
    status: StatusCode,
    keep: bool,
}

impl Redirect {
    pub(super) fn new(from: &policies::Redirect) -> Redirect {
        let host = from.host.as_deref();
        Redirect {
            host: host.map(|host| host.trim_end_matches('.').to_ascii_lowercase()),
            path: from.path.trim_end_matches('/').to_owned(),
            to: from.to.clone(),
            status: StatusCode::from_u16(from.status).unwrap_or(StatusCode::PERMANENT_REDIRECT),
            keep: from.keep,
        }
    }

    /// Status and place, where the request is this one's and not there already.
    pub(super) fn applied(
        &self,
        host: &Host,
        https: bool,
        uri: &Uri,
    ) -> Option<(StatusCode, HeaderValue)> {
        if self.host.as_ref().is_some_and(|own| *own != host.name) {
            return None;
        }
        let path = match uri.path() {
            "*" => "/",
            path => path,
        };
        let rest = path.strip_prefix(&*self.path)?;
        if !(rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        let base = match https {
            true => "https://",
            false => "http://",
        };
        let here = format!("{base}{}", host.written);
        // Always a whole address: what is kept of the path could otherwise begin with two slashes, another host's.
        let mut place = match self.to.starts_with('/') {
            true => format!("{here}{}", self.to),
            false => self.to.clone(),
        };
        if self.keep {
            place.truncate(place.trim_end_matches('/').len());
            place.push_str(rest);
            if let Some(query) = uri.query() {
                place.push('?');
                place.push_str(query);
            }
        }
        let asked = uri.path_and_query().map_or(path, |whole| whole.as_str());
        if is_same(&place, &format!("{here}{asked}")) {
            return None;
        }
        Some((self.status, HeaderValue::try_from(place).ok()?))
    }
}

/// Whether two addresses lead to the same place: scheme and host in any case, usual ports and an empty path left out.
fn is_same(one: &str, other: &str) -> bool {
    let cut = |address: &str| {
        let (scheme, rest) = address.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let host = authority.strip_suffix(usual).unwrap_or(authority);
        let path = path.split('#').next().unwrap_or_default();
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        Some((scheme.to_owned(), host.to_ascii_lowercase(), path))
    };
    cut(one).is_some_and(|one| cut(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(rule: &str, address: &str) -> Option<String> {
        let redirect = Redirect::new(&toml::from_str(rule).unwrap());
        let uri: Uri = address.parse().unwrap();
        let request = http::Request::builder()
            .uri(address)
            .version(http::Version::HTTP_2)
            .body(())
            .unwrap();
        let host = Host::of(&request.into_parts().0).unwrap();
        let asked = uri.path_and_query().unwrap().as_str().parse().unwrap();
        let (status, place) = redirect.applied(&host, uri.scheme_str() == Some("https"), &asked)?;
        Some(format!("{} {}", status.as_u16(), place.to_str().unwrap()))
    }

    #[test]
    fn e6_www_to_apex_and_back_and_never_where_one_is_already() {
        let apex = "to = \"https://a.test\"";
        assert_eq!(
            sent(apex, "https://www.a.test/x?y=1").unwrap(),
            "308 https://a.test/x?y=1"
        );
        assert_eq!(
            sent(apex, "http://a.test/x").unwrap(),
            "308 https://a.test/x"
        );
        for there in [
            "https://a.test/",
            "https://A.test/x?y",
            "https://a.test:443/x",
        ] {
            assert_eq!(sent(apex, there), None, "{there}");
        }
        let www = "host = \"A.test\"\nto = \"https://www.a.test/\"\nstatus = 301";
        assert_eq!(
            sent(www, "https://a.TEST/").unwrap(),
            "301 https://www.a.test/"
        );
        assert_eq!(sent(www, "https://www.a.test/"), None);
        assert_eq!(sent(www, "https://b.test/"), None);
    }

    #[test]
    fn e6_a_path_is_sent_elsewhere_with_what_is_below_it() {
        let old = "path = \"/old\"\nto = \"/new\"";
        assert_eq!(
            sent(old, "https://a.test/old").unwrap(),
            "308 https://a.test/new"
        );
        assert_eq!(
            sent(old, "https://a.test/old/b?c").unwrap(),
            "308 https://a.test/new/b?c"
        );
        assert_eq!(sent(old, "https://a.test/older"), None);
        assert_eq!(sent(old, "https://a.test/new"), None);
        let fixed = "path = \"/old\"\nto = \"/new?x#y\"\nstatus = 302\nkeep = false";
        assert_eq!(
            sent(fixed, "https://a.test/old/b?c").unwrap(),
            "302 https://a.test/new?x#y"
        );
        let root = "path = \"/a\"\nto = \"/a/b\"\nkeep = false";
        assert_eq!(sent(root, "https://a.test/a/b"), None);
    }

    #[test]
    fn e6_nothing_that_is_kept_leads_to_a_strangers_host() {
        let root = "path = \"/old\"\nto = \"/\"";
        assert_eq!(
            sent(root, "https://a.test/old//evil.test").unwrap(),
            "308 https://a.test//evil.test"
        );
        let other = "to = \"https://b.test\"";
        assert_eq!(
            sent(other, "https://a.test//evil.test").unwrap(),
            "308 https://b.test//evil.test"
        );
        assert_eq!(
            sent(other, "https://a.test/@evil.test").unwrap(),
            "308 https://b.test/@evil.test"
        );
    }
}
