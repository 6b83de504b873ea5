//! Exchange: one request from its head to the end of its answer's body, for the counts.
//!
//! Lives in the answer's body (or in the tunnel), so whatever ends that, ends it: the last byte, an error, a client that
//! went away. Dropping it releases the claim and writes the figures.
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderValue};
use http::request::Parts;

use super::access_log::{Ending, Entry};
use super::at_apps::AtApp;
use super::client::{Client, Phase};
use super::error::EdgeError;
use super::meter::{AtLimit, Outcome};
use super::policies::Met;
use super::routes::Route;
use super::sources::Source;
use super::target::Claim;
use super::tunnel::Tunnel;
use super::turn::Turn;
use super::upstream::h2c::Progress;

pub(super) struct Exchange {
    pub(super) client: Rc<Client>,
    pub(super) started: Instant,
    pub(super) outcome: Outcome,
    /// What the route's policies said.
    pub(super) met: Met,
    /// The request's body was read to its end.
    pub(super) read_whole: bool,
    /// A body that may still be on its way, and is counted when all is over.
    upload: Option<Rc<Progress>>,
    /// Whose it is, where a trusted proxy told.
    pub(super) spoken_for: Option<Source>,
    /// What the request became, until its answer is on its way.
    pub(super) tunnel: Option<Box<Tunnel>>,
    pub(super) ending: Ending,
    pub(super) turn: Turn,
    /// Why the edge itself answered, where it did.
    pub(super) refused: Option<&'static str>,
    /// How long it waited for its route.
    pub(super) held: Duration,
    retries: u32,
    /// What the access log will say of it.
    entry: Option<Box<Entry>>,
    route: Option<Arc<Route>>,
    claim: Option<Claim>,
    /// That it is at an app, on a connection of its own.
    at_app: Option<AtApp>,
}

impl Exchange {
    pub(super) fn begin(client: Rc<Client>) -> Exchange {
        let started = Instant::now();
        client.request_begins();
        Exchange {
            client,
            started,
            outcome: Outcome::default(),
            met: Met::default(),
            read_whole: false,
            upload: None,
            spoken_for: None,
            tunnel: None,
            ending: Ending::default(),
            turn: Turn::default(),
            refused: None,
            held: Duration::ZERO,
            retries: 0,
            entry: None,
            route: None,
            claim: None,
            at_app: None,
        }
    }

    /// From now on the request counts for this route (the first it is given; a newer snapshot's is the same meter).
    pub(super) fn routed(&mut self, route: &Arc<Route>) {
        if self.route.is_none() {
            let worker = &self.client.worker;
            route.meter().start(worker.index);
            route
                .budget()
                .look(worker.ms(self.started), || route.meter().started());
            self.route = Some(route.clone());
        }
    }

    /// Takes down what the access log says of the request, if its route's share takes it.
    pub(super) fn take_down(&mut self, parts: &Parts, id: &HeaderValue, client: &str, host: &str) {
        let Some(route) = &self.route else { return };
        let share = route.spec.access_log;
        if share.is_off() || !share.takes(self.client.worker.ids.random()) {
            return;
        }
        self.write_down(parts, id, client, host);
    }

    /// An answer is there: its errors are always taken down where anything is, and so is a part of what has no route.
    pub(super) fn take_down_late(&mut self, parts: &Parts, id: &HeaderValue) {
        // A call of gRPC is told of them with 200.
        let is_error =
            self.outcome.failed || self.outcome.status.is_some_and(|status| status >= 500);
        if self.entry.is_some() || (self.route.is_some() && !is_error) {
            return;
        }
        let worker = &self.client.worker;
        let share = match &self.route {
            Some(route) => route.spec.access_log,
            None => worker.shared.access_log.unrouted(),
        };
        if share.is_off() || !(is_error || share.takes(worker.ids.random())) {
            return;
        }
        let field = parts.headers.get(header::HOST);
        let host = parts.uri.authority().map(|authority| authority.as_str());
        let host = host.or_else(|| field.and_then(|field| field.to_str().ok()));
        let client = self.client.clone();
        let origin = client.origin(&parts.headers);
        self.write_down(parts, id, &origin.client, host.unwrap_or_default());
    }

    fn write_down(&mut self, parts: &Parts, id: &HeaderValue, client: &str, host: &str) {
        let query = self.client.worker.shared.access_log.query();
        self.entry = Some(Entry::of(parts, id, client, host, self.started, query));
    }

    /// It was held, and now it is another route's.
    pub(super) fn rerouted(&mut self, route: &Arc<Route>) {
        let worker = self.client.worker.index;
        if let Some(before) = self.route.replace(route.clone())
            && !Arc::ptr_eq(before.meter(), route.meter())
        {
            route.meter().start(worker);
            before.meter().end(worker, &Outcome::default());
        }
    }

    pub(super) fn route(&self) -> Option<&Arc<Route>> {
        self.route.as_ref()
    }

    pub(super) fn claimed(&mut self, claim: Claim) {
        claim.target().meter().start(self.client.worker.index);
        self.claim = Some(claim);
    }

    pub(super) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// The target could not be used: its place is offered to nobody else.
    pub(super) fn give_back_unused(&mut self) {
        if let Some(claim) = &mut self.claim {
            claim.wakes_nobody();
        }
        self.give_back();
    }

    /// It goes to an app on a connection of its own, if there may be one more.
    pub(super) fn goes_to_an_app(&mut self, address: IpAddr) -> Result<(), EdgeError> {
        if self.at_app.is_none() {
            self.at_app = Some(AtApp::enter(&self.client, address)?);
        }
        Ok(())
    }

    /// Its source has too much already: the place is somebody else's, and nothing is said of the target by it.
    pub(super) fn leave_place(&mut self) {
        if let Some(claim) = self.claim.take() {
            let nothing = Outcome::default();
            let worker = self.client.worker.index;
            claim.target().meter().end(worker, &nothing);
        }
    }

    /// The target failed before an answer; the request may go elsewhere.
    pub(super) fn give_back(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.retries += 1;
            let failed = Outcome {
                failed: true,
                ..Outcome::default()
            };
            claim
                .target()
                .meter()
                .end(self.client.worker.index, &failed);
        }
    }

    pub(super) fn uploads(&mut self, upload: Rc<Progress>) {
        self.upload = Some(upload);
    }

    /// At a drain's limit the answer, or the tunnel, ended like this.
    pub(super) fn ended_at_limit(&mut self, how: AtLimit) {
        self.outcome.at_limit = Some(how);
        self.ending = match how {
            AtLimit::Ended => Ending::Restart,
            AtLimit::Cut => Ending::CutAtLimit,
        };
    }

    /// An answer that broke off after a drain's limit did so because of it.
    fn judge_break(&mut self) {
        let broke = matches!(self.ending, Ending::ClientGone | Ending::UpstreamCut);
        let is_cut = |claim: &Claim| claim.target().is_cut();
        if broke
            && self.outcome.status.is_some()
            && (self.client.phase() >= Phase::AtLimit || self.claim().is_some_and(is_cut))
        {
            self.outcome.failed = false;
            self.ended_at_limit(AtLimit::Cut);
        }
    }

    pub(super) fn answered(&mut self, status: u16) {
        self.outcome.status = Some(status);
        self.outcome.head_micros = self.started.elapsed().as_micros() as u64;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let worker = self.client.worker.index;
        if let Some(upload) = &self.upload {
            self.outcome.bytes_in += upload.taken.get();
            self.read_whole = upload.whole.get();
        }
        self.judge_break();
        let claim = self.claim.take();
        if let Some(claim) = &claim {
            claim.target().meter().end(worker, &self.outcome);
        }
        let route = self.route.take();
        if let Some(route) = &route {
            route.meter().end(worker, &self.outcome);
        }
        if let Some(mut entry) = self.entry.take() {
            entry.over(&self.outcome, route);
            entry.ending = self.ending;
            entry.refused = self.refused;
            entry.retries = self.retries;
            entry.held_micros = self.held.as_micros() as u64;
            entry.target = claim.as_ref().map(|claim| claim.target().key().clone());
            self.client.worker.shared.access_log.hand_over(entry);
        }
        let by_app = claim.is_some();
        drop(claim);
        let answered = self.outcome.status.is_some();
        self.client
            .request_ends(self.read_whole, answered, by_app, self.spoken_for);
    }
}
