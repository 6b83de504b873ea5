//! The addresses of this box's interfaces, read from the kernel's tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Every local address, loopback and link-local ones included.
pub fn local() -> Vec<IpAddr> {
    let mut all = table();
    // A table that changes while it is read comes with holes; loopback is in every whole one.
    for _ in 0..3 {
        if all.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)) {
            break;
        }
        all = table();
    }
    all
}

fn table() -> Vec<IpAddr> {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut all = v4(&text("/proc/net/fib_trie"));
    all.extend(v6(&text("/proc/net/if_inet6")));
    all
}

/// Those that a client elsewhere may use, and loopback: the names of the
/// certificate for connections that name no host. Engine bridges (172.16/12
/// on `docker0` and our own 10.83/16) only matter inside the box.
pub fn for_the_box() -> Vec<IpAddr> {
    kept(local())
}

/// No certificate names more of them.
const MOST: usize = 32;

fn kept(all: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut kept: Vec<IpAddr> = all
        .into_iter()
        .filter(|address| match address {
            IpAddr::V4(a) => {
                let [first, second, ..] = a.octets();
                let bridge =
                    (first == 172 && (17..32).contains(&second)) || (first == 10 && second == 83);
                !a.is_link_local() && !bridge && (!a.is_loopback() || *a == Ipv4Addr::LOCALHOST)
            }
            IpAddr::V6(a) => a.segments()[0] & 0xffc0 != 0xfe80,
        })
        .collect();
    // Bridges in a range that somebody chose are many and private: they are left out before what the world calls.
    kept.sort_by_key(|address| (!address.is_loopback(), is_private(*address), *address));
    kept.dedup();
    kept.truncate(MOST);
    kept.sort();
    kept
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_private(),
        IpAddr::V6(a) => a.is_unique_local(),
    }
}

/// `fib_trie` names a local address on the line before `/32 host LOCAL`.
fn v4(table: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in table.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = last
            && !found.contains(&IpAddr::V4(address))
        {
            found.push(IpAddr::V4(address));
        }
    }
    found
}

/// `if_inet6` has one address a line, 32 hex digits first.
fn v6(table: &str) -> Vec<IpAddr> {
    table
        .lines()
        .filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok())
        .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.0.0.0/24 2 0 2\n        |-- 10.0.0.5\n           /32 host LOCAL\n        |-- 10.0.0.255\n           /32 link BROADCAST\nLocal:\n        |-- 10.0.0.5\n           /32 host LOCAL\n";
        assert_eq!(v4(trie), ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\n20010db8000000000000000000000007 02 40 00 80     eth0\n";
        let want: Vec<IpAddr> = vec!["::1".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        assert_eq!(v6(inet6), want);
    }

    #[test]
    fn f5_many_bridges_do_not_crowd_out_the_address_that_is_called() {
        let bridges = (0..200).map(|n| IpAddr::V4(Ipv4Addr::new(10, 99, n, 1)));
        let called: [IpAddr; 3] =
            ["127.0.0.1", "203.0.113.7", "2001:db8::7"].map(|a| a.parse().unwrap());
        let found = kept(bridges.chain(called).collect());
        assert_eq!(found.len(), MOST);
        assert!(called.iter().all(|a| found.contains(a)), "{found:?}");
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        assert!(for_the_box().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
