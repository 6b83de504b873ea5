//! N4: what the one that goes still has when another one has taken over: requests that wait for their app, and figures.

use std::thread::JoinHandle;

use crate::n4_handover::another_has_the_place;
use crate::place::{PLAIN, Place, Shape};
use crate::support::edge::Answer;
use crate::support::until::{secs, until};

const HELD: usize = 6;

/// Requests that are over when their app may answer, over both protocols, half of them with a body.
fn ask(place: &Place) -> Vec<JoinHandle<Result<Answer, String>>> {
    let one = |number: usize| {
        let edge = place.edge.clone();
        std::thread::spawn(move || {
            let asked = edge.get(&format!("https://shop.localhost/ok/{number}?size=1000"));
            let asked = asked.option(&["--max-time", "180"]);
            match number % 2 {
                0 => asked.http1().send(),
                _ => asked.http2().send(),
            }
        })
    };
    (0..HELD).map(one).collect()
}

fn held(place: &Place) -> u64 {
    let status = place.fh.json(&["status", "--routes"]);
    status["edge"]["held"].as_u64().unwrap()
}

/// Requests that the route has in the figures of whoever has the box.
fn counted(place: &Place) -> u64 {
    let status = place.fh.json(&["status", "--routes"]);
    let all = status["routes"].as_array().unwrap().clone();
    let route = all.iter().find(|route| route["host"] == "shop.localhost");
    let route = route.unwrap_or_else(|| panic!("{all:?}"));
    let requests = |of: &serde_json::Value| of["requests"].as_u64();
    requests(route)
        .or_else(|| requests(&route["figures"]))
        .unwrap()
}

#[test]
fn n4_what_is_held_across_a_handover_goes_on_when_its_pause_ends_and_is_counted() {
    let place = Place::of_own_program(Shape {
        replicas: 1,
        // For as long as a busy machine takes for all of this.
        settings: "[hold]\ntime = \"120s\"\n",
        ..PLAIN
    });
    place.fh.cli(&["maintenance", "shop", "on"]);
    let asked = ask(&place);
    until("all to be held", secs(60), || match held(&place) {
        n if n == HELD as u64 => Ok(()),
        n => Err(format!("{n} are held")),
    });
    let old = place.fh.pid();
    place.fh.cli(&["reload"]);
    another_has_the_place(&place.fh, old);
    // The one that has them hears of it though its control plane is no more.
    place.fh.cli(&["maintenance", "shop", "off"]);
    for one in asked {
        let answer = one.join().unwrap().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.body.len(), 1000);
    }
    // And the one that did not answer them has them in its figures.
    until("the figures", secs(60), || match counted(&place) {
        n if n >= HELD as u64 => Ok(()),
        n => Err(format!("{n} requests are counted")),
    });
}
