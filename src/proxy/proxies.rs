//! Proxies: whose word about a client counts, as the settings name them. Pure, but for the place the edge reads it from.
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::{ArcSwap, Guard};

use crate::base::cidr::Cidr;

/// Cloudflare's ranges as it published them at <https://www.cloudflare.com/ips/>; unchanged since 2023-09-28.
pub(super) const CLOUDFLARE: &[Cidr] = &[
    Cidr::v4([173, 245, 48, 0], 20),
    Cidr::v4([103, 21, 244, 0], 22),
    Cidr::v4([103, 22, 200, 0], 22),
    Cidr::v4([103, 31, 4, 0], 22),
    Cidr::v4([141, 101, 64, 0], 18),
    Cidr::v4([108, 162, 192, 0], 18),
    Cidr::v4([190, 93, 240, 0], 20),
    Cidr::v4([188, 114, 96, 0], 20),
    Cidr::v4([197, 234, 240, 0], 22),
    Cidr::v4([198, 41, 128, 0], 17),
    Cidr::v4([162, 158, 0, 0], 15),
    Cidr::v4([104, 16, 0, 0], 13),
    Cidr::v4([104, 24, 0, 0], 14),
    Cidr::v4([172, 64, 0, 0], 13),
    Cidr::v4([131, 0, 72, 0], 22),
    Cidr::v6([0x2400, 0xcb00, 0], 32),
    Cidr::v6([0x2606, 0x4700, 0], 32),
    Cidr::v6([0x2803, 0xf800, 0], 32),
    Cidr::v6([0x2405, 0xb500, 0], 32),
    Cidr::v6([0x2405, 0x8100, 0], 32),
    Cidr::v6([0x2a06, 0x98c0, 0], 29),
    Cidr::v6([0x2c0f, 0xf248, 0], 32),
];

/// Who may say who the client is; by default nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Whose connections begin with a header of the PROXY protocol, and must.
    pub proxy_protocol: Vec<Cidr>,
    /// Whose `X-Forwarded-For` and `X-Forwarded-Proto` count.
    pub trusted: Vec<Cidr>,
    /// Cloudflare's ranges are trusted too, and their `CF-Connecting-IP` counts.
    pub cloudflare: bool,
    /// Where apps have their addresses: none of these is believed, whatever the lists above say.
    pub never: Vec<Cidr>,
}

impl Proxies {
    pub(super) fn speaks_first(&self, peer: IpAddr) -> bool {
        is_in(&self.proxy_protocol, peer) && !is_in(&self.never, peer)
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        (is_in(&self.trusted, address) || self.is_cloudflare(address))
            && !is_in(&self.never, address)
    }

    /// Whether many clients stand behind this address, whoever they are.
    pub(super) fn stands_for_many(&self, address: IpAddr) -> bool {
        self.trusts(address) || self.speaks_first(address)
    }

    pub(super) fn is_cloudflare(&self, address: IpAddr) -> bool {
        self.cloudflare && is_in(CLOUDFLARE, address)
    }
}

fn is_in(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

/// The proxies in force, replaced whole when the settings are edited. A box that has none pays one branch.
#[derive(Default)]
pub(super) struct Trust {
    any: AtomicBool,
    proxies: ArcSwap<Proxies>,
}

impl Trust {
    pub(super) fn store(&self, proxies: Proxies) {
        let any = proxies.cloudflare
            || !(proxies.proxy_protocol.is_empty() && proxies.trusted.is_empty());
        self.proxies.store(Arc::new(proxies));
        self.any.store(any, Relaxed);
    }

    pub(super) fn load(&self) -> Option<Guard<Arc<Proxies>>> {
        self.any.load(Relaxed).then(|| self.proxies.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e2_cloudflares_ranges_are_as_it_writes_them() {
        assert_eq!(CLOUDFLARE.len(), 15 + 7);
        let written: Vec<String> = CLOUDFLARE.iter().map(Cidr::to_string).collect();
        for text in &written {
            // No bit behind a prefix, and none that is everybody.
            assert_eq!(
                Cidr::parse(text).map(|range| range.to_string()).as_ref(),
                Ok(text)
            );
        }
        let mut distinct = written.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), written.len());
        let trusts = Proxies {
            cloudflare: true,
            ..Proxies::default()
        };
        for (address, inside) in [
            ("173.245.48.1", true),
            ("104.27.255.255", true),
            ("104.28.0.0", false),
            ("172.71.255.255", true),
            ("172.72.0.0", false),
            ("2606:4700::6810:1", true),
            ("2a06:98c7:ffff::", true),
            ("2a06:98c8::", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(trusts.trusts(address.parse().unwrap()), inside, "{address}");
        }
        assert!(!Proxies::default().trusts("173.245.48.1".parse().unwrap()));
    }

    #[test]
    fn e2_nobody_is_trusted_until_somebody_is_named() {
        let trust = Trust::default();
        assert!(trust.load().is_none());
        trust.store(Proxies {
            cloudflare: true,
            ..Proxies::default()
        });
        assert!(trust.load().is_some_and(|proxies| proxies.cloudflare));
        let range = |text| vec![Cidr::parse(text).unwrap()];
        for proxies in [
            Proxies::default(),
            // Whom not to believe alone costs no request anything.
            Proxies {
                never: range("10.83.0.0/16"),
                ..Proxies::default()
            },
        ] {
            trust.store(proxies);
            assert!(trust.load().is_none());
        }
    }

    #[test]
    fn e2_an_app_is_never_believed() {
        let range = |text| vec![Cidr::parse(text).unwrap()];
        let careless = Proxies {
            proxy_protocol: range("10.0.0.0/8"),
            trusted: range("10.0.0.0/8"),
            ..Proxies::default()
        };
        let (app, proxy) = ("10.83.0.7".parse().unwrap(), "10.0.0.7".parse().unwrap());
        // The saboteur: without the apps' range an app is what it says.
        assert!(careless.trusts(app) && careless.speaks_first(app));
        let careful = Proxies {
            never: range("10.83.0.0/16"),
            ..careless
        };
        assert!(!careful.trusts(app) && !careful.speaks_first(app));
        assert!(careful.trusts(proxy) && careful.speaks_first(proxy));
    }
}
