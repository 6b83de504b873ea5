//! E6: a folder of this box, served by a `[[route]]` that is edited while it serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::world::World;

const HOST: &str = "example.com";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

fn route(more: &str) -> String {
    format!("[[route]]\nhost = \"{HOST}\"\nTLS\nstatic = \"FOLDER\"\n{more}\n")
}

fn files(at: &Path) {
    for folder in ["docs", "assets", ".git", ".well-known"] {
        fs::create_dir(at.join(folder)).unwrap();
    }
    for (name, content) in [
        ("index.html", "<h1>home</h1>"),
        ("docs/index.html", "<h1>docs</h1>"),
        ("assets/app.3f2a9c1b.js", "let a = 0;"),
        // Of the same time at least, so that they count as its own.
        ("assets/app.3f2a9c1b.js.br", "as brotli"),
        ("assets/app.3f2a9c1b.js.gz", "as gzip"),
        (".env", "SECRET=1"),
        (".git/config", "[core]"),
        (".well-known/security.txt", "Contact: us"),
    ] {
        fs::write(at.join(name), content).unwrap();
    }
    let outside = at.parent().unwrap().join("outside.txt");
    fs::write(&outside, "outside").unwrap();
    symlink(&outside, at.join("link.txt")).unwrap();
    symlink(at.parent().unwrap(), at.join("up")).unwrap();
}

#[test]
fn e6_a_folder_of_the_settings_is_served_as_a_good_server_does() {
    let world = World::start_with(&route(""), files);
    let ask = |path: &'static str| world.get(HOST, path);
    let home = world.until_status(|| ask("/"), 200);
    assert_eq!(home.text(), "<h1>home</h1>");
    assert_eq!(home.field("cache-control"), "no-cache");
    let tag = home.field("etag");
    let again = ask("/").field("If-None-Match", &tag).send().unwrap();
    assert_eq!((again.status, again.body.len()), (304, 0), "{again}");
    let part = ask("/").field("Range", "bytes=4-7").send().unwrap();
    assert_eq!((part.status, part.text().as_str()), (206, "home"), "{part}");
    assert_eq!(part.field("content-range"), "bytes 4-7/13");
    assert_eq!(
        ask("/").field("Range", "bytes=90-").send().unwrap().status,
        416
    );
    let sent = ask("/docs").send().unwrap();
    assert_eq!(
        (sent.status, sent.field("location").as_str()),
        (308, "/docs/")
    );
    assert_eq!(ask("/docs/").send().unwrap().text(), "<h1>docs</h1>");
    let script = ask("/assets/app.3f2a9c1b.js").send().unwrap();
    assert_eq!(script.field("cache-control"), IMMUTABLE, "{script}");
    for (codings, coding, text) in [
        ("gzip, br", "br", "as brotli"),
        ("gzip", "gzip", "as gzip"),
        ("identity", "", "let a = 0;"),
    ] {
        let asked = ask("/assets/app.3f2a9c1b.js").field("Accept-Encoding", codings);
        let answer = asked.send().unwrap();
        assert_eq!(answer.field("content-encoding"), coding, "{answer}");
        assert_eq!(answer.text(), text);
        assert!(answer.field("vary").contains("accept-encoding"), "{answer}");
    }
    assert_eq!(ask("/.well-known/security.txt").send().unwrap().status, 200);
    for (path, status) in [
        ("/.env", 404),
        ("/.git/config", 404),
        ("/link.txt", 404),
        ("/up/outside.txt", 404),
        ("/up/company/example.com.key", 404),
        ("/none.html", 404),
        ("/../outside.txt", 400),
        ("/docs/../../outside.txt", 400),
        ("/%2e%2e/outside.txt", 400),
        ("/..%2foutside.txt", 400),
        ("/.%00/", 400),
    ] {
        let answer = ask(path).send().unwrap();
        assert_eq!(answer.status, status, "{path}: {answer}");
        assert!(!answer.text().contains("outside\n") && !answer.text().contains("SECRET"));
    }
    assert_eq!(ask("/").post("x").send().unwrap().status, 405);
}

#[test]
fn e6_a_folders_settings_are_edited_while_it_serves() {
    let world = World::start_with(&route(""), files);
    let page = || world.get(HOST, "/cart/7").for_a_page();
    world.until_status(page, 404);
    world.edit(&route(
        "single_page = true\nanswer_headers = { set = { x-a = \"1\" } }",
    ));
    let shown = world.until_status(page, 200);
    assert_eq!(
        (shown.text().as_str(), shown.field("x-a").as_str()),
        ("<h1>home</h1>", "1")
    );
    let script = world.get(HOST, "/cart/7.js").for_a_page().send().unwrap();
    assert_eq!(script.status, 404, "{script}");
    // Another folder, behind a password; then an app in its place.
    world.edit(
        &route("basic_auth = { users = [{ name = \"ana\", password = \"hunter2\" }] }")
            .replace("FOLDER", "FOLDER/docs"),
    );
    world.until_status(|| world.get(HOST, "/"), 401);
    world.edit(&route("").replace("FOLDER", "FOLDER/docs"));
    world.until(
        "the other folder",
        || world.get(HOST, "/"),
        |a| a.text() == "<h1>docs</h1>",
    );
    world.edit(&route("").replace("static = \"FOLDER\"", "upstream = \"http://APP\""));
    world.until(
        "the app",
        || world.get(HOST, "/"),
        |a| a.saw("GET / HTTP/1.1"),
    );
}
