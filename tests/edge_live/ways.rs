//! E6: where clients are sent, and what of a path the app is told, by a `[[route]]` that is edited while it serves.

use crate::world::World;

/// The apex serves and www is sent there, or the other way round.
fn both(serves: &str, sent: &str) -> String {
    format!(
        "[[route]]\nhost = \"{serves}\"\nTLS\nupstream = \"http://APP\"\n\
         [[route]]\nhost = \"{sent}\"\nTLS\nredirects = [{{ to = \"https://{serves}\" }}]\n"
    )
}

#[test]
fn e6_www_is_sent_to_the_apex_and_back_as_the_settings_are_edited() {
    let (apex, www) = ("example.com", "www.example.com");
    let world = World::start(&both(apex, www));
    for (serves, sent) in [(apex, www), (www, apex), (apex, www)] {
        world.edit(&both(serves, sent));
        let answer = world.until_status(|| world.get(sent, "/a%20b?c=d"), 308);
        let to = format!("https://{serves}/a%20b?c=d");
        assert_eq!(answer.field("location"), to, "{answer}");
        let answer = world.get(serves, "/a%20b?c=d").send().unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        assert!(answer.saw(&format!("host: {serves}")), "{answer}");
    }
}

#[test]
fn e6_any_redirect_of_a_route_is_followed_as_it_is_written_now() {
    let world = World::start("[[route]]\nhost = \"example.com\"\nTLS\nupstream = \"http://APP\"\n");
    let ask = |path: &'static str| world.get("example.com", path);
    world.until_status(|| ask("/old/page"), 200);
    let set = |redirects: &str| {
        world.edit(&format!(
            "[[route]]\nhost = \"example.com\"\nTLS\nupstream = \"http://APP\"\nredirects = [{redirects}]\n"
        ));
    };
    set(
        r#"{ path = "/old", to = "/new", status = 302 }, { path = "/gone", to = "https://other.example.com/?a=b", keep = false, status = 307 }"#,
    );
    let answer = world.until_status(|| ask("/old/page?x=1"), 302);
    assert!(
        answer.field("location").ends_with("/new/page?x=1"),
        "{answer}"
    );
    let answer = ask("/gone/far?x=1").send().unwrap();
    assert_eq!(answer.status, 307, "{answer}");
    assert_eq!(answer.field("location"), "https://other.example.com/?a=b");
    for other in ["/older", "/", "/new/page"] {
        let answer = ask(other).send().unwrap();
        assert_eq!(answer.status, 200, "{other}: {answer}");
    }
    // An edit with a mistake changes nothing, and the next one is taken.
    set(r#"{ path = "/old", to = "javascript:alert(1)" }"#);
    crate::world::until("the mistake to be told", || match world.cli(&["status"]) {
        said if said.contains("is not a place to be sent to") => Ok(()),
        said => Err(said),
    });
    assert_eq!(ask("/old/page").send().unwrap().status, 302);
    set("");
    world.until_status(|| ask("/old/page"), 200);
}

#[test]
fn e6_a_path_is_taken_off_or_kept_as_the_settings_say_now() {
    let route = |strip: bool| {
        format!(
            "[[route]]\nhost = \"example.com\"\npath = \"/api\"\nTLS\nupstream = \"http://APP\"\nstrip_prefix = {strip}\n"
        )
    };
    let world = World::start(&route(true));
    let ask = || world.get("example.com", "/api/users?a=b");
    for strip in [true, false, true] {
        world.edit(&route(strip));
        let line = match strip {
            true => "GET /users?a=b HTTP/1.1",
            false => "GET /api/users?a=b HTTP/1.1",
        };
        let answer = world.until("the path as it is to be", ask, |a| a.saw(line));
        let prefix = answer.seen("x-forwarded-prefix");
        assert_eq!(prefix.as_deref(), strip.then_some("/api"), "{answer}");
    }
    let root = world.get("example.com", "/api").send().unwrap();
    assert!(root.saw("GET / HTTP/1.1"), "{root}");
    assert_eq!(
        world.get("example.com", "/apis").send().unwrap().status,
        404
    );
}
