//! Hold: a request waits, body unread, while its route is paused or no target of it can be reached.
//!
//! It waits for a newer snapshot; where targets exist but refuse, it tries them again at growing intervals as well,
//! because an app that restarts at the same address changes nothing in the snapshot. Where targets take only so many requests
//! at once, it queues for a place as well. Nothing was sent, so nothing is lost.
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{Client, Phase};
use super::error::EdgeError;
use super::gate::{Gate, Place, Queued};
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
    /// How long it waited before, when a target took it and gave it back.
    before: Duration,
    /// Until it tries again; nothing before the first time.
    pause: Option<Duration>,
    /// Where the next is woken as soon as a target has taken this one.
    next: Option<Arc<Gate>>,
}

struct Waiting {
    since: Instant,
    published: watch::Receiver<u64>,
    /// Its place among the held, taken when it first had to wait.
    _place: Place,
    /// Its place in the queue for a target's, if that is what it waits for.
    queued: Option<Queued>,
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
                published: client.worker.shared.published.subscribe(),
                _place: route
                    .gate()
                    .enter(client.limits().held)
                    .ok_or(EdgeError::HeldFull)?,
                queued: None,
            }),
        };
        if waiting.queued.is_none() && has_no_place(route) {
            waiting.queued = Some(route.gate().queue());
        }
        let entrance = Entrance::of(client, origin);
        let newest =
            || site::find_route(&client.worker.shared.snapshot.load(), entrance, host, path);
        // Published between our reading and our listening?
        let now_there = newest()?;
        if !Arc::ptr_eq(&now_there, route) {
            return Ok(now_there);
        }
        let waited = self.before + waiting.since.elapsed();
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
            if !paused && waiting.queued.is_some() {
                return Err(EdgeError::Busy(waited));
            }
            return Err(EdgeError::HeldTooLong { paused, waited });
        }
        let retries = !route.targets().is_empty();
        let pause = if retries {
            let pause = self.pause.unwrap_or(FIRST);
            self.pause = Some((pause * 2).min(LONGEST));
            pause.min(left)
        } else {
            left
        };
        // Either way the next look decides; a closed channel means that the edge is on its way down.
        tokio::select! {
            _changed = waiting.published.changed() => {}
            () = tokio::time::sleep(pause) => {}
            () = on_its_way_down(client) => {}
            () = place_free(waiting.queued.as_ref()) => {}
        }
        newest()
    }

    /// Whether a request that comes now must queue behind others, instead of taking what they wait for.
    pub(super) fn is_barred(&self, route: &Route) -> bool {
        route.is_capped() && self.waiting.is_none() && route.gate().has_queue()
    }

    /// It has a claim. If it queued for it, the next in the queue may have a place too: several that become free in the same
    /// moment wake one. It is woken when a target has taken this one: of one that cannot be reached there is nothing to tell.
    pub(super) fn has_a_place(&mut self, route: &Route) {
        let queued = self.waiting.as_ref().is_some_and(|w| w.queued.is_some());
        let more = queued && route.targets().iter().any(|target| !target.is_full());
        self.next = more.then(|| route.gate().clone());
    }

    /// A target took the request.
    pub(super) fn over(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.before += waiting.since.elapsed();
        }
        if let Some(gate) = self.next.take() {
            gate.place_is_free();
        }
    }
}

/// Ready once the edge ends what waits.
async fn on_its_way_down(client: &Client) {
    let place = client.worker.endings.place();
    poll_fn(|cx| {
        place.listen(cx);
        match client.phase() >= Phase::Ending {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

fn has_no_place(route: &Route) -> bool {
    route.is_capped()
        && (route.gate().has_queue() || route.targets().iter().any(|target| target.is_full()))
}

async fn place_free(queued: Option<&Queued>) {
    match queued {
        Some(queued) => queued.woken().await,
        None => std::future::pending().await,
    }
}
