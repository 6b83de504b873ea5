//! Decisions about single answers; whole ones are in tests/proxy/compress.rs.
use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn asked(
    rules: Compress,
    method: Method,
    fields: &[(&'static str, &'static str)],
) -> (Asked, HeaderMap) {
    let (mut parts, ()) = http::Request::builder()
        .method(method)
        .body(())
        .unwrap()
        .into_parts();
    parts.headers = headers(fields);
    parts.headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("gzip, br, zstd"),
    );
    let asked = Asked::of(&Arc::new(Compression::new(rules)), &mut parts);
    (asked, parts.headers)
}

#[test]
fn e6_only_whole_uncoded_answers_of_fitting_length_and_type_are_compressed() {
    use Decision::*;
    const ZSTD: Decision = Compress(ContentCoding::Zstd);
    let html = [("content-type", "text/html; charset=utf-8")];
    let decide = |method: Method, request: &[_], status: u16, answer: &[_], length| {
        let (asked, _) = asked(super::Compress::default(), method, request);
        let mut answer = headers(answer);
        if !answer.contains_key("content-type") {
            answer.extend(headers(&html));
        }
        asked.decide(
            StatusCode::from_u16(status).unwrap(),
            &answer,
            length,
            false,
        )
    };
    for (what, decision, expected) in [
        (
            "a page",
            decide(Method::GET, &[], 200, &[], Some(1_024)),
            ZSTD,
        ),
        (
            "the most",
            decide(Method::POST, &[], 201, &[], Some(MOST)),
            ZSTD,
        ),
        (
            "a page not found",
            decide(Method::GET, &[], 404, &[], Some(2_000)),
            ZSTD,
        ),
        (
            "too short",
            decide(Method::GET, &[], 200, &[], Some(1_023)),
            Leave,
        ),
        (
            "too long",
            decide(Method::GET, &[], 200, &[], Some(MOST + 1)),
            Leave,
        ),
        (
            "one that may be a stream",
            decide(Method::GET, &[], 200, &[], None),
            ZSTD,
        ),
        (
            "one that is",
            decide(
                Method::GET,
                &[],
                200,
                &[("content-type", "text/event-stream")],
                None,
            ),
            Leave,
        ),
        (
            "a part",
            decide(
                Method::GET,
                &[],
                206,
                &[("content-range", "bytes 0-9/10")],
                Some(2_000),
            ),
            Leave,
        ),
        (
            "a redirect",
            decide(Method::GET, &[], 302, &[], Some(2_000)),
            Leave,
        ),
        (
            "an error of the app",
            decide(Method::GET, &[], 500, &[], Some(2_000)),
            Leave,
        ),
        (
            "coded",
            decide(
                Method::GET,
                &[],
                200,
                &[("content-encoding", "gzip")],
                Some(2_000),
            ),
            Leave,
        ),
        (
            "identity",
            decide(
                Method::GET,
                &[],
                200,
                &[("content-encoding", "identity")],
                Some(2_000),
            ),
            ZSTD,
        ),
        (
            "not to be changed",
            decide(
                Method::GET,
                &[],
                200,
                &[("cache-control", "public, No-Transform")],
                Some(2_000),
            ),
            Leave,
        ),
        (
            "with a digest",
            decide(
                Method::GET,
                &[],
                200,
                &[("content-digest", "sha-256=:AA==:")],
                Some(2_000),
            ),
            Leave,
        ),
        (
            "with trailers",
            decide(Method::GET, &[], 200, &[("trailer", "x-sum")], Some(2_000)),
            Leave,
        ),
        (
            "an image",
            decide(
                Method::GET,
                &[],
                200,
                &[("content-type", "image/png")],
                Some(2_000),
            ),
            Leave,
        ),
        (
            "events",
            decide(
                Method::GET,
                &[],
                200,
                &[("content-type", "text/event-stream")],
                Some(2_000),
            ),
            Leave,
        ),
        (
            "gRPC",
            decide(
                Method::POST,
                &[],
                200,
                &[("content-type", "application/grpc+json")],
                Some(2_000),
            ),
            Leave,
        ),
        (
            "JSON",
            decide(
                Method::GET,
                &[],
                200,
                &[("content-type", "application/problem+json")],
                Some(2_000),
            ),
            ZSTD,
        ),
        (
            "a picture in XML",
            decide(
                Method::GET,
                &[],
                200,
                &[("content-type", "image/svg+xml")],
                Some(2_000),
            ),
            ZSTD,
        ),
        (
            "a head",
            decide(Method::HEAD, &[], 200, &[], Some(2_000)),
            ZSTD,
        ),
        (
            "by our own cookie",
            decide(
                Method::GET,
                &[("cookie", "freehold-replica=00000000000000ff")],
                200,
                &[("set-cookie", "freehold-replica=00000000000000ff; Path=/")],
                Some(2_000),
            ),
            ZSTD,
        ),
        (
            "with another beside our own",
            decide(
                Method::GET,
                &[],
                200,
                &[
                    ("set-cookie", "freehold-replica=00000000000000ff; Path=/"),
                    ("set-cookie", "session=1"),
                ],
                Some(2_000),
            ),
            AsItIs,
        ),
        (
            "a range",
            decide(
                Method::GET,
                &[("range", "bytes=0-9")],
                200,
                &[],
                Some(2_000),
            ),
            AsItIs,
        ),
        (
            "asked for unchanged",
            decide(
                Method::GET,
                &[("cache-control", "no-transform")],
                200,
                &[],
                Some(2_000),
            ),
            AsItIs,
        ),
        (
            "takes nothing",
            decide(Method::GET, &[("cookie", "a=1")], 200, &[], Some(2_000)),
            AsItIs,
        ),
        (
            "sets a cookie",
            decide(Method::GET, &[], 200, &[("set-cookie", "a=1")], Some(2_000)),
            AsItIs,
        ),
        (
            "sets one for all",
            decide(
                Method::GET,
                &[],
                200,
                &[("set-cookie", "a=1"), ("cache-control", "public")],
                Some(2_000),
            ),
            AsItIs,
        ),
        (
            "for somebody known",
            decide(
                Method::GET,
                &[("authorization", "Bearer x")],
                200,
                &[],
                Some(2_000),
            ),
            AsItIs,
        ),
        (
            "for everybody",
            decide(
                Method::GET,
                &[("cookie", "a=1")],
                200,
                &[("cache-control", "max-age=60, public")],
                Some(2_000),
            ),
            ZSTD,
        ),
    ] {
        assert_eq!(decision, expected, "{what}");
    }
}

#[test]
fn e6_the_policy_chooses_codings_types_and_what_has_cookies() {
    let rules = Compress {
        codings: vec![Coding::Gzip, Coding::Br],
        types: vec!["application/*".into(), "text/csv".into()],
        min_bytes: 64,
        with_cookies: true,
    };
    let (asked, _) = asked(rules, Method::GET, &[("cookie", "a=1")]);
    let decide = |kind| {
        let answer = headers(&[("content-type", kind), ("set-cookie", "b=2")]);
        asked.decide(StatusCode::OK, &answer, Some(64), false)
    };
    let gzip = Decision::Compress(ContentCoding::Gzip);
    assert_eq!(decide("application/x-own"), gzip);
    assert_eq!(decide("Text/CSV;header=present"), gzip);
    assert_eq!(decide("text/html"), Decision::Leave);
    assert_eq!(decide("application/grpc"), Decision::Leave);
}

#[test]
fn e6_a_tag_that_was_made_weak_is_known_again_both_ways() {
    for (shown, passed_on) in [
        (r#"W/"a""#, r#"W/"a", "a""#),
        (
            r#""x", W/"a,b" , W/"c""#,
            r#""x", W/"a,b" , W/"c", "a,b", "c""#,
        ),
        (r#""a""#, r#""a""#),
        ("*", "*"),
        (r#"W/"a"#, r#"W/"a"#),
    ] {
        let (_, sent) = asked(
            Compress::default(),
            Method::GET,
            &[("if-none-match", shown)],
        );
        let lines: Vec<_> = sent
            .get_all("if-none-match")
            .iter()
            .map(|line| line.to_str().unwrap())
            .collect();
        assert_eq!(lines.join(", "), passed_on);
    }
    for (shown, told, expected) in [
        (r#"W/"a""#, r#""a""#, r#"W/"a""#),
        (r#""a""#, r#""a""#, r#""a""#),
        (r#"W/"b""#, r#""a""#, r#""a""#),
        (r#"W/"a""#, r#"W/"a""#, r#"W/"a""#),
    ] {
        let (asked, _) = asked(
            Compress::default(),
            Method::GET,
            &[("if-none-match", shown)],
        );
        let mut answer = headers(&[("etag", told)]);
        asked.recall(&mut answer);
        assert_eq!(answer[header::ETAG], expected, "{shown}");
        assert_eq!(answer[header::VARY], "accept-encoding");
    }
}
