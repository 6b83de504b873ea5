//! Snapshot: everything the edge serves from, at one moment.
//!
//! Built by routing, published whole, never changed afterwards; a request loads it once and sees one world.
use std::collections::HashMap;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::gate::Gate;
use super::routes::{Route, RouteTable, by_name};
use super::target::{Address, Target, Traits};

/// Certificates by name; `*.example.com` covers one label.
pub type Certificates = HashMap<Arc<str>, Arc<CertifiedKey>>;

#[derive(Default)]
pub struct Snapshot {
    /// Grows with every snapshot.
    pub generation: u64,
    pub routes: RouteTable,
    pub certificates: Certificates,
    /// For clients that name no host in TLS: the box's own.
    pub default_certificate: Option<Arc<CertifiedKey>>,
    /// For requests to the box's address instead of a name: the dashboard.
    pub default_route: Option<Arc<Route>>,
    /// ACME HTTP-01: token to key authorization, answered on port 80.
    pub challenges: HashMap<String, String>,
}

impl Snapshot {
    pub fn route(&self, key: &str) -> Option<&Arc<Route>> {
        self.routes.by_key(key).or_else(|| {
            self.default_route
                .as_ref()
                .filter(|route| &*route.spec.key == key)
        })
    }

    /// The gate of a group of routes.
    pub fn gate(&self, group: &str) -> Option<Arc<Gate>> {
        let of_default = || {
            self.default_route
                .as_ref()
                .filter(|route| &*route.spec.group == group)
                .map(|route| route.gate())
        };
        self.routes.gate(group).or_else(of_default).cloned()
    }

    /// Requests that wait now, at any gate.
    pub fn held(&self) -> u64 {
        let of_default = self.default_route.as_ref().map(|route| route.gate());
        // A gate belongs to several routes, and is counted once.
        let other =
            of_default.filter(|gate| !self.routes.gates().any(|one| Arc::ptr_eq(one, gate)));
        let all = self.routes.gates().chain(other);
        all.map(|gate| u64::from(gate.held())).sum()
    }

    /// The target of this key at this address, with these traits, if it may still be used: routing keeps it instead of making another.
    pub fn target(&self, key: &str, address: &Address, traits: Traits) -> Option<Arc<Target>> {
        let of_default = self.default_route.iter().flat_map(|route| route.targets());
        let mut of_key = self.routes.targets(key).iter().chain(of_default);
        of_key
            .find(|target| {
                &**target.key() == key
                    && target.address() == address
                    && target.traits() == traits
                    && !target.is_retiring()
            })
            .cloned()
    }

    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.all_routes().flat_map(|route| route.targets())
    }

    pub fn all_routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().chain(self.default_route.iter())
    }

    pub(super) fn certificate(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        by_name(&self.certificates, name)
    }
}
