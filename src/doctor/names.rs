//! DNS: does every name lead to this box?

use std::net::IpAddr;

use super::Seen;
use super::facts::{Named, Pointing};
use crate::wire::doctor::{Area, Examined};

/// One check a name.
pub(super) fn examine(names: &[Named], ours: &[IpAddr]) -> Vec<Examined> {
    names.iter().map(|name| one(name, ours)).collect()
}

/// Addresses that a remedy names at most.
const NAMED: usize = 3;

fn one(name: &Named, ours: &[IpAddr]) -> Examined {
    let what = format!("Where {} leads", name.host);
    let why = format!(
        "Visitors of {} and the certificate authority follow this name.",
        name.of
    );
    let check = Seen {
        area: Area::Dns,
        what: &what,
        why: &why,
    };
    let own: Vec<String> = ours
        .iter()
        .filter(|a| public(**a))
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let to = match own.is_empty() {
        true => "this box's public address".to_owned(),
        false => own.join(" or "),
    };
    let set = format!(
        "At the provider of the name, let its A or AAAA record be {to}; see it with: dig +short {}.",
        name.host
    );
    match &name.pointing {
        Pointing::To(all) if all.iter().all(|a| ours.contains(a)) => {
            check.ok(format!("to {}, this box", listed(all)))
        }
        // One address of two is enough for half of the visitors.
        Pointing::To(all) if all.iter().any(|a| ours.contains(a)) => {
            let others: Vec<IpAddr> = all.iter().filter(|a| !ours.contains(a)).copied().collect();
            check.warn(
                format!("to this box, and to {} too, which it is not", listed(&others)),
                format!("Remove the record of {}, unless it forwards to this box.", listed(&others)),
            )
        }
        // Behind an address that is translated the box does not know its own.
        Pointing::To(all) if own.is_empty() => check.warn(
            format!("to {}; this box has no public address of its own to compare it with", listed(all)),
            format!("See that {} forwards ports 80 and 443 to this box.", listed(all)),
        ),
        Pointing::To(all) => check.fail(format!("to {}, not to this box", listed(all)), set),
        Pointing::Nowhere => check.fail("it has no address", set),
        Pointing::Unknown(why) => check.warn(
            format!("nobody could say: {why}"),
            "Look at /etc/resolv.conf, or name a DNS server as [acme] resolver in /etc/freehold/config.toml.",
        ),
    }
}

/// Whether somebody on the internet may reach it: no address of a home, a bridge, a provider's inside or one link.
fn public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let [first, second, ..] = a.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            !(a.is_private() || a.is_loopback() || a.is_link_local() || shared)
        }
        IpAddr::V6(a) => a.segments()[0] & 0xe000 == 0x2000,
    }
}

fn listed(all: &[IpAddr]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join(", ")
}
