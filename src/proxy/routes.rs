//! Routes: from a host and a path to what answers there.
//!
//! Host first (exact, then a wildcard of its parent), then the longest path prefix that ends at a segment boundary.
//! Hosts are stored in lower case; `find` expects them so, without port or trailing dot. A table never changes.
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::base::clock::UnixMs;
use crate::base::log_share::LogShare;

use super::gate::Gate;
use super::meter::Meter;
use super::policies::Policies;
use super::snapshot::Snapshot;
use super::target::Target;

/// What answers a route.
#[derive(Clone)]
pub enum Upstream {
    /// Requests are spread over these; while none is reachable (or the list is empty) they are held.
    Targets(Vec<Arc<Target>>),
    /// Held on purpose until a newer snapshot says otherwise, at most until the deadline.
    Paused { since: UnixMs, until: UnixMs },
}

impl Default for Upstream {
    /// Nobody yet.
    fn default() -> Upstream {
        Upstream::Targets(Vec::new())
    }
}

/// What a route is made of; see `Route::new`.
#[derive(Clone, Default)]
pub struct RouteSpec {
    /// Stable name in figures, e.g. `route:7`.
    pub key: Arc<str>,
    /// Routes of one group share the limit of held requests, e.g. `app:3`.
    pub group: Arc<str>,
    /// Lower case; `*.example.com` covers one label.
    pub host: Arc<str>,
    /// `/` or `/api`; without trailing slash.
    pub path_prefix: Arc<str>,
    /// The app's name in figures and logs; empty for what is no app's.
    pub app: Arc<str>,
    /// What answers, in figures and logs, e.g. `web`; empty for what is no process of an app.
    pub process: Arc<str>,
    pub upstream: Upstream,
    /// On port 80: send clients to https (true) or serve them there (false).
    pub redirect_http: bool,
    /// Instead of the edge's own body limit.
    pub body_bytes: Option<u64>,
    /// Instead of the edge's own time a request may be held.
    pub held_for: Option<Duration>,
    pub policies: Arc<Policies>,
    /// Which of its requests are written to the access log; none by default.
    pub access_log: LogShare,
}

pub struct Route {
    pub spec: RouteSpec,
    meter: Arc<Meter>,
    gate: Arc<Gate>,
}

impl Route {
    /// Figures go on where the route of the same key in `previous` stands, the gate where its group does.
    pub fn new(spec: RouteSpec, previous: &Snapshot) -> Arc<Route> {
        let meter = previous
            .route(&spec.key)
            .map(|route| route.meter.clone())
            .unwrap_or_default();
        let gate = previous.gate(&spec.group).unwrap_or_default();
        Arc::new(Route { spec, meter, gate })
    }

    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub fn targets(&self) -> &[Arc<Target>] {
        match &self.spec.upstream {
            Upstream::Targets(targets) => targets,
            Upstream::Paused { .. } => &[],
        }
    }
}

/// All routes, by host.
///
/// Strangers choose what is looked up, never what stands in the table, so that the quickest hash will do.
#[derive(Default)]
pub struct RouteTable {
    hosts: HashMap<Arc<str>, OfHost, RandomState>,
    keys: HashMap<Arc<str>, Arc<Route>>,
    gates: HashMap<Arc<str>, Arc<Gate>>,
    targets: HashMap<Arc<str>, Vec<Arc<Target>>>,
}

/// The routes of one host. The usual one, of all its paths, is found without a look at any other memory.
#[derive(Default)]
struct OfHost {
    /// Longest prefix first.
    parts: Vec<Arc<Route>>,
    whole: Option<Arc<Route>>,
}

impl OfHost {
    fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.parts.iter().chain(&self.whole)
    }

    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        self.parts
            .iter()
            .find(|route| covers(&route.spec.path_prefix, path))
            .or_else(|| self.whole.as_ref().filter(|_| covers("/", path)))
    }

    fn add(&mut self, route: Arc<Route>) {
        let prefix = &*route.spec.path_prefix;
        if self.iter().any(|other| *other.spec.path_prefix == *prefix) {
            return;
        }
        if prefix == "/" {
            self.whole = Some(route);
        } else {
            let longer = |other: &Arc<Route>| other.spec.path_prefix.len() >= prefix.len();
            let at = self.parts.partition_point(longer);
            self.parts.insert(at, route);
        }
    }
}

impl RouteTable {
    /// Of two routes with the same host and prefix the first stays.
    pub fn new(routes: impl IntoIterator<Item = Arc<Route>>) -> RouteTable {
        let mut hosts: HashMap<Arc<str>, OfHost, RandomState> = HashMap::default();
        for route in routes {
            let of_host = hosts.entry(route.spec.host.clone()).or_default();
            of_host.add(route);
        }
        let (mut keys, mut gates) = (HashMap::new(), HashMap::new());
        let mut targets: HashMap<Arc<str>, Vec<Arc<Target>>> = HashMap::new();
        for of_host in hosts.values() {
            for route in of_host.iter() {
                keys.insert(route.spec.key.clone(), route.clone());
                gates.insert(route.spec.group.clone(), route.gate.clone());
                for target in route.targets() {
                    let of_key = targets.entry(target.key().clone()).or_default();
                    if !of_key.iter().any(|known| Arc::ptr_eq(known, target)) {
                        of_key.push(target.clone());
                    }
                }
            }
        }
        RouteTable {
            hosts,
            keys,
            gates,
            targets,
        }
    }

    pub fn knows(&self, host: &str) -> bool {
        self.of_host(host).is_some()
    }

    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.of_host(host)?.find(path)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.hosts.values().flat_map(OfHost::iter)
    }

    pub(super) fn by_key(&self, key: &str) -> Option<&Arc<Route>> {
        self.keys.get(key)
    }

    pub(super) fn gate(&self, group: &str) -> Option<&Arc<Gate>> {
        self.gates.get(group)
    }

    pub(super) fn targets(&self, key: &str) -> &[Arc<Target>] {
        self.targets.get(key).map_or(&[], Vec::as_slice)
    }

    fn of_host(&self, host: &str) -> Option<&OfHost> {
        by_name(&self.hosts, host)
    }
}

/// The entry of a name, else of the wildcard one label above it.
pub(super) fn by_name<'a, T, S: BuildHasher>(
    map: &'a HashMap<Arc<str>, T, S>,
    name: &str,
) -> Option<&'a T> {
    if let Some(found) = map.get(name) {
        return Some(found);
    }
    let parent = name.find('.')?;
    let mut wildcard = String::with_capacity(name.len());
    wildcard.push('*');
    wildcard.push_str(&name[parent..]);
    map.get(wildcard.as_str())
}

/// Whether a path lies under a prefix, which ends at a segment boundary.
fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => prefix.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::target::Address;

    fn route(
        key: &str,
        host: &str,
        prefix: &str,
        targets: Vec<Arc<Target>>,
        previous: &Snapshot,
    ) -> Arc<Route> {
        let spec = RouteSpec {
            key: key.into(),
            group: "app:1".into(),
            host: host.into(),
            path_prefix: prefix.into(),
            upstream: Upstream::Targets(targets),
            redirect_http: true,
            ..RouteSpec::default()
        };
        Route::new(spec, previous)
    }

    fn found(table: &RouteTable, host: &str, path: &str) -> Option<String> {
        table
            .find(host, path)
            .map(|route| route.spec.key.to_string())
    }

    #[test]
    fn f5_host_first_then_the_longest_prefix() {
        let none = Snapshot::default();
        let table = RouteTable::new([
            route("root", "a.test", "/", vec![], &none),
            route("api", "a.test", "/api", vec![], &none),
            route("twice", "a.test", "/api", vec![], &none),
            route("wild", "*.a.test", "/", vec![], &none),
            route("only", "b.test", "/only", vec![], &none),
        ]);
        for (host, path, key) in [
            ("a.test", "/", Some("root")),
            ("a.test", "/api", Some("api")),
            ("a.test", "/api/x", Some("api")),
            ("a.test", "/apix", Some("root")),
            ("x.a.test", "/api", Some("wild")),
            ("y.x.a.test", "/", None),
            ("b.test", "/only/x", Some("only")),
            ("b.test", "/", None),
            ("test", "/", None),
            ("", "/", None),
        ] {
            assert_eq!(found(&table, host, path).as_deref(), key, "{host}{path}");
        }
        assert!(table.knows("b.test") && !table.knows("c.test"));
    }

    #[test]
    fn f4_figures_gates_and_targets_live_on_over_snapshots() {
        let address = Address::Tcp(([127, 0, 0, 1], 1).into());
        let target = Target::new("replica:1", address.clone());
        let none = Snapshot::default();
        let first = Snapshot {
            routes: RouteTable::new([route("r", "a.test", "/", vec![target.clone()], &none)]),
            ..Snapshot::default()
        };
        let next = route("r", "b.test", "/", vec![], &first);
        let before = first.route("r").unwrap();
        assert!(
            Arc::ptr_eq(before.meter(), next.meter()) && Arc::ptr_eq(before.gate(), next.gate())
        );
        let other = route("other", "c.test", "/", vec![], &first);
        assert!(
            !Arc::ptr_eq(before.meter(), other.meter()) && Arc::ptr_eq(before.gate(), other.gate())
        );
        assert!(Arc::ptr_eq(
            &first.target("replica:1", &address).unwrap(),
            &target
        ));
        assert!(first.target("replica:2", &address).is_none());
        target.retire();
        assert!(
            first.target("replica:1", &address).is_none(),
            "a retired target is never used again"
        );
    }
}
