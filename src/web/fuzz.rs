//! Fuzz targets of what browsers and programs send to the dashboard and the API.
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use futures_util::{FutureExt, stream};

use super::multipart::{Broken, Parts};
use super::page::{MOST, Names, Page, Whole};
use super::{auth, forgery, replay};

type Fields = Vec<(String, Vec<u8>)>;

/// The first byte cuts the body. What a form says does not depend on how it comes, and is in it; a form that was cut short
/// before its last mark is none.
pub fn multipart(data: &[u8]) {
    let [piece, body @ ..] = data else { return };
    let whole = form(body, body.len().max(1));
    assert_eq!(form(body, usize::from(*piece).max(1)), whole);
    let Ok(fields) = whole else { return };
    let length: usize = fields
        .iter()
        .map(|(name, content)| name.len() + content.len())
        .sum();
    // A name that is no text is written longer.
    assert!(length <= 3 * body.len());
    for (_, content) in &fields {
        let has = |wanted: &[u8]| content.windows(wanted.len()).any(|part| part == wanted);
        assert!(!has(b"\r\n--B7"), "a content has the mark in it");
    }
    let last = body.windows(6).rposition(|part| part == b"--B7--");
    if let Some(end) = last {
        let first = body.windows(6).position(|part| part == b"--B7--");
        assert!(first != last || form(&body[..end], 64).is_err());
    }
}

fn form(body: &[u8], piece: usize) -> Result<Fields, Broken> {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("multipart/form-data; boundary=B7"),
    );
    let pieces = body.chunks(piece).map(Bytes::copy_from_slice);
    let pieces = stream::iter(pieces.map(Ok::<_, String>).collect::<Vec<_>>());
    let read = async {
        let Some(mut parts) = Parts::of(&headers, pieces) else {
            panic!("its type is a form's");
        };
        let mut fields = Vec::new();
        while let Some(name) = parts.next().await? {
            let mut content = Vec::new();
            while let Some(piece) = parts.piece().await? {
                content.extend_from_slice(&piece);
            }
            fields.push((name, content));
        }
        Ok(fields)
    };
    read.now_or_never()
        .unwrap_or_else(|| panic!("it waits for what is there"))
}

/// A body of a form, urlencoded: its token is what the first field of that name says, as a reader of our own decodes it.
pub fn form_token(body: &[u8]) {
    const KIND: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, KIND)]);
    let given = forgery::in_form(&headers, &Bytes::copy_from_slice(body));
    let fields = body.split(|byte| *byte == b'&').map(|field| {
        let equals = field.iter().position(|byte| *byte == b'=');
        let (name, value) = field.split_at(equals.unwrap_or(field.len()));
        (
            decoded(name),
            decoded(value.strip_prefix(b"=").unwrap_or(value)),
        )
    });
    let mut named = fields.filter(|(name, _)| name == forgery::FIELD);
    assert_eq!(given, named.next().map(|(_, value)| value));
    // Nothing that calls itself something else is a form.
    assert_eq!(
        forgery::in_form(&HeaderMap::new(), &Bytes::copy_from_slice(body)),
        None
    );
}

fn decoded(text: &[u8]) -> String {
    let digit = |at: usize| {
        let byte = text.get(at).map(|byte| char::from(*byte));
        byte.and_then(|byte| byte.to_digit(16))
    };
    let (mut bytes, mut at) = (Vec::new(), 0);
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((16 * high + low) as u8);
                at += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            (byte, ..) => bytes.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A key is what was sent, whole, and in visible characters; anything else is refused, and never taken for no key.
pub fn idempotency_key(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert(replay::HEADER, value);
    let good = (1..=200).contains(&data.len()) && data.iter().all(u8::is_ascii_graphic);
    match replay::key_of(&request) {
        Ok(Some(key)) => assert!(good && key.as_bytes() == data),
        Ok(None) => panic!("a key is passed over"),
        Err(_) => assert!(!good),
    }
}

/// The lines are fields. A session or token that is read stands in a field of its own as it is, and reads the same there.
pub fn credentials(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(50) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(0));
        let name = HeaderName::from_bytes(name).unwrap_or(header::COOKIE);
        if let Ok(value) = HeaderValue::from_bytes(value.strip_prefix(b":").unwrap_or(value)) {
            headers.append(name, value);
        }
    }
    let alone = |name: HeaderName, value: String| {
        let value = HeaderValue::try_from(value).unwrap_or_else(|_| panic!("{name} is no field"));
        HeaderMap::from_iter([(name, value)])
    };
    if let Some(token) = auth::cookie(&headers, auth::COOKIE) {
        assert!(!token.contains(';') && token.is_ascii());
        let again = alone(header::COOKIE, format!("{}={token}", auth::COOKIE));
        assert_eq!(
            auth::cookie(&again, auth::COOKIE),
            Some(token.trim_end().to_owned())
        );
        // A name that is longer at either end is another's.
        assert_eq!(auth::cookie(&again, auth::HALF), None);
    }
    if let Some(token) = auth::bearer(&headers) {
        assert_eq!(token.trim(), token);
        let again = alone(header::AUTHORIZATION, format!("Bearer {token}"));
        assert_eq!(auth::bearer(&again), Some(token));
    }
    if super::forgery::is_own(&headers) {
        let said = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        match said("origin") {
            Some(origin) => {
                let host = said("host").unwrap_or_default();
                let own = [b"https://", host].concat();
                assert!(origin.eq_ignore_ascii_case(&own) && origin.starts_with(b"https"));
            }
            None => assert!(said("sec-fetch-site").is_some() || said("cookie").is_none()),
        }
    }
}

/// A query of a list. What one piece says as next is where the other begins: none is told twice, and none is left out.
pub fn cursor(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else {
        return;
    };
    let numbers: Vec<i64> = (1..=300).collect();
    if let Ok(page) = Page::parse(query) {
        let told = page.of(numbers.clone(), |number| *number);
        assert!(told.items.len() <= MOST as usize && told.items.is_sorted_by(|a, b| a > b));
        if let Some(next) = told.next {
            let rest = Page::of_cursor(&next).map(|page| page.of(numbers, |number| *number));
            let first = rest.ok().and_then(|rest| rest.items.first().copied());
            assert_eq!(first, told.items.last().map(|last| last - 1));
        }
    }
    let names: Vec<String> = (0..250).map(|number| format!("app-{number:03}")).collect();
    if let Ok(page) = Names::parse(query) {
        let told = page.of(names.clone(), String::as_str);
        assert!(told.items.len() <= MOST as usize && told.items.is_sorted());
        assert!(told.next.is_none() || told.next.as_ref() == told.items.last());
    }
    if let Ok(page) = Whole::parse(query) {
        assert!(page.of(names, String::as_str).items.is_sorted());
    }
}
