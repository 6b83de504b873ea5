//! Doubt: paths that apps read in other ways than a route's prefix does.
//!
//! A prefix is compared with the bytes of a path. An app may decode them, take `//` for `/`, `\` for `/` and `/A` for
//! `/a`, walk back over `..` and leave out what stands behind a `;`, in whichever order its parts do that. Where any of
//! these readings leads to another route of the host, and access is limited on one, the request is refused: nobody can say
//! whose limits were meant.
use percent_encoding::percent_decode_str;

/// Decoded so often; what is coded more deeply is as it is for every app that decodes once.
const ROUNDS: usize = 2;

/// Readings that are followed, and bytes of all of them: a millisecond's work. A path that has more was made to have them,
/// and is in doubt.
const READINGS: usize = 48;
const BYTES: usize = 64 << 10;

/// Whether another reading of the path is found elsewhere than the path itself.
pub(in crate::proxy) fn leads_elsewhere<T: PartialEq>(
    path: &str,
    found: &T,
    find: impl Fn(&str) -> T,
) -> bool {
    if is_plain(path) {
        return false;
    }
    // Each with how often it may still be decoded. What comes of one by one more step is put behind it.
    let mut readings = vec![(path.to_owned(), ROUNDS)];
    let (mut next, mut bytes) = (0, path.len());
    while let Some((text, rounds)) = readings.get(next).cloned() {
        if find(&text) != *found {
            return true;
        }
        next += 1;
        let decoded = match rounds.checked_sub(1) {
            Some(left) => (percent_decode_str(&text).decode_utf8_lossy().into(), left),
            None => (text.clone(), 0),
        };
        let steps = [
            (text.replace('\\', "/"), rounds),
            (without_parameters(&text), rounds),
            (cut(&text), rounds),
            (merged(&text), rounds),
            (walked(&text), rounds),
            decoded,
        ];
        for (text, rounds) in steps {
            let is_known = |known: &(String, usize)| known.1 >= rounds && known.0 == text;
            if !readings.iter().any(is_known) {
                bytes += text.len();
                readings.push((text, rounds));
            }
        }
        if readings.len() > READINGS || bytes > BYTES {
            return true;
        }
    }
    false
}

/// Whether everybody reads a path alike.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let doubtful = matches!(byte, b'%' | b'\\' | b';' | b'A'..=b'Z')
            || before == b'/' && matches!(byte, b'/' | b'.');
        before = byte;
        !doubtful
    })
}

/// The path up to what ends one, once it is decoded.
fn cut(path: &str) -> String {
    let path = path.split(['?', '#', '\0']).next();
    path.unwrap_or_default().to_owned()
}

/// The path without what stands behind a `;` in its segments.
fn without_parameters(path: &str) -> String {
    let bare = path
        .split('/')
        .map(|part| part.split(';').next().unwrap_or_default());
    bare.collect::<Vec<_>>().join("/")
}

/// The path without empty segments.
fn merged(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty());
    format!("/{}", parts.collect::<Vec<_>>().join("/"))
}

/// The path with `.` and `..` walked (RFC 3986, 5.2.4), empty segments counting.
fn walked(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Routes `/admin` and `/`, as a table finds them when it ignores case.
    fn find(path: &str) -> bool {
        let lower = path.to_ascii_lowercase();
        lower == "/admin" || lower.starts_with("/admin/")
    }

    #[test]
    fn e6_a_path_that_an_app_may_read_as_another_routes_is_in_doubt() {
        for path in [
            "//admin",
            "/./admin",
            "/x/../admin",
            "/x//../admin",
            "/x/%2e%2E/admin",
            "/x%2f..%2Fadmin",
            "/%61dmin",
            "/%2561dmin",
            "/x/..%252fadmin",
            "/\\admin",
            "/x/..\\admin",
            "/x/..%5cadmin",
            "/Admin",
            "/admin;a=1",
            "/admin%3fx",
            "/admin%23",
            "/admin%00.html",
            "/admin;/x",
            "/x;/..;/admin",
            "/%41DMIN/",
            "/admin%2f..%2fx/../../admin",
            // A backslash that is part of a name, and parameters that are left out before all is decoded, as Tomcat does.
            "/x\\y/../admin",
            "/x/%2e%2e;%2fy/admin",
            "/x;%2f../%61dmin",
            // Walked before empty segments are left out.
            "//admin//../x",
        ] {
            // Led by its bytes to `/`.
            assert!(leads_elsewhere(path, &false, find), "{path}");
        }
        for path in [
            "/admin/../x",
            "/admin/%2e%2e/x",
            "/admin/..%2fx",
            "/admin//../../x",
        ] {
            // Led by its bytes to `/admin`.
            assert!(leads_elsewhere(path, &true, find), "{path}");
        }
    }

    #[test]
    fn e6_what_every_reading_leads_to_the_same_route_is_served() {
        for path in [
            "/",
            "/x",
            "/a%2Fb",
            "/x//y",
            "/X;a/./b",
            "/administrator",
            "/x/admin",
            "/.well-known/x",
            "/%25",
        ] {
            assert!(!leads_elsewhere(path, &false, find), "{path}");
        }
        for path in [
            "/admin",
            "/admin/",
            "/admin/a%2Fb",
            "/admin//x",
            "/admin/x/..",
            "/admin/X",
        ] {
            assert!(!leads_elsewhere(path, &true, find), "{path}");
        }
    }

    use proptest::prelude::*;

    /// `/admin/x` as somebody may write it who wants it not to be known: each letter and slash in one of its forms.
    fn disguised() -> impl Strategy<Value = String> {
        let letter = |letter: char| {
            let coded = format!("%{:02X}", letter as u32);
            prop_oneof![
                3 => Just(letter.to_string()),
                1 => Just(letter.to_ascii_uppercase().to_string()),
                1 => Just(coded.to_lowercase()),
                1 => Just(coded.replace('%', "%25")),
            ]
        };
        let slash = || {
            prop_oneof![
                3 => Just("/"), 1 => Just("//"), 1 => Just("/./"), 1 => Just("/y/../"), 1 => Just("%2f"),
                1 => Just("/%2e/"), 1 => Just("\\"), 1 => Just("/y%2F..%2f"), 1 => Just("/;/"), 1 => Just("/y;z/..;/"),
            ]
        };
        let word: Vec<_> = "admin".chars().map(letter).collect();
        (slash(), word, slash(), "[a-z]{0,3}").prop_map(|(first, word, second, last)| {
            format!("/{first}{}{second}{last}", word.concat())
        })
    }

    proptest! {
        #[test]
        fn e6_no_disguise_leads_around_a_guarded_path(path in disguised()) {
            // Led by its bytes to the guard, or seen through.
            let guarded = path == "/admin" || path.starts_with("/admin/");
            prop_assert!(guarded || leads_elsewhere(&path, &false, find), "{}", path);
        }

        #[test]
        fn e6_any_path_is_judged_in_bounded_work(path in "/[ -~]{0,200}") {
            let looked = std::cell::Cell::new(0);
            leads_elsewhere(&path, &0, |_| { looked.set(looked.get() + 1); 0 });
            prop_assert!(looked.get() <= READINGS);
        }
    }
}
