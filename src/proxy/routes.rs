//! Routes: from a host and a path to what answers there.
//!
//! Host first (exact, then a wildcard of its parent), then the longest path prefix that ends at a segment boundary.
//! Hosts are stored in lower case; `find` expects them so, without port or trailing dot. A table never changes.
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use percent_encoding::percent_decode_str;

use crate::base::clock::UnixMs;
use crate::base::log_share::LogShare;

use super::budget::RetryBudget;
use super::gate::Gate;
use super::meter::Meter;
use super::policies::{Policies, RateTable, leads_elsewhere};
use super::snapshot::Snapshot;
use super::static_site::StaticSite;
use super::target::{Address, Target};

/// What answers a route.
#[derive(Clone)]
pub enum Upstream {
    /// Requests are spread over these; while none is reachable (or the list is empty) they are held.
    Targets(Vec<Arc<Target>>),
    /// Held on purpose until a newer snapshot says otherwise, at most until the deadline.
    Paused { since: UnixMs, until: UnixMs },
    /// The edge itself, with the files of a folder; the path below it begins behind the route's prefix.
    Static(Arc<StaticSite>),
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
    /// Who would answer, by name in figures, and gets nothing because its check fails: told, and nothing else.
    pub ill: Vec<(Arc<str>, Address)>,
    /// On port 80: send clients to https (true) or serve them there (false).
    pub redirect_http: bool,
    /// Instead of the edge's own body limit.
    pub body_bytes: Option<u64>,
    /// Instead of the edge's own time a request may be held.
    pub held_for: Option<Duration>,
    /// A client stays with the target that answered it first, by a cookie.
    pub sticky: bool,
    pub policies: Arc<Policies>,
    /// The name's certificate is one that browsers know: whoever is told to come by https only finds it there.
    pub public_certificate: bool,
    /// Which of its requests are written to the access log; none by default.
    pub access_log: LogShare,
}

pub struct Route {
    pub spec: RouteSpec,
    meter: Arc<Meter>,
    gate: Arc<Gate>,
    budget: Arc<RetryBudget>,
    /// Some target of it takes only so many requests at once.
    capped: bool,
    /// Where a policy limits how often clients may ask.
    rates: Option<Arc<RateTable>>,
}

impl Route {
    /// Figures, rates and the retry budget go on where the route of the same key in `previous` stands, the gate where its
    /// group does.
    pub fn new(spec: RouteSpec, previous: &Snapshot) -> Arc<Route> {
        let before = previous.route(&spec.key);
        let meter = before.map(|route| route.meter.clone()).unwrap_or_default();
        let budget = before.map(|route| route.budget.clone()).unwrap_or_default();
        let gate = previous.gate(&spec.group).unwrap_or_default();
        let rates = spec.policies.limits_rate().then(|| {
            let kept = before.and_then(|route| route.rates.clone());
            kept.unwrap_or_default()
        });
        let mut route = Route {
            spec,
            meter,
            gate,
            budget,
            capped: false,
            rates,
        };
        let mut targets = route.targets().iter();
        route.capped = targets.any(|target| target.traits().cap.is_some());
        Arc::new(route)
    }

    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Whether a request that was judged by `other` is to be judged anew before this route answers it.
    pub(super) fn asks_otherwise(&self, other: &Route) -> bool {
        let is_free = |route: &Route| route.spec.policies.is_none();
        self.spec.key != other.spec.key
            || self.spec.path_prefix != other.spec.path_prefix
            || !(Arc::ptr_eq(&self.spec.policies, &other.spec.policies)
                || is_free(self) && is_free(other))
    }

    pub(super) fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    pub(super) fn is_capped(&self) -> bool {
        self.capped
    }

    pub(super) fn rates(&self) -> Option<&RateTable> {
        self.rates.as_deref()
    }

    pub fn targets(&self) -> &[Arc<Target>] {
        match &self.spec.upstream {
            Upstream::Targets(targets) => targets,
            Upstream::Paused { .. } | Upstream::Static(_) => &[],
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
    /// Access to one of them is limited, and another one is beside it.
    guarded: bool,
}

/// What a host and a path lead to.
pub(super) enum Found<'a> {
    Route(&'a Arc<Route>),
    NoHost,
    NoPath,
    /// An app could read the path as one that leads elsewhere, which matters here.
    Doubtful,
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

    /// As `find`, in any case, and for a prefix that is decoded as the path is.
    fn find_alike(&self, path: &str) -> Option<*const Route> {
        let alike = |route: &&Arc<Route>| {
            let prefix = &*route.spec.path_prefix;
            let decoded = percent_decode_str(prefix).decode_utf8_lossy();
            covers_in_any_case(prefix, path) || covers_in_any_case(&decoded, path)
        };
        self.iter().find(alike).map(Arc::as_ptr)
    }

    fn is_doubtful(&self, path: &str, found: Option<&Arc<Route>>) -> bool {
        self.guarded && leads_elsewhere(path, &found.map(Arc::as_ptr), |path| self.find_alike(path))
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
        self.guarded =
            !self.parts.is_empty() && self.iter().any(|route| route.spec.policies.guards());
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

    pub(super) fn resolve(&self, host: &str, path: &str) -> Found<'_> {
        let Some(of_host) = self.of_host(host) else {
            return Found::NoHost;
        };
        match of_host.find(path) {
            found if of_host.is_doubtful(path, found) => Found::Doubtful,
            Some(route) => Found::Route(route),
            None => Found::NoPath,
        }
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

    pub(super) fn gates(&self) -> impl Iterator<Item = &Arc<Gate>> {
        self.gates.values()
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

/// The same where `A` is `a`.
fn covers_in_any_case(prefix: &str, path: &str) -> bool {
    covers(&prefix.to_ascii_lowercase(), &path.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::target::{Address, Traits};

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
            &first
                .target("replica:1", &address, Traits::default())
                .unwrap(),
            &target
        ));
        assert!(
            first
                .target("replica:2", &address, Traits::default())
                .is_none()
        );
        target.retire();
        assert!(
            first
                .target("replica:1", &address, Traits::default())
                .is_none(),
            "a retired target is never used again"
        );
    }
}
