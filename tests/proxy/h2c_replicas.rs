//! Replicas that are spoken to over HTTP/2 without TLS: one that hangs is treated as one of HTTP/1.1 is.
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::app::{App, h2c_app};
use crate::balancing::{reads_leave_what_is_given_up, reads_leave_what_is_silent};
use crate::client::{Http1, post};
use crate::h2c::{PATIENCE, frames};
use crate::retry::{Seen, a_fifth_has_a_second_chance};
use crate::rig::{Rig, World, h2c_target, route, within};

/// Takes each request and never answers; tells the methods of those that were taken back.
async fn hung() -> (App, UnboundedReceiver<http::Method>) {
    let (saying, heard) = unbounded_channel();
    let app = frames(move |mut connection, _| {
        let saying = saying.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let saying = saying.clone();
                tokio::spawn(async move {
                    let method = request.method().clone();
                    // Held, so that it is not refused by being dropped.
                    let _body = request.into_body();
                    let taken_back = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                    if matches!(taken_back, Ok(h2::Reason::CANCEL)) {
                        saying.send(method).ok();
                    }
                });
            }
        }
    })
    .await;
    (app, heard)
}

#[tokio::test]
async fn n3_a_hung_h2c_replica_is_left_out_and_its_unanswered_reads_go_elsewhere_at_that_moment() {
    let (sick, _heard) = hung().await;
    let (one, two) = (h2c_app("one").await, h2c_app("two").await);
    reads_leave_what_is_silent(h2c_target, [&sick, &one, &two]).await;
}

/// What goes elsewhere is taken back there: a stream that nobody waits for does not fill the connection.
#[tokio::test]
async fn n3_reads_leave_an_h2c_replica_that_is_given_up_and_nothing_else_does() {
    let (sick, mut heard) = hung().await;
    let well = h2c_app("well").await;
    reads_leave_what_is_given_up(h2c_target, &sick, &well).await;
    let first = within(PATIENCE, "a reset", heard.recv()).await;
    assert_eq!(first, Some(http::Method::GET));
    // The POST's, whose client left at the end.
    let second = tokio::time::timeout(Duration::from_secs(5), heard.recv()).await;
    assert_ne!(second, Ok(Some(http::Method::GET)));
}

/// Answers the first request of each connection and resets all that follow.
async fn resets() -> App {
    frames(|mut connection, _| async move {
        let mut has_answered = false;
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            match std::mem::replace(&mut has_answered, true) {
                false => drop(respond.send_response(http::Response::new(()), true)),
                true => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            }
        }
    })
    .await
}

/// A stream that is reset on a connection that goes on is the app's doing, whatever the connection has served before.
#[tokio::test]
async fn e5_an_h2c_replica_that_resets_what_it_is_asked_is_left_out() {
    let (sick, well) = (resets().await, h2c_app("well").await);
    let targets = [h2c_target(sick.address), h2c_target(well.address)];
    let route = route("tasks.test", &[&targets[0], &targets[1]]);
    let rig = Rig::start(World::of([route]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let mut failed = 0;
    for _ in 0..100 {
        let status = client.ask(post("https://tasks.test/", "x")).await;
        failed += usize::from(status.unwrap().status != 200);
    }
    // Half of them otherwise.
    assert!((1..20).contains(&failed), "{failed}");
}

/// E5: "within a budget of 20 %". An app that resets each request once, on a connection that goes on, is asked again for a
/// fifth of them, and what a route may do in any case: five at once, and one a second.
#[tokio::test]
async fn e5_of_requests_that_an_h2c_app_resets_once_a_fifth_has_a_second_chance() {
    const REQUESTS: usize = 200;
    let seen = Seen::default();
    let all = seen.clone();
    let app = frames(move |mut connection, _| {
        let all = all.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                match all.times(request.uri().path()) {
                    1 => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                    _ => drop(respond.send_response(http::Response::new(()), true)),
                }
            }
        }
    })
    .await;
    a_fifth_has_a_second_chance(&h2c_target(app.address), &seen, REQUESTS).await;
}
