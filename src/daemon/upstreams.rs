//! Addresses of the settings' upstreams, looked up now and then, not at every
//! publication.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::UpstreamAddress;

/// An answer is looked up again after this.
const FRESH: Duration = Duration::from_secs(30);
/// The longest look-up.
const LIMIT: Duration = Duration::from_secs(2);

/// What was looked up.
#[derive(Default)]
pub struct Upstreams {
    known: HashMap<String, (Vec<SocketAddr>, Instant)>,
}

impl Upstreams {
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
