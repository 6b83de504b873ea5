//! What the one that leaves still counts, told to the one that has the box: figures are of the box, whoever served.
//!
//! Of routes told is what came since the control plane here wrote figures down for the last time, so that none is missing and
//! none counts twice; of replicas, whose figures are written nowhere, what came since the other one took over. Where the last
//! writing did not end in time, it is the same of routes. What of it is about routes or replicas that the other one has no more is left out.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::wire::{Mouth, Word};
use crate::proxy::{EdgeHandle, Histogram, Meter, Reading, Snapshot};

/// Meters in one word.
const TOGETHER: usize = 50;

/// What a meter has counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    of: Of,
    #[serde(default)]
    requests: u64,
    classes: [u64; 5],
    failures: u64,
    rate_limited: u64,
    denied: u64,
    tunnels: u64,
    ended_at_limit: u64,
    cut_at_limit: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Largest value of a bucket, and how many are in it.
    latency: Vec<(u64, u64)>,
}

/// Whose meter, by key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    Route(String),
    Target(String),
}

impl Counted {
    fn new(of: Of, reading: &Reading) -> Self {
        Self {
            of,
            requests: reading.requests,
            classes: reading.classes,
            failures: reading.failures,
            rate_limited: reading.rate_limited,
            denied: reading.denied,
            tunnels: reading.tunnels,
            ended_at_limit: reading.ended_at_limit,
            cut_at_limit: reading.cut_at_limit,
            bytes_in: reading.bytes_in,
            bytes_out: reading.bytes_out,
            latency: reading.latency.buckets().collect(),
        }
    }

    fn reading(&self) -> Reading {
        Reading {
            requests: self.requests,
            in_flight: 0,
            classes: self.classes,
            failures: self.failures,
            rate_limited: self.rate_limited,
            denied: self.denied,
            tunnels: self.tunnels,
            ended_at_limit: self.ended_at_limit,
            cut_at_limit: self.cut_at_limit,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            latency: Histogram::of_buckets(self.latency.iter().copied()),
        }
    }
}

/// How far was told.
pub struct Tally {
    edge: EdgeHandle,
    /// Of meters that have counted anything.
    told: HashMap<Of, Reading>,
}

impl Tally {
    /// `written`: what routes had counted when figures were written down for the last time; without it, what they have by
    /// now counts as that.
    pub fn new(edge: EdgeHandle, written: Option<&HashMap<String, Reading>>) -> Self {
        let mut told: HashMap<Of, Reading> = readings(&edge.snapshot()).collect();
        if let Some(written) = written {
            told.retain(|of, _| matches!(of, Of::Target(_)));
            let routes = written.iter().filter(|(_, reading)| reading.requests > 0);
            told.extend(routes.map(|(key, reading)| (Of::Route(key.clone()), reading.clone())));
        }
        Self { edge, told }
    }

    /// What was counted since this was asked.
    fn news(&mut self) -> Vec<Counted> {
        let mut news = Vec::new();
        for (of, reading) in readings(&self.edge.snapshot()) {
            let since = match self.told.get(&of) {
                Some(told) => reading.since(told),
                None => reading.clone(),
            };
            if since.requests > 0 {
                news.push(Counted::new(of.clone(), &since));
                self.told.insert(of, reading);
            }
        }
        news
    }

    /// Tells it.
    pub async fn tell(&mut self, mouth: &mut Mouth) {
        for some in self.news().chunks(TOGETHER) {
            if let Err(error) = mouth.say(&Word::Counted(some.to_vec())).await {
                tracing::warn!(%error, "figures of requests that ended here could not be told to the one that has the box");
                return;
            }
        }
    }
}

fn readings(snapshot: &Snapshot) -> impl Iterator<Item = (Of, Reading)> {
    let routes = snapshot
        .all_routes()
        .map(|route| (Of::Route(route.spec.key.to_string()), route.meter()));
    // Several routes may share a target.
    let mut targets: HashMap<Of, &Arc<Meter>> = HashMap::new();
    for target in snapshot.targets() {
        targets.insert(Of::Target(target.key().to_string()), target.meter());
    }
    let all = routes.chain(targets).map(|(of, meter)| (of, meter.read()));
    all.filter(|(_, reading)| reading.requests > 0)
}

/// Counts what was told.
pub fn take_in(edge: &EdgeHandle, told: &[Counted]) {
    let snapshot = edge.snapshot();
    for counted in told {
        let meter = match &counted.of {
            Of::Route(key) => snapshot.route(key).map(|route| route.meter()),
            Of::Target(key) => {
                let mut all = snapshot.targets();
                all.find(|target| **target.key() == **key)
                    .map(|target| target.meter())
            }
        };
        if let Some(meter) = meter {
            meter.add(&counted.reading());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{Edge, Limits, Listeners, Route, RouteSpec, RouteTable};

    fn edge() -> Edge {
        let spec = RouteSpec {
            key: "route:1".into(),
            host: "a.test".into(),
            path_prefix: "/".into(),
            ..RouteSpec::default()
        };
        let first = Snapshot {
            routes: RouteTable::new([Route::new(spec, &Snapshot::default())]),
            ..Snapshot::default()
        };
        let (failures, _) = tokio::sync::mpsc::channel(1);
        let none = Listeners::default();
        Edge::start_closed(none, Arc::new(first), Limits::default(), failures).unwrap()
    }

    fn counts(edge: &Edge, requests: u64) {
        let reading = Reading {
            requests,
            classes: [0, requests, 0, 0, 0],
            bytes_out: 10 * requests,
            latency: Histogram::of_buckets([(1_500, requests)]),
            ..Reading::default()
        };
        let snapshot = edge.snapshot();
        snapshot.route("route:1").unwrap().meter().add(&reading);
    }

    fn read(edge: &Edge) -> Reading {
        edge.snapshot().route("route:1").unwrap().meter().read()
    }

    #[test]
    fn n4_what_the_one_that_leaves_counts_is_counted_once_where_the_box_is() {
        let (leaves, has_it) = (edge(), edge());
        counts(&leaves, 5);
        // Of those, four are in the figures already.
        let written = HashMap::from([(
            "route:1".to_owned(),
            Reading {
                requests: 4,
                ..Reading::default()
            },
        )]);
        let mut tally = Tally::new(leaves.handle(), Some(&written));
        counts(&leaves, 2);
        let told = serde_json::to_string(&tally.news()).unwrap();
        take_in(
            &has_it.handle(),
            &serde_json::from_str::<Vec<Counted>>(&told).unwrap(),
        );
        assert_eq!(read(&has_it).requests, 3);
        assert_eq!(read(&has_it).latency.total(), 7);
        assert!(tally.news().is_empty());
        counts(&leaves, 1);
        take_in(&has_it.handle(), &tally.news());
        assert_eq!(read(&has_it).requests, 4);
        // Nothing is known to be written: what there is by now counts as that.
        let mut tally = Tally::new(leaves.handle(), None);
        assert!(tally.news().is_empty());
        // A route that is no more.
        let mut gone = Counted::new(Of::Route("route:2".into()), &Reading::default());
        gone.requests = 9;
        take_in(&has_it.handle(), &[gone]);
    }
}
