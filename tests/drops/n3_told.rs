//! Why a replica ended is told where people look: its exit code or signal, want of memory, the last it wrote; and one that
//! ends again and again is said to, and waited for longer each time.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::place::{Container, PLAIN, Place};
use crate::support::until::{secs, until};

/// So many ends in a row are a crash loop.
const LOOP: usize = 3;

#[test]
fn n3_the_page_tells_why_replicas_ended_and_that_one_does_again_and_again() {
    let place = Place::new(PLAIN);
    let owner = Owner::of(&place);
    let [exits, killed, eats] = place.containers().try_into().unwrap();
    exits.behave("exit:3");
    killed.docker(&["kill", "-s", "KILL"]);
    eats.behave("eat");
    // Of each: whose it was, what ended it, in words, and the last it wrote.
    let ends = [
        (
            &exits,
            (3, None, false),
            "ended with exit code 3",
            "told to exit with 3",
        ),
        (
            &killed,
            (137, Some(9), false),
            "was killed by SIGKILL",
            "listens on 8000",
        ),
        (
            &eats,
            (137, Some(9), true),
            "ran out of its memory limit",
            "told to eat memory",
        ),
    ];
    for (of, (code, signal, out_of_memory), why, last) in ends {
        // The engine may tell of want of memory after the death.
        let death = until("the API to tell of it", secs(60), || {
            let death = newest(&place, of)?;
            match death["out_of_memory"] == out_of_memory {
                true => Ok(death),
                false => Err(death.to_string()),
            }
        });
        assert_eq!(death["exit_code"], code, "{death}");
        assert_eq!(death["signal"].as_i64(), signal, "{death}");
        assert!(death["why"].as_str().unwrap().contains(why), "{death}");
        let page = owner.page("/apps/shop");
        let (_, ended) = page.split_once("Why replicas ended").expect(&page);
        let line = ended.split("<li>").find(|line| line.contains(&of.name));
        let line = line.and_then(|line| line.split("</li>").next()).unwrap();
        assert!(line.contains(why) && line.contains(last), "{line}");
    }

    // Told so often, and no oftener than it is back.
    for _ in 1..LOOP {
        place.until_serving(3);
        let all = place.containers();
        let again = all.iter().find(|c| c.name == exits.name).unwrap();
        let started = again.state()["StartedAt"].clone();
        again.behave("exit:3");
        // It may be back before anybody looks: the engine lets one wait for a moment only.
        until("its end", secs(60), || {
            let state = again.state();
            match state["Running"] == false || state["StartedAt"] != started {
                true => Ok(()),
                false => Err(state.to_string()),
            }
        });
    }
    let waits = until("the crash loop to be told", secs(60), || {
        let events = place.fh.json(&["events", "shop"]);
        let all = events.as_array().unwrap();
        let its = |e: &&Value| e["message"].as_str().unwrap().contains(&exits.name);
        let said = all
            .iter()
            .find(|e| its(e) && e["kind"] == "container.crash_loop");
        said.ok_or_else(|| events.to_string())?;
        // The newest come first.
        let waits = all.iter().rev().filter(its).filter_map(wait);
        Ok(waits.collect::<Vec<u64>>())
    });
    assert_eq!(waits.len(), LOOP, "{waits:?}");
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    let page = owner.page("/apps/shop");
    let said = format!("{LOOP} times in a row");
    assert!(page.contains(&said), "{page}");
    let activity = owner.page("/apps/shop/activity");
    assert!(activity.contains("for the 3. time in a row"), "{activity}");
    place.until_serving(3);
}

/// How it ended the last time, once its last lines were read, too.
fn newest(place: &Place, of: &Container) -> Result<Value, String> {
    let all = place.replicas();
    let its = all.iter().find(|r| r["name"] == of.name.as_str());
    let death = its.map(|its| its["deaths"][0].clone()).unwrap_or_default();
    let lines = death["lines"].as_array().is_some_and(|l| !l.is_empty());
    lines.then_some(death).ok_or_else(|| format!("{all:?}"))
}

/// After how many seconds it is started again, if the event says so.
fn wait(event: &Value) -> Option<u64> {
    let (_, rest) = event["message"]
        .as_str()?
        .split_once("started again within ")?;
    rest.split(' ').next()?.parse().ok()
}

/// Who may see every page.
struct Owner {
    socket: PathBuf,
    session: String,
}

impl Owner {
    /// Comes in by the link that the box's owner is given.
    fn of(place: &Place) -> Self {
        let run = place.fh.path("run");
        let socket = run.join("edge.sock");
        let link = ask(
            &run.join("freehold.sock"),
            "POST",
            "/api/v1/setup-link",
            "",
            "",
        );
        let path = format!("/setup/{}", between(&link, "/setup/", "\""));
        let page = ask(&socket, "GET", &path, "Accept: text/html\r\n", "");
        let visitor = between(&page, "__Host-freehold-visitor=", ";");
        let form = format!(
            "Cookie: __Host-freehold-visitor={visitor}\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        );
        let token = between(&page, "name=\"form-token\" value=\"", "\"");
        let words = format!(
            "form-token={token}&password=four+words+are+enough&again=four+words+are+enough"
        );
        let entered = ask(&socket, "POST", &path, &form, &words);
        let session = between(&entered, "__Host-freehold=", ";").to_owned();
        Self { socket, session }
    }

    fn page(&self, path: &str) -> String {
        let more = format!(
            "Cookie: __Host-freehold={}\r\nAccept: text/html\r\n",
            self.session
        );
        let page = ask(&self.socket, "GET", path, &more, "");
        assert!(page.starts_with("HTTP/1.1 200"), "{path}: {page}");
        page
    }
}

/// One request; all of the answer.
fn ask(socket: &Path, method: &str, path: &str, more: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(secs(60))).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: panel.test\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{text}"));
    rest.split(after).next().unwrap()
}
