//! Addresses of the settings' upstreams, looked up now and then, not at every
//! publication.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::upstream_checks::{self, Ill};
use crate::config::{ConfiguredRoute, UpstreamAddress};

/// An answer is looked up again after this.
const FRESH: Duration = Duration::from_secs(30);
/// The longest look-up.
const LIMIT: Duration = Duration::from_secs(2);

/// What was looked up.
pub struct Upstreams {
    known: HashMap<String, (Vec<SocketAddr>, Instant)>,
    ill: watch::Receiver<Ill>,
}

impl Default for Upstreams {
    /// Nothing is known to be ill, and never will be.
    fn default() -> Self {
        Self::checked(watch::channel(Ill::default()).1)
    }
}

impl Upstreams {
    /// Leaves out what the checks tell of.
    pub fn checked(ill: watch::Receiver<Ill>) -> Self {
        let known = HashMap::new();
        Self { known, ill }
    }

    /// What the checks tell from now on counts as new.
    pub fn mark_seen(&mut self) {
        self.ill.mark_unchanged();
    }

    /// Resolves when the checks tell something new; never without checks.
    pub async fn changed(&mut self) {
        if self.ill.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// The addresses of a route that get traffic, and those that get none because their check fails.
    pub async fn parted(&mut self, route: &ConfiguredRoute) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let Some(upstream) = &route.upstream else {
            return Default::default();
        };
        let addresses = self.of(upstream).await;
        let protocol = upstream.protocol;
        let health = route.health.as_deref();
        upstream_checks::parted(addresses, protocol, health, &self.ill.borrow())
    }

    /// The addresses of `upstream`. When a new look-up fails the last ones stand.
    pub async fn of(&mut self, upstream: &UpstreamAddress) -> Vec<SocketAddr> {
        let key = upstream.to_string();
        if let Some((addresses, at)) = self.known.get(&key)
            && at.elapsed() < FRESH
        {
            return addresses.clone();
        }
        let name = (upstream.host.as_str(), upstream.port);
        let found = match tokio::time::timeout(LIMIT, tokio::net::lookup_host(name)).await {
            Ok(Ok(found)) => Ok(found.collect::<Vec<_>>()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer in {} s", LIMIT.as_secs())),
        };
        let addresses = match found {
            Ok(mut addresses) => {
                addresses.sort();
                addresses
            }
            Err(error) => {
                tracing::warn!(upstream = key, error, "an upstream's name is not known");
                self.known
                    .get(&key)
                    .map(|k| k.0.clone())
                    .unwrap_or_default()
            }
        };
        self.known.insert(key, (addresses.clone(), Instant::now()));
        addresses
    }
}
