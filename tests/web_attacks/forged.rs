//! Requests that another site makes the owner's browser send, and pages it puts its own around.

use freehold::web::{Needs, table};

use crate::world::{EVIL, FORM, PANEL, PASSWORD, SAME_ORIGIN, SIBLING, World};

/// Every address that changes something, as a form could name it.
fn targets() -> Vec<String> {
    let of_pages = table().into_iter().filter(|route| {
        route.method == "POST" && route.needs != Needs::Local && !route.path.starts_with("/hooks/")
    });
    let fill = |part: &str| match part {
        "{app}" => "shop".to_owned(),
        "{user}" => "owner".to_owned(),
        _ if part.starts_with('{') => "1".to_owned(),
        _ => part.to_owned(),
    };
    let path = |path: &str| path.split('/').map(fill).collect::<Vec<_>>().join("/");
    of_pages.map(|route| path(route.path)).collect()
}

/// Fields that make most forms of the dashboard do something.
const FIELDS: &str = "<input name=name value=planted><input name=role value=owner><input name=typed value=shop>\
    <input name=url value=https://evil.internal/><input name=domain value=evil.example><input name=on value=true>\
    <input name=verb value=change><input name=days value=0><input name=process value=web><input name=replicas value=9>\
    <input name=value value=planted><input name=import value='A=planted'><input name=branch value=planted>\
    <input name=mark value=0><input name=id value=1><input name=theme value=dark><input name=back value='//evil.internal'>";

/// A page that posts a form to each of `targets`, each into a frame of its own, and says when all have been answered.
fn forging(enctype: &str, targets: &[String]) -> String {
    let forms: String = targets
        .iter()
        .enumerate()
        .map(|(n, path)| {
            format!("<iframe name=f{n}></iframe><form method=post enctype='{enctype}' target=f{n} action='{PANEL}{path}'>{FIELDS}</form>")
        })
        .collect();
    format!(
        "<!doctype html><title>evil</title><body>{forms}<script>\
         setTimeout(() => {{ for (const f of document.forms) f.submit(); setTimeout(() => document.title = 'sent', 3000); }}, 200);</script>"
    )
}

fn attack(world: &World, browser: &crate::support::browser::Browser, from: &str, page: String) {
    let before = world.state();
    world.evil_page(page);
    browser.go(&format!("{from}/"));
    crate::support::until::until(
        "the attack to be over",
        std::time::Duration::from_secs(60),
        || match browser.script("return document.title").as_str() {
            Some("sent") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    assert_eq!(
        world.state(),
        before,
        "an attack from {from} changed something"
    );
    browser.go(&format!("{PANEL}/account"));
    assert_eq!(
        browser.url(),
        format!("{PANEL}/account"),
        "the owner is still signed in"
    );
}

#[test]
fn a6_no_other_site_changes_anything_in_the_owners_browser() {
    let world = World::new();
    let browser = world.owner();
    let targets = targets();
    assert!(targets.len() > 60, "{}", targets.len());
    for from in [EVIL, SIBLING] {
        for enctype in [
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "text/plain",
        ] {
            attack(&world, &browser, from, forging(enctype, &targets));
        }
        // By script, with what needs no leave: and JSON dressed as text.
        let list = serde_json::to_string(&targets).unwrap();
        let script = format!(
            "<!doctype html><title>evil</title><script>\
             Promise.allSettled({list}.flatMap(path => ['text/plain', 'application/x-www-form-urlencoded'].map(kind => \
             fetch('{PANEL}' + path, {{ method: 'POST', mode: 'no-cors', credentials: 'include', headers: {{ 'Content-Type': kind }}, \
             body: JSON.stringify({{ name: 'planted', role: 'owner', verb: 'change', on: true }}) }}))\
             .concat(['PATCH', 'DELETE'].map(method => fetch('{PANEL}' + path, {{ method, credentials: 'include', \
             headers: {{ 'Content-Type': 'application/json' }}, body: '{{}}' }})))))\
             .then(() => document.title = 'sent');</script>"
        );
        attack(&world, &browser, from, script);
    }
}

#[test]
fn a6_nobody_is_signed_in_as_somebody_else_by_another_site() {
    let world = World::new();
    let browser = world.browser();
    browser.go(&format!("{PANEL}/sign-in"));
    let words = format!("<input name=name value=owner><input name=password value='{PASSWORD}'>");
    for from in [EVIL, SIBLING] {
        world.evil_page(format!(
            "<!doctype html><form method=post action='{PANEL}/sign-in'>{words}<button>go</button></form>"
        ));
        browser.go(&format!("{from}/"));
        browser.click_away("button");
        browser.arrives(&format!("{PANEL}/sign-in"));
        browser.go(&format!("{PANEL}/account"));
        assert_eq!(
            browser.url(),
            format!("{PANEL}/sign-in"),
            "{}",
            browser.text()
        );
    }
    // The same from its own page: with the right password it is no accident that nobody came in.
    browser.type_into("input[name=password]", PASSWORD);
    browser.click_away("form[action=\"/sign-in\"] button");
    browser.arrives(&format!("{PANEL}/"));
}

/// Origin and token, each alone and both.
#[test]
fn a6_origin_and_token_are_each_needed() {
    let world = World::new();
    let (cookie, token) = (world.cookie(), world.token());
    let body =
        |token: &str| format!("form-token={token}&name=Forged&url=https://shop.example.com/");
    let right = ["Origin: https://panel.internal", SAME_ORIGIN];
    let foreign = [
        "Origin: https://evil.panel.internal",
        "Sec-Fetch-Site: same-site",
    ];
    // A session of somebody else's, with a page of their own.
    let other = World::new();
    for (what, headers, form) in [
        ("no token", right, body("")),
        ("another's token", right, body(&other.token())),
        ("half a token", right, body(&token[..32])),
        ("another origin", foreign, body(&token)),
    ] {
        let answer = world.edge(
            "POST",
            "/checks",
            &[FORM, &cookie, headers[0], headers[1]],
            &form,
        );
        assert_eq!(answer.status, 403, "{what}: {}", answer.text);
        assert!(!world.state().contains("Forged"), "{what}");
    }
    let none = body("").replace("form-token=&", "");
    let answer = world.edge("POST", "/checks", &[FORM, &cookie], &none);
    assert_eq!(answer.status, 403, "an old browser: {}", answer.text);
    let answer = world.edge(
        "POST",
        "/checks",
        &[FORM, &cookie, right[0], right[1]],
        &body(&token),
    );
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert!(world.state().contains("Forged"), "with both it is done");
}

#[test]
fn a6_a_script_with_a_cookie_says_where_it_comes_from() {
    let world = World::new();
    let (cookie, token) = (world.cookie(), format!("X-Form-Token: {}", world.token()));
    let json = "Content-Type: application/json";
    let text = "Content-Type: text/plain";
    let own = "Origin: https://panel.internal";
    let body = "{\"name\":\"forged\"}";
    for headers in [
        [&cookie, json, own],
        [&cookie, text, SAME_ORIGIN],
        [&cookie, FORM, SAME_ORIGIN],
        [&cookie, "X-Form-Token: 00", SAME_ORIGIN],
    ] {
        let answer = world.edge("POST", "/api/v1/apps", &headers, body);
        assert_eq!(answer.status, 403, "{headers:?}: {}", answer.text);
    }
    assert!(!world.state().contains("forged"));
    for (name, proof) in [("one", &*token), ("two", SAME_ORIGIN)] {
        let body = format!("{{\"name\":\"{name}\"}}");
        let answer = world.edge("POST", "/api/v1/apps", &[&cookie, json, own, proof], &body);
        assert_eq!(answer.status, 201, "{proof}: {}", answer.text);
    }
}

#[test]
fn a6_no_page_can_be_put_into_anothers() {
    let world = World::new();
    let browser = world.owner();
    for from in [EVIL, SIBLING] {
        for path in [
            "/",
            "/sign-in",
            "/apps/shop/remove",
            "/settings/people",
            "/no/such/page",
        ] {
            world.evil_page(format!(
                "<!doctype html><iframe src='{PANEL}{path}'></iframe>"
            ));
            browser.go(&format!("{from}/"));
            let inside = browser.in_frame("return location.href + ' ' + document.body.innerText");
            let inside = inside.as_str().unwrap();
            assert!(
                inside.starts_with("chrome-error://"),
                "{path} from {from}: {inside}"
            );
        }
        // What may be framed is: the test would see it.
        world.evil_page("<!doctype html><iframe srcdoc='framed'></iframe>");
        browser.go(&format!("{from}/"));
        let inside = browser.in_frame("return document.body.innerText");
        assert_eq!(inside.as_str(), Some("framed"));
    }
}
