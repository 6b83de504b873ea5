//! Fuzz targets of what a client asks of a folder of files: the path, and the conditions on the file.
use std::path::{Component, Path};

use http::Method;
use http::header;

use super::conditions::{Judged, Validators, judge, second};
use super::names;
use super::place::{Place, place};
use crate::proxy::fuzz::fields;

/// The first byte chooses the method and the file's length, the lines are fields. What is served of a file lies in it, and
/// every verdict has a field that asked for it.
pub fn file_conditions(data: &[u8]) {
    let [choice, lines @ ..] = data else { return };
    let length = match choice >> 1 & 3 {
        0 => 0,
        1 => 1,
        2 => 1_000,
        _ => u64::MAX,
    };
    let headers = fields(lines, "range");
    let of = Validators {
        etag: "\"abc\"",
        modified: second(784_111_777),
    };
    let has = |name| headers.contains_key(name);
    let got = judge(&Method::GET, &headers, &of, length);
    match got {
        Judged::Part(first, last) => assert!(first <= last && last < length && has(header::RANGE)),
        Judged::Unsatisfiable => assert!(has(header::RANGE)),
        Judged::NotModified => {
            assert!(has(header::IF_NONE_MATCH) || has(header::IF_MODIFIED_SINCE));
        }
        Judged::Failed => assert!(has(header::IF_MATCH) || has(header::IF_UNMODIFIED_SINCE)),
        Judged::Whole => {}
    }
    // A range is the last thing that is looked at, and of GET alone.
    let asked = if choice & 1 == 0 {
        judge(&Method::HEAD, &headers, &of, length)
    } else {
        let mut without = headers.clone();
        without.remove(header::RANGE);
        judge(&Method::GET, &without, &of, length)
    };
    let whole = match got {
        Judged::Part(..) | Judged::Unsatisfiable => Judged::Whole,
        other => other,
    };
    assert_eq!(asked, whole, "{headers:?}");
    let shown = headers.get_all(header::IF_NONE_MATCH).iter();
    if shown.into_iter().any(|tag| tag == of.etag) {
        assert!(matches!(whole, Judged::NotModified | Judged::Failed));
    }
}

/// The first byte chooses the route's prefix. A path that leads anywhere leads to a plain name below the folder, and
/// that name, written in escapes alone, leads there too.
pub fn file_path(data: &[u8]) {
    let [choice, path @ ..] = data else { return };
    let prefix = match choice & 1 {
        0 => "/",
        _ => "/docs",
    };
    let Ok(path) = std::str::from_utf8(path) else {
        return;
    };
    let Ok(found) = place(path, prefix) else {
        return;
    };
    let Place { name, is_folder } = &found;
    let parts: Vec<_> = Path::new(name).components().collect();
    assert!(
        parts
            .iter()
            .all(|part| matches!(part, Component::Normal(_)))
    );
    let plain = parts.iter().map(|part| part.as_os_str().to_string_lossy());
    assert_eq!(plain.collect::<Vec<_>>().join("/"), *name);
    assert!(!name.contains('\0') && !names::content_type(name).is_empty());
    let _either = names::holds_a_hash(name);

    let mut escaped = prefix.trim_end_matches('/').to_owned();
    if !name.is_empty() {
        for part in name.split('/') {
            escaped.push('/');
            part.bytes()
                .for_each(|byte| escaped.push_str(&format!("%{byte:02x}")));
        }
    }
    if *is_folder {
        escaped.push('/');
    }
    assert_eq!(place(&escaped, prefix), Ok(found), "{path:?}");
}
