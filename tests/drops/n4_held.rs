//! N4: what the one that goes still has when another one has taken over: requests that wait for their app, and figures.

use std::thread::JoinHandle;

use crate::n4_handover::{another_has_the_place, daemons};
use crate::place::{PLAIN, Place, Shape};
use crate::support::edge::Answer;
use crate::support::until::{secs, until, until_true};

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

/// Answers of 2xx, and of 5xx, that the route has in the figures of whoever has the box.
fn counted(place: &Place) -> (u64, u64) {
    let status = place.fh.json(&["status", "--routes"]);
    let all = status["routes"].as_array().unwrap().clone();
    let route = all.iter().find(|route| route["host"] == "shop.localhost");
    let route = route.unwrap_or_else(|| panic!("{all:?}"));
    let of = |class: usize| route["figures"]["classes"][class].as_u64().unwrap();
    (of(1), of(4))
}

fn place(settings: &'static str) -> Place {
    Place::of_own_program(Shape {
        replicas: 1,
        settings,
        ..PLAIN
    })
}

/// What those are answered who came during a pause that ended after a handover.
fn held_across(place: &Place) -> Vec<Answer> {
    place.fh.cli(&["maintenance", "shop", "on"]);
    let asked = ask(place);
    until("all to be held", secs(60), || match held(place) {
        n if n == HELD as u64 => Ok(()),
        n => Err(format!("{n} are held")),
    });
    let old = place.fh.pid();
    place.fh.cli(&["reload"]);
    another_has_the_place(&place.fh, old);
    // The one that has them hears of it though its control plane is no more.
    place.fh.cli(&["maintenance", "shop", "off"]);
    let answers = asked.into_iter().map(|one| one.join().unwrap().unwrap());
    answers.collect()
}

#[test]
fn n4_what_is_held_across_a_handover_goes_on_when_its_pause_ends_and_is_counted() {
    // For as long as a busy machine takes for all of this.
    let place = place("[hold]\ntime = \"120s\"\n");
    for answer in held_across(&place) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.body.len(), 1000);
    }
    // And the one that did not answer them has them in its figures.
    until("the figures", secs(60), || match counted(&place) {
        (good, _) if good >= HELD as u64 => Ok(()),
        all => Err(format!("{all:?} are counted")),
    });
}

/// The saboteur: where nobody tells the one that goes of the end of a pause, they wait for nothing; and where it tells nothing
/// of them, nobody has counted them.
#[test]
fn n4_whoever_is_held_by_one_that_hears_of_nothing_is_noticed() {
    let place = place("[hold]\ntime = \"120s\"\n[drain]\nreplica = \"7s\"\n");
    place.fh.sabotage(Some("no-news"));
    place.until_serving(1);
    let statuses: Vec<u16> = held_across(&place).iter().map(|a| a.status).collect();
    assert_eq!(statuses, [503; HELD]);
    // By then it would have told. What else is counted is the box's own check of the app, which is answered well.
    until_true("the one before to be gone", secs(120), || {
        daemons(&place.fh) == 1
    });
    assert_eq!(counted(&place).1, 0);
}
