//! Place: the path of a request as the name of a file below the folder. Pure.
//!
//! Invariant: what comes out is `a/b/c`: no empty part, no `.`, no `..`, no slash that was not one in the request. It is
//! only ever looked up among the names that the manifest has.

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Without a slash at either end; empty for the folder itself.
    pub(super) name: String,
    /// The path ends with a slash.
    pub(super) is_folder: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// The request is refused, with the reason.
    Malformed(&'static str),
    /// No file has such a name.
    Nowhere,
}

/// The place of a path that lies under the route's prefix.
pub(super) fn place(path: &str, prefix: &str) -> Result<Place, Astray> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let rest = path.strip_prefix(prefix).ok_or(Astray::Nowhere)?;
    let Some(rest) = rest.strip_prefix('/') else {
        return Ok(Place {
            name: String::new(),
            is_folder: false,
        });
    };
    let mut name = String::with_capacity(rest.len());
    let mut empty = false;
    for part in rest.split('/') {
        // An empty part is the slash at the end, and nothing comes behind that.
        if empty {
            return Err(Astray::Nowhere);
        }
        let decoded = decoded(part)?;
        if decoded == "." || decoded == ".." {
            return Err(Astray::Malformed("its path has dot segments"));
        }
        empty = decoded.is_empty();
        if !name.is_empty() && !empty {
            name.push('/');
        }
        name.push_str(&decoded);
    }
    Ok(Place {
        name,
        is_folder: empty,
    })
}

fn decoded(part: &str) -> Result<String, Astray> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => return Err(Astray::Malformed("its path has a malformed escape")),
            },
            (b'%', _) => return Err(Astray::Malformed("its path has a malformed escape")),
            (byte, after) => (*byte, after),
        };
        match byte {
            b'/' => return Err(Astray::Malformed("its path has an escaped slash")),
            0 => return Err(Astray::Malformed("its path has a NUL")),
            byte => bytes.push(byte),
        }
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| Astray::Malformed("its path is not UTF-8"))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn e6_a_path_is_the_name_of_a_file_or_it_is_refused() {
        let file = |name: &str| {
            Ok(Place {
                name: name.into(),
                is_folder: false,
            })
        };
        let folder = |name: &str| {
            Ok(Place {
                name: name.into(),
                is_folder: true,
            })
        };
        let malformed = |what| Err(Astray::Malformed(what));
        let (dots, escape, slash) = (
            "its path has dot segments",
            "its path has a malformed escape",
            "its path has an escaped slash",
        );
        for (path, place_of) in [
            ("/", folder("")),
            ("/a", file("a")),
            ("/a/", folder("a")),
            ("/a/b.txt", file("a/b.txt")),
            ("/a%20b/%C3%A9", file("a b/é")),
            ("/a+b", file("a+b")),
            ("/a\\b", file("a\\b")),
            ("/..%5c..%5cb", file("..\\..\\b")),
            ("/...", file("...")),
            ("//", Err(Astray::Nowhere)),
            ("//a", Err(Astray::Nowhere)),
            ("/a//b", Err(Astray::Nowhere)),
            ("/a//", Err(Astray::Nowhere)),
            ("/.", malformed(dots)),
            ("/a/../b", malformed(dots)),
            ("/%2e%2E/b", malformed(dots)),
            ("/a/.%2e", malformed(dots)),
            ("/a%2fb", malformed(slash)),
            ("/..%2F..%2Fetc", malformed(slash)),
            ("/a%00.html", malformed("its path has a NUL")),
            ("/%", malformed(escape)),
            ("/%2", malformed(escape)),
            ("/%zz", malformed(escape)),
            ("/%u002e", malformed(escape)),
            ("/%252e%252e", file("%2e%2e")),
            ("/%ff", malformed("its path is not UTF-8")),
            ("/%c0%ae%c0%ae", malformed("its path is not UTF-8")),
        ] {
            assert_eq!(place(path, "/"), place_of, "{path}");
        }
        assert_eq!(place("/docs", "/docs"), file(""));
        assert_eq!(place("/docs/", "/docs"), folder(""));
        assert_eq!(place("/docs/a", "/docs"), file("a"));
    }

    proptest! {
        #[test]
        fn e6_no_path_whatever_leads_out_of_the_folder(path in "/([a.%/2eEfF5c0\\\\é]|%2e|%2f|%5c|%00|\\.\\./){0,12}") {
            if let Ok(place) = place(&path, "/") {
                prop_assert!(!place.name.starts_with('/') && !place.name.ends_with('/'), "{}", place.name);
                prop_assert!(!place.name.contains('\0'));
                for part in place.name.split('/').filter(|_| !place.name.is_empty()) {
                    prop_assert!(!matches!(part, "" | "." | ".."), "{path} is {}", place.name);
                }
                let slashes = path.trim_end_matches('/').matches('/').count();
                prop_assert_eq!(place.name.matches('/').count(), slashes.saturating_sub(1));
            }
        }
    }
}
