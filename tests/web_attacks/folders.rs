//! A form with a file: its token stands before the file, which is kept as it comes, so that nothing of a forged one is.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::world::{Answer, FORM, PANEL, SAME_ORIGIN, World};

const PATH: &str = "/apps/shop/deploys/upload";
const KIND: &str = "Content-Type: multipart/form-data; boundary=----Browser7MA4";
const END: &str = "------Browser7MA4--\r\n";

fn field(name: &str, content: &str) -> String {
    let more = match name {
        "folder" => "; filename=\"shop.tar\"\r\nContent-Type: application/x-tar",
        _ => "",
    };
    format!(
        "------Browser7MA4\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{content}\r\n"
    )
}

fn files(world: &World) -> usize {
    let builds = world.daemon.data().join("builds");
    std::fs::read_dir(builds).unwrap().count()
}

/// Waits until nothing of an upload is left.
fn are_gone(world: &World) {
    let begun = Instant::now();
    while files(world) != 0 {
        assert!(begun.elapsed() < Duration::from_secs(90), "some is left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn deploys(world: &World) -> usize {
    let answer = world.local("GET", "/api/v1/apps/shop/deploys", "");
    let list: serde_json::Value = serde_json::from_str(answer.body()).unwrap();
    list["items"].as_array().unwrap().len()
}

fn sent(world: &World, headers: &[&str], body: &str) -> Answer {
    let cookie = world.cookie();
    world.edge("POST", PATH, &[headers, &[&*cookie]].concat(), body)
}

/// What the page says next.
fn told(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text);
    let flash = answer.header("set-cookie").unwrap_or_default();
    percent_encoding::percent_decode_str(flash)
        .decode_utf8_lossy()
        .into_owned()
}

#[test]
fn a6_a_form_with_a_file_needs_its_token_before_the_file() {
    let world = World::new();
    let token = field("form-token", &world.token());
    let wrong = field("form-token", &"0".repeat(64));
    let file = field("folder", "no tar");
    let whole = format!("{token}{file}{END}");
    let other_site = ["Sec-Fetch-Site: same-site", "Origin: https://evil.internal"];
    for (what, headers, body) in [
        ("no token", vec![KIND, SAME_ORIGIN], format!("{file}{END}")),
        (
            "a wrong one",
            vec![KIND, SAME_ORIGIN],
            format!("{wrong}{file}{END}"),
        ),
        (
            "one after the file",
            vec![KIND, SAME_ORIGIN],
            format!("{file}{token}{END}"),
        ),
        (
            "one that is a file",
            vec![KIND, SAME_ORIGIN],
            whole.replacen("form-token", "folder", 1),
        ),
        (
            "one that is cut",
            vec![KIND, SAME_ORIGIN],
            token[..token.len() - 9].to_owned(),
        ),
        ("another kind", vec![FORM, SAME_ORIGIN], whole.clone()),
        (
            "no boundary",
            vec!["Content-Type: multipart/form-data", SAME_ORIGIN],
            whole.clone(),
        ),
        (
            "another site",
            [&[KIND], &other_site[..]].concat(),
            whole.clone(),
        ),
    ] {
        let answer = sent(&world, &headers, &body);
        assert_eq!(answer.status, 403, "{what}: {}", answer.text);
        assert_eq!((files(&world), deploys(&world)), (0, 0), "{what}");
    }
    // With all of it the folder is taken.
    let answer = sent(&world, &[KIND, SAME_ORIGIN], &whole);
    let to = answer.header("location").unwrap_or_default().to_owned();
    assert!(to.starts_with("/apps/shop/deploys/"), "{}", answer.text);
    assert_eq!(deploys(&world), 1);
}

/// What of a folder is a site stands in front of the file, and names nothing outside of it.
#[test]
fn e6_a_form_says_which_part_of_a_folder_is_a_site() {
    let world = World::new();
    let token = field("form-token", &world.token());
    let file = field("folder", "no tar");
    let send = |site: &str| {
        let site = field("static", site);
        sent(
            &world,
            &[KIND, SAME_ORIGIN],
            &format!("{token}{site}{file}{END}"),
        )
    };
    for site in ["../other", "/etc", &"d".repeat(5_000)] {
        let said = told(&send(site));
        assert!(said.contains("static must be a path inside"), "{said}");
        assert_eq!(deploys(&world), 0, "{site}");
    }
    for (number, (site, kept)) in [
        ("", "\"kind\":\"upload\""),
        (" dist ", "\"folder\":\"dist\""),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = send(site);
        let to = answer.header("location").unwrap_or_default();
        assert!(to.starts_with("/apps/shop/deploys/"), "{}", answer.text);
        let state = rusqlite::Connection::open(world.daemon.data().join("state.db")).unwrap();
        let newest = "SELECT source FROM deploys ORDER BY id DESC LIMIT 1";
        let source: String = state.query_row(newest, [], |row| row.get(0)).unwrap();
        assert!(source.contains(kept), "{number}: {source}");
        assert_eq!(source.contains("site"), number == 1, "{source}");
    }
}

/// What a real browser sends is such a form.
#[test]
fn a1_a_browser_sends_a_folder() {
    let world = World::new();
    let browser = world.owner();
    let tar = tempfile::Builder::new().suffix(".tar").tempfile().unwrap();
    // Larger than what is held of a form without a file.
    std::fs::write(tar.path(), vec![b'a'; 5 << 20]).unwrap();
    browser.go(&format!("{PANEL}/apps/shop/deploys"));
    let form = format!("form[action=\"{PATH}\"]");
    let field = format!("{form} [type=file]");
    browser.type_into(&field, tar.path().to_str().unwrap());
    browser.click_away(&format!("{form} button"));
    let deploy = browser.url();
    assert!(
        deploy.starts_with(&format!("{PANEL}/apps/shop/deploys/")),
        "{deploy}: {}",
        browser.text()
    );
    assert!(browser.text().contains("folder"), "{}", browser.text());
    assert_eq!(deploys(&world), 1);
}

#[test]
fn a6_a_forms_folder_above_the_limit_or_cut_leaves_nothing() {
    let world = World::with("[build]\nupload = \"1M\"\n");
    let token = field("form-token", &world.token());
    let large = "a".repeat((1 << 20) + 1);
    let form = |content: &str| format!("{token}{}{END}", field("folder", content));
    let said = told(&sent(&world, &[KIND, SAME_ORIGIN], &form(&large)));
    assert!(said.contains("the upload is larger than 1 MB"), "{said}");
    are_gone(&world);
    // One whose form has no end, though the request has.
    let cut = form(&large[..1000]);
    let cut = &cut[..cut.len() - 30];
    let said = told(&sent(&world, &[KIND, SAME_ORIGIN], cut));
    assert!(said.contains("broke off before its end"), "{said}");
    are_gone(&world);
    // None chosen, and none at all.
    for body in [form(""), format!("{token}{END}")] {
        let said = told(&sent(&world, &[KIND, SAME_ORIGIN], &body));
        assert!(said.contains("there is no file"), "{said}");
    }
    // One that no build could begin with.
    let said = told(&sent(&world, &[KIND, SAME_ORIGIN], &form("PK\u{3}\u{4}")));
    assert!(said.contains("this file is compressed"), "{said}");
    // Whoever goes away in the middle.
    let mut stream = UnixStream::connect(world.daemon.socket("edge.sock")).unwrap();
    let cookie = world.cookie();
    let begun = format!(
        "POST {PATH} HTTP/1.1\r\nHost: panel.internal\r\n{cookie}\r\n{SAME_ORIGIN}\r\n{KIND}\r\nContent-Length: 900000\r\n\r\n{token}{}",
        field("folder", &large[..500_000])
    );
    stream.write_all(begun.as_bytes()).unwrap();
    let at = Instant::now();
    while files(&world) == 0 {
        assert!(
            at.elapsed() < Duration::from_secs(60),
            "it was not being kept"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(stream);
    are_gone(&world);
    assert_eq!(deploys(&world), 0);
    // One byte less is taken.
    let answer = sent(&world, &[KIND, SAME_ORIGIN], &form(&large[1..]));
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert_eq!(deploys(&world), 1);
}

/// A form with a file where none belongs is not read for what it is not.
#[test]
fn a6_a_file_goes_where_one_is_wanted_and_nowhere_else() {
    let world = World::new();
    let token = field("form-token", &world.token());
    let body = format!("{token}{}{END}", field("folder", &"a".repeat(8 << 20)));
    let before = world.state();
    for path in [
        "/checks",
        "/apps/shop/scale",
        "/apps/shop/env",
        "/settings/people",
    ] {
        let headers = [KIND, SAME_ORIGIN, &*world.cookie()];
        let answer = world.edge("POST", path, &headers, &body);
        assert!(
            [303, 413, 415].contains(&answer.status),
            "{path}: {}",
            answer.text
        );
    }
    assert_eq!(world.state(), before);
}
