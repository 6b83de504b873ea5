//! F2: the setup link, the password, the dashboard; nobody sees anything else.

use crate::world::{PASSWORD, World};

pub fn f2_setup_link_opens_the_dashboard(world: &mut World) {
    let link = world.fh.cli(&["user", "reset"]);
    let link = link.lines().next().unwrap().trim();
    assert!(link.starts_with("https://panel.test/setup/"), "{link}");
    let browser = world.browser(|_| {});
    browser.go(link);
    browser.type_into("input[name=password]", PASSWORD);
    browser.type_into("input[name=again]", PASSWORD);
    browser.click_away("form button");
    browser.arrives("https://panel.test/");
    // The link worked once.
    browser.go(link);
    assert!(!browser.has("input[name=again]"), "{}", browser.text());
    // The password works in another browser.
    world.owner(|_| {});
}

pub fn f2_nobody_sees_nothing(world: &mut World) {
    let edge = world.public();
    for path in [
        "/",
        "/apps",
        "/databases",
        "/api/v1/events",
        "/api/v1/status",
    ] {
        let answer = edge
            .get(&format!("https://panel.test{path}"))
            .send()
            .unwrap();
        let away = answer.header("location").contains("/sign-in");
        assert!(
            away || [401, 404, 405].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
    // A form from elsewhere is refused.
    let answer = edge
        .get("https://panel.test/sign-in")
        .method("POST")
        .header("Origin", "https://evil.test")
        .header("Sec-Fetch-Site", "cross-site")
        .body(
            "application/x-www-form-urlencoded",
            &format!("password={PASSWORD}"),
        )
        .send()
        .unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
}
