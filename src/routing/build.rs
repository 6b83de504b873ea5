//! The decision itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::input::{Answer, Input, Replica, Route};
use crate::base::policies::VerifierKey;
use crate::proxy::{
    self, Address, Policies, RouteSpec, RouteTable, Snapshot, Target, Traits, Upstream,
};

/// A snapshot, and what follows from publishing it.
pub struct Built {
    /// To be published.
    pub snapshot: Snapshot,
    /// To be retired once it is published.
    pub gone: Vec<Arc<Target>>,
    /// Those of them that are there and fail their check: what waits for them may as well go elsewhere.
    pub ill: Vec<Arc<Target>>,
    /// Routes that are not served, each with the reason.
    pub refused: Vec<String>,
}

/// Targets that this snapshot is the first to have.
type Fresh = HashMap<(String, Address, Traits), Arc<Target>>;

/// The snapshot of `input`, following `previous`.
pub fn build(input: Input, previous: &Snapshot) -> Built {
    let mut seen: HashMap<(String, String), String> = HashMap::new();
    let mut refused = Vec::new();
    let mut fresh = Fresh::new();
    let mut routes = Vec::new();
    let doubtful = doubtful(&input.routes);
    for route in input.routes {
        let place = (route.host.clone(), route.path.clone());
        if let Some(first) = seen.get(&place) {
            refused.push(format!(
                "{}{} is wanted twice: {first} serves it, {} does not",
                route.host, route.path, route.group
            ));
            continue;
        }
        seen.insert(place, route.group.clone());
        routes.push(made(route, previous, &input.verifiers, &mut fresh));
    }
    let default_route = input
        .default_route
        .map(|route| made(route, previous, &input.verifiers, &mut fresh));
    let snapshot = Snapshot {
        generation: previous.generation + 1,
        routes: RouteTable::new(routes),
        certificates: input.certificates,
        default_certificate: input.default_certificate,
        default_route,
        challenges: input.challenges,
    };
    let kept: HashSet<*const Target> = snapshot.targets().map(Arc::as_ptr).collect();
    let mut gone: Vec<Arc<Target>> = Vec::new();
    for target in previous.targets() {
        if !kept.contains(&Arc::as_ptr(target)) && !gone.iter().any(|g| Arc::ptr_eq(g, target)) {
            gone.push(Arc::clone(target));
        }
    }
    let is_ill = |target: &&Arc<Target>| {
        let mut all = doubtful.iter();
        all.any(|(key, address)| **key == **target.key() && address == target.address())
    };
    let ill = gone.iter().filter(is_ill).cloned().collect();
    Built {
        snapshot,
        gone,
        ill,
        refused,
    }
}

fn made(
    route: Route,
    previous: &Snapshot,
    verifiers: &VerifierKey,
    fresh: &mut Fresh,
) -> Arc<proxy::Route> {
    let traits = route.traits;
    let ill = ill(&route);
    let mut target = |key: String, address: Address| {
        if let Some(kept) = previous.target(&key, &address, traits) {
            return kept;
        }
        let new = || Target::with(key.as_str(), address.clone(), traits);
        Arc::clone(
            fresh
                .entry((key.clone(), address.clone(), traits))
                .or_insert_with(new),
        )
    };
    let upstream = match route.answer {
        Answer::Paused { since, until } => Upstream::Paused { since, until },
        Answer::Files(site) => Upstream::Static(site),
        Answer::Socket(path) => {
            Upstream::Targets(vec![target(route.group.clone(), Address::Unix(path))])
        }
        Answer::Addresses { well, .. } => Upstream::Targets(
            well.into_iter()
                .map(|a| target(key_at(&route.group, a), Address::Tcp(a)))
                .collect(),
        ),
        Answer::Replicas(replicas) => Upstream::Targets(
            answering(&replicas)
                .into_iter()
                .map(|(row, a)| target(key_of(row), Address::Tcp(a)))
                .collect(),
        ),
    };
    proxy::Route::new(
        RouteSpec {
            key: route.key.into(),
            group: route.group.into(),
            app: route.app.into(),
            process: route.process.into(),
            host: route.host.into(),
            path_prefix: route.path.into(),
            upstream,
            ill: ill.into_iter().map(|(key, a)| (key.into(), a)).collect(),
            redirect_http: true,
            body_bytes: route.body_bytes,
            held_for: route.held_for,
            access_log: route.access_log,
            sticky: route.policies.sticky == Some(true),
            policies: Arc::new(Policies::compile(&route.policies, verifiers)),
            public_certificate: route.public_certificate,
        },
        previous,
    )
}

/// The targets of replicas that run though their check fails, and of addresses that get nothing because of theirs.
fn doubtful(routes: &[Route]) -> Vec<(String, Address)> {
    let of = |route: &Route| match &route.answer {
        Answer::Replicas(replicas) => replicas
            .iter()
            .filter(|r| r.doubtful)
            .filter_map(|r| Some((key_of(r.row), Address::Tcp(r.address?))))
            .collect(),
        _ => ill(route),
    };
    routes.iter().flat_map(of).collect()
}

/// The addresses of a route that get nothing because their check fails.
fn ill(route: &Route) -> Vec<(String, Address)> {
    let Answer::Addresses { ill, .. } = &route.answer else {
        return Vec::new();
    };
    let named = |a: &std::net::SocketAddr| (key_at(&route.group, *a), Address::Tcp(*a));
    ill.iter().map(named).collect()
}

/// Each address is one of its own, to cookies, figures and the access log, too.
fn key_at(group: &str, address: std::net::SocketAddr) -> String {
    match group.ends_with(&address.to_string()) {
        true => group.to_owned(),
        false => format!("{group} {address}"),
    }
}

fn key_of(row: i64) -> String {
    format!("replica:{row}")
}

/// The replicas that get traffic: the healthy ones; when there is none, those
/// that run though their check fails, because their answer is better than none.
fn answering(replicas: &[Replica]) -> Vec<(i64, std::net::SocketAddr)> {
    let pick = |wanted: fn(&Replica) -> bool| -> Vec<_> {
        replicas
            .iter()
            .filter(|r| wanted(r))
            .filter_map(|r| r.address.map(|a| (r.row, a)))
            .collect()
    };
    let healthy = pick(|r| r.healthy);
    if healthy.is_empty() {
        pick(|r| r.doubtful)
    } else {
        healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::log_share::LogShare;
    use crate::proxy::Protocol;
    use crate::proxy::Traits;

    fn replica(row: i64, port: u16, healthy: bool, doubtful: bool) -> Replica {
        Replica {
            row,
            address: Some(([10, 83, 0, 2], port).into()),
            healthy,
            doubtful,
        }
    }

    fn route(group: &str, host: &str, answer: Answer) -> Route {
        Route {
            key: format!("route:{host}"),
            group: group.into(),
            app: "shop".into(),
            process: "web".into(),
            host: host.into(),
            path: "/".into(),
            answer,
            body_bytes: None,
            held_for: None,
            traits: Traits::default(),
            access_log: LogShare::ALL,
            policies: Default::default(),
            public_certificate: true,
        }
    }

    fn addresses_of(well: &[u16], ill: &[u16]) -> Answer {
        let at = |ports: &[u16]| ports.iter().map(|p| ([127, 0, 0, 1], *p).into()).collect();
        Answer::Addresses {
            well: at(well),
            ill: at(ill),
        }
    }

    fn input(routes: Vec<Route>) -> Input {
        Input {
            routes,
            ..Input::default()
        }
    }

    fn addresses(snapshot: &Snapshot) -> Vec<String> {
        let mut all: Vec<_> = snapshot
            .targets()
            .map(|t| t.address().to_string())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn f4_a_target_that_stays_keeps_its_identity_and_one_that_goes_is_handed_back() {
        let before = build(
            input(vec![route(
                "app:1",
                "a.test",
                Answer::Replicas(vec![
                    replica(1, 80, true, false),
                    replica(2, 81, true, false),
                ]),
            )]),
            &Snapshot::default(),
        );
        assert!(before.gone.is_empty());
        let after = build(
            input(vec![route(
                "app:1",
                "a.test",
                Answer::Replicas(vec![
                    replica(2, 81, true, false),
                    replica(3, 82, true, false),
                ]),
            )]),
            &before.snapshot,
        );
        let kept = |s: &Snapshot| {
            s.targets()
                .find(|t| &**t.key() == "replica:2")
                .cloned()
                .unwrap()
        };
        assert!(Arc::ptr_eq(&kept(&before.snapshot), &kept(&after.snapshot)));
        assert_eq!(after.gone.len(), 1);
        assert_eq!(&**after.gone[0].key(), "replica:1");
        assert_eq!(after.snapshot.generation, before.snapshot.generation + 1);
    }

    #[test]
    fn f8_a_replica_that_came_back_at_another_address_is_another_target() {
        let at = |port| {
            input(vec![route(
                "app:1",
                "a.test",
                Answer::Replicas(vec![replica(1, port, true, false)]),
            )])
        };
        let before = build(at(80), &Snapshot::default());
        let after = build(at(90), &before.snapshot);
        assert_eq!(after.gone.len(), 1);
        assert_eq!(addresses(&after.snapshot), ["10.83.0.2:90"]);
    }

    #[test]
    fn e2_an_upstream_that_is_spoken_to_otherwise_is_another_target() {
        let at = |protocol| {
            let answer = addresses_of(&[9001], &[]);
            let mut route = route("config:a", "a.test", answer);
            route.traits.protocol = protocol;
            input(vec![route])
        };
        let before = build(at(Protocol::Http1), &Snapshot::default());
        let after = build(at(Protocol::H2c), &before.snapshot);
        assert_eq!(after.gone.len(), 1);
        let protocols = |snapshot: &Snapshot| -> Vec<_> {
            snapshot.targets().map(|t| t.traits().protocol).collect()
        };
        assert_eq!(protocols(&after.snapshot), [Protocol::H2c]);
        let again = build(at(Protocol::H2c), &after.snapshot);
        assert!(again.gone.is_empty());
    }

    #[test]
    fn e5_a_replica_whose_cap_changes_is_another_target() {
        let of = |cap, previous: &Snapshot| {
            let mut route = route(
                "app:1",
                "a.test",
                Answer::Replicas(vec![replica(1, 80, true, false)]),
            );
            route.traits.cap = cap;
            build(input(vec![route]), previous)
        };
        let cap = |built: &Built| built.snapshot.targets().next().unwrap().traits().cap;
        let before = of(Some(20), &Snapshot::default());
        let same = of(Some(20), &before.snapshot);
        let after = of(None, &same.snapshot);
        assert_eq!((cap(&same), same.gone.len()), (Some(20), 0));
        assert_eq!((cap(&after), after.gone.len()), (None, 1));
    }

    /// Else a client's cookie names all of them, and it is sent to the first.
    #[test]
    fn e5_each_address_of_a_route_is_a_target_of_its_own() {
        let answer = addresses_of(&[81, 82], &[]);
        let built = build(
            input(vec![route("route:7", "a.test", answer)]),
            &Snapshot::default(),
        );
        let keys = built.snapshot.targets().map(|t| t.key().to_string());
        let mut keys: Vec<_> = keys.collect();
        keys.sort();
        assert_eq!(keys, ["route:7 127.0.0.1:81", "route:7 127.0.0.1:82"]);
    }

    #[test]
    fn n3_what_waits_for_a_replica_that_fails_its_check_may_go_elsewhere() {
        let of = |replicas, previous: &Snapshot| {
            let wanted = input(vec![route("app:1", "a.test", Answer::Replicas(replicas))]);
            build(wanted, previous)
        };
        let three = (1..4).map(|n| replica(n, 80 + n as u16, true, false));
        let before = of(three.collect(), &Snapshot::default());
        // The first is ill, the second's deploy is over, the third is well.
        let sick = replica(1, 81, false, true);
        let after = of(vec![sick, replica(3, 83, true, false)], &before.snapshot);
        let keys = |targets: &[Arc<Target>]| -> Vec<String> {
            targets.iter().map(|t| t.key().to_string()).collect()
        };
        assert_eq!(after.gone.len(), 2);
        assert_eq!(keys(&after.ill), ["replica:1"]);
    }

    #[test]
    fn e5_what_waits_for_an_address_that_fails_its_check_may_go_elsewhere() {
        let of = |well: &[u16], ill: &[u16], previous: &Snapshot| {
            let answer = addresses_of(well, ill);
            build(input(vec![route("route:7", "a.test", answer)]), previous)
        };
        let before = of(&[81, 82, 83], &[], &Snapshot::default());
        // One fails its check, the name has another no more.
        let after = of(&[82], &[81], &before.snapshot);
        let keys = |targets: &[Arc<Target>]| -> Vec<String> {
            targets.iter().map(|t| t.key().to_string()).collect()
        };
        assert_eq!(after.gone.len(), 2);
        assert_eq!(keys(&after.ill), ["route:7 127.0.0.1:81"]);
        let found = after.snapshot.routes.find("a.test", "/").unwrap();
        let told: Vec<_> = found.spec.ill.iter().map(|(key, _)| &**key).collect();
        assert_eq!(told, ["route:7 127.0.0.1:81"]);
        let back = of(&[81, 82], &[], &after.snapshot);
        assert!(back.gone.is_empty() && back.ill.is_empty());
    }

    #[test]
    fn e6_policies_reach_the_edge_with_what_they_need() {
        let mut wanted = route("app:1", "a.test", Answer::Replicas(vec![]));
        wanted.policies = toml::from_str("sticky = true\nhsts = true").unwrap();
        let built = build(input(vec![wanted.clone()]), &Snapshot::default());
        let spec = |built: &Built| {
            let found = built.snapshot.routes.find("a.test", "/");
            found.map(|route| route.spec.clone()).unwrap()
        };
        let first = spec(&built);
        assert!(first.sticky && first.public_certificate);
        assert!(format!("{:?}", first.policies).contains("max-age=31536000"));
        wanted.policies = Default::default();
        wanted.public_certificate = false;
        let second = spec(&build(input(vec![wanted]), &built.snapshot));
        assert!(!second.sticky && !second.public_certificate);
        assert_eq!(format!("{:?}", second.policies), "Policies(None)");
    }

    #[test]
    fn doubtful_replicas_answer_only_when_nobody_else_does() {
        let of = |replicas| {
            let built = build(
                input(vec![route("app:1", "a.test", Answer::Replicas(replicas))]),
                &Snapshot::default(),
            );
            addresses(&built.snapshot)
        };
        let sick = replica(1, 80, false, true);
        let starting = replica(2, 81, false, false);
        let well = replica(3, 82, true, false);
        assert_eq!(
            of(vec![sick.clone(), starting.clone(), well]),
            ["10.83.0.2:82"]
        );
        assert_eq!(of(vec![sick, starting.clone()]), ["10.83.0.2:80"]);
        assert!(of(vec![starting]).is_empty());
    }

    #[test]
    fn of_two_wishes_for_one_place_the_first_is_served_and_the_other_told() {
        let built = build(
            input(vec![
                route(
                    "dashboard",
                    "p.test",
                    Answer::Socket("/run/edge.sock".into()),
                ),
                route("app:1", "p.test", Answer::Replicas(vec![])),
            ]),
            &Snapshot::default(),
        );
        assert_eq!(addresses(&built.snapshot), ["unix:/run/edge.sock"]);
        assert_eq!(built.refused.len(), 1);
        assert!(built.refused[0].contains("app:1 does not"));
    }

    #[test]
    fn two_routes_of_one_app_share_a_new_replicas_target() {
        let answer = || Answer::Replicas(vec![replica(1, 80, true, false)]);
        let built = build(
            input(vec![
                route("app:1", "a.test", answer()),
                route("app:1", "b.test", answer()),
            ]),
            &Snapshot::default(),
        );
        let all: Vec<_> = built.snapshot.targets().collect();
        assert_eq!(all.len(), 2);
        assert!(Arc::ptr_eq(all[0], all[1]));
    }
}
