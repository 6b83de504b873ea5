//! Hold: a request waits, body unread, while its route is paused or no target of it can be reached.
//!
//! It waits for a newer snapshot; where targets exist but refuse, it tries them again at growing intervals as well,
//! because an app that restarts at the same address changes nothing in the snapshot. Nothing was sent, so nothing is lost.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{Client, Phase};
use super::error::EdgeError;
use super::gate::Place;
use super::host::Host;
use super::origin::Origin;
use super::routes::{Route, Upstream};
use super::site::{self, Entrance};
use crate::base::clock::UnixMs;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_millis(1_000);
/// Past a pause's end, how long the held wait for the snapshot that says so.
const RESUMES: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Hold {
    waiting: Option<Waiting>,
}

struct Waiting {
    since: Instant,
    pause: Duration,
    published: watch::Receiver<u64>,
    /// Its place among the held, taken when it first had to wait.
    _place: Place,
}

impl Hold {
    /// Returns with the route to try next: a newer one, or the same after a moment.
    pub(super) async fn wait(
        &mut self,
        client: &Client,
        origin: &Origin<'_>,
        host: &Host,
        path: &str,
        route: &Arc<Route>,
    ) -> Result<Arc<Route>, EdgeError> {
        let limit = route.spec.held_for.unwrap_or(client.limits().held_for);
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            none => none.insert(Waiting {
                since: Instant::now(),
                pause: FIRST,
                published: client.worker.shared.published.subscribe(),
                _place: route
                    .gate()
                    .enter(client.limits().held)
                    .ok_or(EdgeError::HeldFull)?,
            }),
        };
        let on_its_way_down = client.worker.on_its_way_down();
        let entrance = Entrance::of(client, origin);
        let newest =
            || site::find_route(&client.worker.shared.snapshot.load(), entrance, host, path);
        // Published between our reading and our listening?
        let now_there = newest()?;
        if !Arc::ptr_eq(&now_there, route) {
            return Ok(now_there);
        }
        let waited = waiting.since.elapsed();
        let (paused, left) = match &route.spec.upstream {
            Upstream::Paused { until, .. } => (
                true,
                limit
                    .saturating_sub(waited)
                    .min(until.plus(RESUMES).since(UnixMs::now())),
            ),
            Upstream::Targets(_) | Upstream::Static(_) => (false, limit.saturating_sub(waited)),
        };
        if left.is_zero() || client.phase() >= Phase::Ending {
            return Err(EdgeError::HeldTooLong { paused, waited });
        }
        let retries = !route.targets().is_empty();
        let pause = if retries {
            waiting.pause.min(left)
        } else {
            left
        };
        if retries {
            waiting.pause = (waiting.pause * 2).min(LONGEST);
        }
        // Either way the next look decides; a closed channel means that the edge is on its way down.
        tokio::select! {
            _changed = waiting.published.changed() => {}
            () = tokio::time::sleep(pause) => {}
            () = on_its_way_down => {}
        }
        newest()
    }

    /// A target took the request.
    pub(super) fn over(&mut self) {
        self.waiting = None;
    }
}
