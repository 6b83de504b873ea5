//! F5: HTTPS by itself, on both protocols; what is unknown is refused the way it should be.

use crate::app::{APP, URL};
use crate::support::edge::Edge;
use crate::support::until::{secs, until};
use crate::support::upstream;
use crate::world::World;

pub fn f5_the_certificate_came_by_itself(world: &mut World) {
    let edge = world.public();
    let one = edge.get(&format!("{URL}/healthz")).http1().send().unwrap();
    assert_eq!((one.status, one.version.as_str()), (200, "1.1"));
    let two = edge.get(&format!("{URL}/healthz")).http2().send().unwrap();
    assert_eq!((two.status, two.version.as_str()), (200, "2"));
}

pub fn f5_plain_http_redirects(world: &mut World) {
    let edge = world.public();
    let answer = edge.get("http://tasks.test/a/b?c=d").send().unwrap();
    assert!([301, 308].contains(&answer.status), "{}", answer.status);
    assert_eq!(answer.header("location"), "https://tasks.test/a/b?c=d");
    assert_eq!(edge.get("http://nobody.test/").send().unwrap().status, 404);
}

pub fn f5_unknown_names_are_refused(world: &mut World) {
    let edge = world.public();
    let why = edge.get("https://nobody.test/").send().unwrap_err();
    assert!(why.contains("unrecognized name"), "{why}");
    let answer = edge
        .get(&format!("{URL}/"))
        .header("Host", "panel.test")
        .http1()
        .send()
        .unwrap();
    assert_eq!(answer.status, 421, "{}", answer.text());
}

pub fn f5_a_private_name_has_the_box_s_own_certificate(world: &mut World) {
    world.fh.cli(&["domain", "add", APP, "tasks.localhost"]);
    until("tasks.localhost to answer", secs(120), || {
        let answer = world
            .private()
            .get("https://tasks.localhost/healthz")
            .send()?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.text())
        }
    });
    let stranger = world.public();
    assert!(
        stranger
            .get("https://tasks.localhost/healthz")
            .send()
            .is_err()
    );
}

pub fn f5_another_app_s_domain_is_refused(world: &mut World) {
    world.fh.cli(&["app", "create", "other"]);
    let said = world.fh.refused(&["domain", "add", "other", "tasks.test"]);
    assert!(said.contains("tasks"), "{said}");
    assert_eq!(world.app_is_up().status, 200);
    world.fh.cli(&["app", "rm", "other", "--yes"]);
}

/// `routes.d` is followed live; a bad edit names file and line and changes nothing.
pub fn f5_routes_reload_and_a_bad_edit_changes_nothing(world: &mut World) {
    let port = upstream::answering("legacy");
    let file = world.fh.path("routes.d").join("legacy.toml");
    let good =
        format!("[[route]]\nhost = \"legacy.internal\"\nupstream = \"http://127.0.0.1:{port}\"\n");
    std::fs::write(&file, &good).unwrap();
    let answers = |edge: &Edge| {
        let answer = edge.get("https://legacy.internal/").send()?;
        if answer.text() == "legacy" {
            Ok(())
        } else {
            Err(format!("{}: {}", answer.status, answer.text()))
        }
    };
    until("the route of routes.d", secs(120), || {
        answers(&world.private())
    });
    std::fs::write(&file, format!("{good}upstraem = \"x\"\n")).unwrap();
    until("the log to name the mistake", secs(120), || {
        let log = world.fh.log_text();
        let names_it = |line: &str| line.contains("legacy.toml line 4, `route.upstraem`");
        let found = log.lines().any(names_it);
        found.then_some(()).ok_or_else(|| world.fh.log_tail())
    });
    answers(&world.private()).unwrap();
    std::fs::remove_file(&file).unwrap();
    until("the route to go", secs(120), || {
        match answers(&world.private()) {
            Ok(()) => Err("still there".into()),
            Err(_) => Ok(()),
        }
    });
}

pub fn f5_websockets_and_streams_pass(world: &mut World) {
    let browser = world.browser(|_| {});
    browser.go(&format!("{URL}/docs"));
    let said = browser.script_async(
        "const done = arguments[arguments.length - 1];
         const ws = new WebSocket('wss://tasks.test/ws');
         ws.onopen = () => ws.send('ping');
         ws.onmessage = m => done(m.data); ws.onerror = () => done('error'); ws.onclose = c => done('closed ' + c.code);",
    );
    // The app read the message, which is not the token it wants first, and closed with its own code.
    assert_eq!(said, "closed 4401");
    let begun = std::time::Instant::now();
    let mut child = std::process::Command::new("curl")
        .args(["-sN", "--cacert"])
        .arg(world.public_root())
        .args(["--connect-to", &format!(":443:{}:443", world.fh.address)])
        .arg(format!("{URL}/slow?seconds=3&stream=true"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let lines: Vec<(String, f32)> = std::io::BufRead::lines(std::io::BufReader::new(out))
        .map_while(Result::ok)
        .map(|l| (l, begun.elapsed().as_secs_f32()))
        .collect();
    child.wait().unwrap();
    assert_eq!(lines.first().map(|l| l.0.as_str()), Some("inicio"));
    assert_eq!(lines.last().map(|l| l.0.as_str()), Some("fim"));
    // Held back until its end all of it would come at once; that the first was read a little late says nothing.
    assert!(lines[lines.len() - 1].1 - lines[0].1 > 1.0, "{lines:?}");
}
