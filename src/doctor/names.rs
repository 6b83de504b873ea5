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
    let all = match &name.pointing {
        Pointing::To(all) => all,
        Pointing::Nowhere => return check.fail("it has no address", set),
        Pointing::Unknown(why) => {
            return check.warn(
                format!("nobody could say: {why}"),
                "Look at /etc/resolv.conf, or name a DNS server as [acme] resolver in /etc/freehold/config.toml.",
            );
        }
    };
    let (here, others): (Vec<IpAddr>, Vec<IpAddr>) = all.iter().partition(|a| ours.contains(a));
    // Behind an address that is translated the box does not know its own; that is so for IPv4 alone at many providers.
    let known = |a: &IpAddr| {
        let mut own = ours.iter().filter(|own| public(**own));
        own.any(|own| own.is_ipv4() == a.is_ipv4())
    };
    let (wrong, unsure): (Vec<IpAddr>, Vec<IpAddr>) = others.iter().partition(|a| known(a));
    match (here.is_empty(), unsure.is_empty(), wrong.is_empty()) {
        (_, true, true) => check.ok(format!("to {}, this box", listed(all))),
        (true, true, false) => check.fail(format!("to {}, not to this box", listed(all)), set),
        // One address of two is enough for half of the visitors.
        (_, _, false) => check.warn(
            format!(
                "to {}, of which this box is not {}",
                listed(all),
                listed(&wrong)
            ),
            format!(
                "Remove the record of {}, unless it forwards to this box.",
                listed(&wrong)
            ),
        ),
        (_, false, true) => check.warn(
            format!(
                "to {}; this box has no public {} address of its own to compare it with",
                listed(all),
                if unsure.iter().all(IpAddr::is_ipv4) {
                    "IPv4"
                } else {
                    "IPv6"
                },
            ),
            format!(
                "See that {} forwards ports 80 and 443 to this box.",
                listed(&unsure)
            ),
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
