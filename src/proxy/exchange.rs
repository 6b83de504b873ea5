//! Exchange: one request from its head to the end of its answer's body, for the counts.
//!
//! Lives in the answer's body (or in the tunnel), so whatever ends that, ends it: the last byte, an error, a client that
//! went away. Dropping it releases the claim and writes the figures.
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::client::Client;
use super::meter::Outcome;
use super::policies::Met;
use super::routes::Route;
use super::target::Claim;
use super::tunnel::Tunnel;
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
    /// What the request became, until its answer is on its way.
    pub(super) tunnel: Option<Box<Tunnel>>,
    route: Option<Arc<Route>>,
    claim: Option<Claim>,
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
            tunnel: None,
            route: None,
            claim: None,
        }
    }

    /// From now on the request counts for this route (the first it is given; a newer snapshot's is the same meter).
    pub(super) fn routed(&mut self, route: &Arc<Route>) {
        if self.route.is_none() {
            route.meter().start(self.client.worker.index);
            self.route = Some(route.clone());
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

    /// The target failed before an answer; the request may go elsewhere.
    pub(super) fn give_back(&mut self) {
        if let Some(claim) = self.claim.take() {
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
        if let Some(claim) = self.claim.take() {
            claim.target().meter().end(worker, &self.outcome);
        }
        if let Some(route) = self.route.take() {
            route.meter().end(worker, &self.outcome);
        }
        let answered = self.outcome.status.is_some();
        self.client.request_ends(self.read_whole, answered);
    }
}
