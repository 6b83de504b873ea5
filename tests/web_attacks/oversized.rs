//! Too much of everything: headers, bodies without end, uploads that break off, patterns that take for ever.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::forms;
use crate::world::{FORM, SAME_ORIGIN, World, is_to_come};

#[test]
fn a6_a_header_without_end_is_refused() {
    let world = World::new();
    let long = format!("X-Long: {}", "a".repeat(2 << 20));
    let answer = world.edge("GET", "/api/v1/health", &[&long], "");
    assert!([0, 431].contains(&answer.status), "{}", answer.status);
    let many: Vec<String> = (0..5_000).map(|n| format!("X-{n}: a")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let answer = world.edge("GET", "/api/v1/health", &many, "");
    assert!([0, 431].contains(&answer.status), "{}", answer.status);
    let uri = format!("/api/v1/health?{}", "a".repeat(200 << 10));
    let answer = world.edge("GET", &uri, &[], "");
    assert!(
        [0, 200, 414, 431].contains(&answer.status),
        "{}",
        answer.status
    );
    assert_eq!(world.edge("GET", "/api/v1/health", &[], "").status, 200);
}

/// Sends `head` and then chunks until somebody stops it; how much was taken, and the answer.
fn endless(world: &World, head: &str, most: usize) -> (usize, String) {
    let mut stream = UnixStream::connect(world.daemon.socket("edge.sock")).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    write!(
        stream,
        "{head}Host: panel.internal\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .unwrap();
    let part = vec![b'a'; 64 << 10];
    let mut sent = 0;
    while sent < most {
        let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat();
        if stream.write_all(&chunk).is_err() {
            break;
        }
        sent += part.len();
    }
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 16 << 10]);
    // Head and body may come apart.
    while is_to_come(&answer) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(size) => answer.extend_from_slice(&piece[..size]),
        }
    }
    (sent, String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a6_a_body_without_end_is_cut() {
    let world = World::new();
    let (cookie, token) = (world.cookie(), world.token());
    let json = "Content-Type: application/json";
    for (what, head) in [
        (
            "a form",
            format!("POST /checks HTTP/1.1\r\n{FORM}\r\n{cookie}\r\n{SAME_ORIGIN}\r\n"),
        ),
        (
            "a stranger's form",
            format!("POST /sign-in HTTP/1.1\r\n{FORM}\r\n"),
        ),
        (
            "JSON",
            format!(
                "POST /api/v1/apps HTTP/1.1\r\n{json}\r\n{cookie}\r\nX-Form-Token: {token}\r\n{SAME_ORIGIN}\r\n"
            ),
        ),
        ("a push", format!("POST /hooks/shop HTTP/1.1\r\n{json}\r\n")),
    ] {
        let (sent, answer) = endless(&world, &head, 256 << 20);
        assert!(
            sent < 128 << 20,
            "{what}: {sent} bytes were taken; {answer}"
        );
        let status = answer.split(' ').nth(1).unwrap_or("cut");
        assert!(["413", "cut", "400"].contains(&status), "{what}: {answer}");
    }
    assert_eq!(world.edge("GET", "/api/v1/health", &[], "").status, 200);
}

/// What is held in memory of somebody who is not known is small, with the token of the sign-in page as without.
#[test]
fn a6_a_strangers_form_is_small() {
    let world = World::new();
    let page = world.edge("GET", "/sign-in", &[], "");
    let cookie = format!(
        "Cookie: {}={}",
        forms::VISITOR,
        forms::cookie(&page.text, forms::VISITOR).unwrap()
    );
    let token = format!("X-Form-Token: {}", forms::token(&page.text));
    for path in ["/sign-in", "/sign-in/code", "/setup/nope", "/theme"] {
        for proof in [vec![&*cookie], vec![&*cookie, &*token]] {
            let headers = [vec![FORM, SAME_ORIGIN], proof].concat();
            let body = format!("name=ana&password={}", "a".repeat(20 << 10));
            let answer = world.edge("POST", path, &headers, &body);
            assert_eq!(answer.status, 413, "{path}: {}", answer.text);
            assert!(answer.text.contains("larger than 16 KB"), "{}", answer.text);
        }
        let small = format!("name=ana&password={}", "a".repeat(10 << 10));
        let headers = [FORM, SAME_ORIGIN, &*cookie, &*token];
        let answer = world.edge("POST", path, &headers, &small);
        assert_ne!(answer.status, 413, "{path}: {}", answer.text);
    }
}

#[test]
fn a6_an_upload_that_breaks_off_leaves_nothing() {
    let world = World::new();
    let (cookie, token) = (world.cookie(), world.token());
    let builds = world.daemon.data().join("builds");
    let files = || std::fs::read_dir(&builds).unwrap().count();
    assert_eq!(files(), 0);
    for length in ["Content-Length: 50000000", "Transfer-Encoding: chunked"] {
        let mut stream = UnixStream::connect(world.daemon.socket("edge.sock")).unwrap();
        let head = format!(
            "POST /api/v1/apps/shop/deploys/upload HTTP/1.1\r\nHost: panel.internal\r\n{cookie}\r\nX-Form-Token: {token}\r\n{SAME_ORIGIN}\r\n{length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let part = if length.starts_with('C') {
            vec![0; 100_000]
        } else {
            b"a\r\n0123456789\r\n".to_vec()
        };
        stream.write_all(&part).unwrap();
        let begun = Instant::now();
        while files() == 0 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(files(), 1, "{length}: it was being kept");
        drop(stream);
        while files() != 0 {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "{length}: half an upload is left"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// More than the box takes, with its length told and without: cut, said why, and nothing of it is left.
#[test]
fn a6_a_folder_above_the_limit_is_cut_and_leaves_nothing() {
    const MOST: usize = 1 << 20;
    let world = World::with("[build]\nupload = \"1M\"\n");
    let (cookie, token) = (world.cookie(), world.token());
    let builds = world.daemon.data().join("builds");
    let files = || {
        let all = std::fs::read_dir(&builds).unwrap();
        all.map(|f| f.unwrap().file_name()).collect::<Vec<_>>()
    };
    let head = format!(
        "POST /api/v1/apps/shop/deploys/upload HTTP/1.1\r\n{cookie}\r\nX-Form-Token: {token}\r\n{SAME_ORIGIN}\r\n"
    );
    let (sent, answer) = endless(&world, &head, 256 << 20);
    // What lies in buffers on the way is sent, and not taken.
    assert!(sent < 16 * MOST, "{sent} bytes were taken");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(
        answer.contains("the upload is larger than 1 MB"),
        "{answer}"
    );
    assert!(answer.contains("[build] upload"), "{answer}");

    let whole = "a".repeat(MOST + 1);
    let headers = [&*cookie, &format!("X-Form-Token: {token}"), SAME_ORIGIN];
    let path = "/api/v1/apps/shop/deploys/upload";
    let answer = world.edge("POST", path, &headers, &whole);
    assert_eq!(answer.status, 413, "{}", answer.text);
    let begun = Instant::now();
    while !files().is_empty() {
        let late = begun.elapsed() > Duration::from_secs(90);
        assert!(!late, "an upload is left: {:?}", files());
        std::thread::sleep(Duration::from_millis(20));
    }
    let deploys = world.local("GET", "/api/v1/apps/shop/deploys", "");
    assert!(deploys.body().contains("\"items\":[]"), "{}", deploys.text);

    // One byte less is taken.
    let answer = world.edge("POST", path, &headers, &whole[1..]);
    assert_eq!(answer.status, 202, "{}", answer.text);
}

#[test]
fn a6_no_pattern_takes_for_ever() {
    let world = World::new();
    let cookie = world.cookie();
    for pattern in [
        "(a%2b)%2b%24",
        "(.*){1,32000}[bc]",
        "((a{1,1000}){1,1000}){1,1000}",
        "%28%5b",
        "%ff%fe",
    ] {
        let begun = Instant::now();
        let answer = world.edge(
            "GET",
            &format!("/apps/shop/logs?grep={pattern}"),
            &[&cookie, "Accept: text/html"],
            "",
        );
        assert_ne!(answer.status, 500, "{pattern}: {}", answer.text);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{pattern} took {:?}",
            begun.elapsed()
        );
    }
}
