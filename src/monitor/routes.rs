//! What passes through the edge, by route, process and replica: its counters as they stand, and the last minute.
//!
//! A route's counters outlive its replicas, so what a process has answered is what its routes have. The last minute is the
//! sum of the collector's last rounds; a round keeps only routes that moved, with their latencies in the short form.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::base::clock::UnixMs;
use crate::proxy::{self, Reading};
use crate::wire::apps::LeftOut;
use crate::wire::routes::{
    EdgeFigures, EdgeTotals, LatencyFigures, MinuteFigures, ProcessFigures, RefusedCount,
    RouteFigures, Routes, TargetFigures,
};

use super::Monitor;
use super::latency::Latency;
use super::ports::{EdgeReading, RouteReading};

const MINUTE: Duration = Duration::from_secs(60);

/// What routes did of late, by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Minute {
    rounds: VecDeque<Round>,
    last: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Round {
    began: Instant,
    moved: HashMap<String, Moved>,
}

#[derive(Clone, Debug, Default)]
struct Moved {
    requests: u64,
    latency: Latency,
}

impl Minute {
    /// Adds the round that ends with `readings`; it began with those in `before`.
    pub(super) fn add(
        &mut self,
        now: Instant,
        before: &HashMap<String, Reading>,
        readings: &[RouteReading],
    ) {
        // The first readings of all are no round: nobody knows when it began.
        if let Some(began) = self.last.replace(now) {
            let moved = readings.iter().filter_map(|route| {
                let earlier = before.get(&route.key);
                let moved = since(&route.reading, earlier)?;
                Some((route.key.clone(), moved))
            });
            let moved = moved.collect();
            self.rounds.push_back(Round { began, moved });
        }
        while let [first, second, ..] = self.rounds.make_contiguous()
            && now.duration_since(second.began) >= MINUTE
            && now.duration_since(first.began) > MINUTE
        {
            self.rounds.pop_front();
        }
    }

    /// The routes of these keys together.
    fn of<'a>(&self, keys: impl Iterator<Item = &'a str> + Clone) -> Option<MinuteFigures> {
        let seconds = self.last?.duration_since(self.rounds.front()?.began);
        let seconds = seconds.as_secs_f64();
        let mut sum = Moved::default();
        for round in &self.rounds {
            for moved in keys.clone().filter_map(|key| round.moved.get(key)) {
                sum.requests += moved.requests;
                sum.latency.merge(&moved.latency);
            }
        }
        let per_second = sum.requests as f64 / seconds.max(1.0);
        Some(MinuteFigures {
            per_second,
            latency: latency(&sum.latency),
        })
    }
}

/// What happened between two readings; nothing where nothing did. Counters that went back began anew.
fn since(now: &Reading, earlier: Option<&Reading>) -> Option<Moved> {
    let earlier = earlier.filter(|earlier| earlier.requests <= now.requests);
    let requests = now.requests - earlier.map_or(0, |earlier| earlier.requests);
    (requests > 0).then(|| Moved {
        requests,
        latency: match earlier {
            Some(earlier) => Latency::from(&now.latency.since(&earlier.latency)),
            None => Latency::from(&now.latency),
        },
    })
}

fn latency(counts: &Latency) -> LatencyFigures {
    LatencyFigures {
        p50_ms: counts.quantile_ms(0.5),
        p95_ms: counts.quantile_ms(0.95),
        p99_ms: counts.quantile_ms(0.99),
    }
}

fn figures(reading: &Reading, minute: Option<MinuteFigures>) -> EdgeFigures {
    EdgeFigures {
        requests: reading.requests,
        in_flight: reading.in_flight,
        classes: reading.classes,
        failed: reading.failures,
        rate_limited: reading.rate_limited,
        denied: reading.denied,
        bytes_in: reading.bytes_in,
        bytes_out: reading.bytes_out,
        latency: latency(&Latency::from(&reading.latency)),
        minute,
    }
}

fn add(sum: &mut Reading, other: &Reading) {
    sum.requests += other.requests;
    sum.in_flight += other.in_flight;
    for (sum, other) in sum.classes.iter_mut().zip(other.classes) {
        *sum += other;
    }
    sum.failures += other.failures;
    sum.rate_limited += other.rate_limited;
    sum.denied += other.denied;
    sum.tunnels += other.tunnels;
    sum.bytes_in += other.bytes_in;
    sum.bytes_out += other.bytes_out;
    sum.latency.merge(&other.latency);
}

/// All of it, in the order in which people look for it.
pub(super) fn routes(edge: EdgeReading, minute: &Minute, now: UnixMs) -> Routes {
    let mut processes: BTreeMap<(String, String), (Reading, Vec<String>)> = BTreeMap::new();
    for route in &edge.routes {
        if let (Some(app), Some(process)) = (&route.app, &route.process) {
            let of_process = processes.entry((app.clone(), process.clone())).or_default();
            add(&mut of_process.0, &route.reading);
            of_process.1.push(route.key.clone());
        }
    }
    let mut all: Vec<RouteFigures> = edge
        .routes
        .into_iter()
        .map(|route| RouteFigures {
            figures: figures(&route.reading, minute.of([route.key.as_str()].into_iter())),
            key: route.key,
            host: route.host,
            path: route.path,
            app: route.app,
            process: route.process,
            paused: route.paused,
            targets: route
                .targets
                .into_iter()
                .map(|target| TargetFigures {
                    figures: figures(&target.reading, None),
                    key: target.key,
                    container: target.container,
                    address: target.address,
                    left_out: target.left_out.now,
                    times_left_out: target.left_out.times,
                    last_left_out: last_left_out(target.left_out, target.fails, now),
                })
                .collect(),
        })
        .collect();
    all.sort_by(|one, other| (&one.host, &one.path).cmp(&(&other.host, &other.path)));
    Routes {
        edge: Some(EdgeTotals {
            connections: edge.connections,
            held: edge.held,
            refused: edge
                .refused
                .into_iter()
                .map(|(reason, count)| RefusedCount { reason, count })
                .collect(),
            log_dropped: edge.log_dropped,
        }),
        routes: all,
        processes: processes
            .into_iter()
            .map(|((app, process), (reading, keys))| ProcessFigures {
                app,
                process,
                figures: figures(&reading, minute.of(keys.iter().map(String::as_str))),
            })
            .collect(),
    }
}

impl Monitor {
    /// What passes through the edge.
    pub fn routes(&self) -> Routes {
        routes(self.world.edge(), &self.minute.borrow(), UnixMs::now())
    }
}

/// Why a target gets no requests, or got none a moment ago.
fn last_left_out(
    by_requests: proxy::LeftOut,
    fails: Option<(String, UnixMs)>,
    now: UnixMs,
) -> Option<LeftOut> {
    if let Some((why, since)) = fails {
        return Some(LeftOut {
            now: true,
            since_ms: since.0,
            why: format!("its check fails: {why}"),
        });
    }
    by_requests.last.map(|(why, ago)| LeftOut {
        now: by_requests.now,
        since_ms: now.minus(ago).0,
        why: why.words().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::ports::{RouteSeen, TargetSeen};
    use crate::proxy::{Cause, LeftOut};

    fn reading(requests: u64) -> Reading {
        Reading {
            requests,
            in_flight: 1,
            classes: [0, requests, 0, 0, 0],
            rate_limited: 2 * requests,
            denied: 3 * requests,
            bytes_out: 10 * requests,
            ..Reading::default()
        }
    }

    fn of_route(key: &str, requests: u64) -> RouteReading {
        RouteReading {
            key: key.into(),
            subject: "app:1".into(),
            reading: reading(requests),
        }
    }

    /// Rounds of ten seconds, in each of which the route has answered so many more.
    fn minute(rounds: &[u64]) -> Minute {
        let (start, mut minute) = (Instant::now(), Minute::default());
        let (mut before, mut sum) = (HashMap::new(), 0);
        for (round, added) in rounds.iter().enumerate() {
            sum += added;
            let now = start + Duration::from_secs(10 * round as u64);
            let readings = [of_route("r", sum), of_route("still", 5)];
            minute.add(now, &before, &readings);
            before = readings.map(|r| (r.key, r.reading)).into();
        }
        minute
    }

    fn per_second(rounds: &[u64]) -> Option<f64> {
        let figures = minute(rounds).of(["r"].into_iter())?;
        Some(figures.per_second)
    }

    #[test]
    fn e7_the_last_minute_is_the_last_six_rounds() {
        assert_eq!(per_second(&[]), None);
        assert_eq!(per_second(&[1_000]), None, "one reading is no round");
        assert_eq!(per_second(&[1_000, 20]), Some(2.0));
        assert_eq!(per_second(&[9, 9, 9, 600, 0, 0, 0, 0, 0]), Some(10.0));
        assert_eq!(per_second(&[9, 9, 9, 600, 0, 0, 0, 0, 0, 0]), Some(0.0));
        let still = minute(&[1, 1, 1]).of(["still"].into_iter()).unwrap();
        assert_eq!(still, MinuteFigures::default());
    }

    fn seen(key: &str, host: &str, process: Option<&str>, requests: u64) -> RouteSeen {
        RouteSeen {
            key: key.into(),
            host: host.into(),
            path: "/".into(),
            app: process.map(|_| "shop".into()),
            process: process.map(Into::into),
            paused: false,
            reading: reading(requests),
            targets: vec![TargetSeen {
                key: "replica:1".into(),
                container: None,
                address: "10.83.0.2:80".into(),
                left_out: LeftOut {
                    now: true,
                    times: requests,
                    last: Some((Cause::Silence, Duration::from_secs(3))),
                },
                fails: None,
                reading: reading(1),
            }],
        }
    }

    #[test]
    fn e7_what_a_process_answered_is_what_its_routes_have_whatever_replicas_came_and_went() {
        let edge = EdgeReading {
            connections: 4,
            held: 0,
            refused: vec![("unknown name".into(), 2)],
            log_dropped: 1,
            routes: vec![
                seen("r2", "b.test", Some("web"), 5),
                seen("r1", "a.test", Some("web"), 7),
                seen("r3", "c.test", Some("api"), 1),
                seen("config:x", "x.test", None, 3),
            ],
        };
        let told = routes(edge, &Minute::default(), UnixMs(10_000));
        let hosts: Vec<&str> = told.routes.iter().map(|r| r.host.as_str()).collect();
        assert_eq!(hosts, ["a.test", "b.test", "c.test", "x.test"]);
        let processes: Vec<_> = told
            .processes
            .iter()
            .map(|p| (p.process.as_str(), p.figures.requests, p.figures.bytes_out))
            .collect();
        assert_eq!(processes, [("api", 1, 10), ("web", 12, 120)]);
        let refused = |p: &ProcessFigures| (p.figures.rate_limited, p.figures.denied);
        assert_eq!(refused(&told.processes[1]), (24, 36));
        let target = &told.routes[1].targets[0];
        assert_eq!((target.left_out, target.times_left_out), (true, 5));
        let last = target.last_left_out.as_ref().unwrap();
        assert_eq!((last.now, last.since_ms), (true, 7_000));
        assert!(last.why.contains("hangs"), "{}", last.why);
        assert_eq!(told.edge.as_ref().unwrap().refused[0].count, 2);
        // Who sees one app sees no other's, and nothing of the box.
        let theirs = told.clone().of_apps(|app| app == "shop");
        assert_eq!((theirs.edge, theirs.routes.len()), (None, 3));
        let none = told.of_apps(|app| app == "blog");
        assert!(none.routes.is_empty() && none.processes.is_empty());
    }
}
