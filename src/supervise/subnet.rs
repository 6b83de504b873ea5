//! Which subnet a new network gets, decided purely.
//!
//! The engine's own pools end near thirty networks, so we have a range of our
//! own. What the box already routes, or another network of the engine uses, is
//! left alone.

use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) prefix: u8,
}

impl Range {
    pub(super) fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self {
            first: u32::from(address) & mask(prefix),
            prefix,
        }
    }

    /// Reads `10.83.0.0/26`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|p| *p <= 32)?;
        Some(Self::new(address.parse().ok()?, prefix))
    }

    fn last(self) -> u32 {
        self.first | !mask(self.prefix)
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.first <= other.last() && other.first <= self.last()
    }

    /// The first usable address, which the bridge gets.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.first.saturating_add(1))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// The lowest subnet of `pool` that overlaps nothing in `taken`.
pub(super) fn free(pool: Range, prefix: u8, taken: &[Range]) -> Option<Range> {
    if prefix < pool.prefix || prefix > 30 {
        return None;
    }
    let size = 1u64 << (32 - u32::from(prefix));
    let mut at = u64::from(pool.first);
    while at <= u64::from(pool.last()) {
        let candidate = Range {
            first: u32::try_from(at).ok()?,
            prefix,
        };
        match taken.iter().find(|t| t.overlaps(candidate)) {
            None => return Some(candidate),
            // Step over a large neighbour at once.
            Some(in_the_way) => {
                let after = u64::from(in_the_way.last()) + 1;
                at = after.div_ceil(size) * size;
            }
        }
    }
    None
}

/// The ranges in `/proc/net/route`, save for the default route.
pub(super) fn routes(text: &str) -> Vec<Range> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let destination = u32::from_str_radix(fields.next()?, 16).ok()?.swap_bytes();
            let mask = u32::from_str_radix(fields.nth(5)?, 16).ok()?.swap_bytes();
            let prefix = u8::try_from(mask.leading_ones()).ok()?;
            (prefix > 0).then(|| Range::new(Ipv4Addr::from(destination), prefix))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> Range {
        Range::parse(text).unwrap()
    }

    #[test]
    fn f9_subnets_come_from_our_range_in_26() {
        let pool = range("10.83.0.0/16");
        let mut taken = Vec::new();
        for _ in 0..1024 {
            taken.push(free(pool, 26, &taken).unwrap());
        }
        assert_eq!(taken[0].to_string(), "10.83.0.0/26");
        assert_eq!(taken[1].to_string(), "10.83.0.64/26");
        assert_eq!(taken[1023].to_string(), "10.83.255.192/26");
        assert_eq!(taken[1].gateway().to_string(), "10.83.0.65");
        assert_eq!(free(pool, 26, &taken), None);
    }

    #[test]
    fn f9_what_the_box_routes_is_left_alone() {
        let pool = range("10.83.0.0/16");
        for (taken, expected) in [
            ("10.83.0.0/24", "10.83.1.0/26"),
            ("10.83.0.5/32", "10.83.0.64/26"),
            ("10.82.255.0/24", "10.83.0.0/26"),
        ] {
            let found = free(pool, 26, &[range(taken)]).unwrap();
            assert_eq!(found.to_string(), expected, "{taken}");
        }
        assert_eq!(free(pool, 26, &[range("10.0.0.0/8")]), None);
    }

    #[test]
    fn the_kernels_routes_are_read() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            fh170\t00AA520A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(routes(text), [range("10.82.170.0/24")]);
    }

    proptest! {
        #[test]
        fn a_given_subnet_never_overlaps(taken in prop::collection::vec((any::<u32>(), 8u8..=32), 0..40)) {
            let pool = range("10.83.0.0/16");
            let taken: Vec<Range> = taken
                .into_iter()
                .map(|(a, p)| Range::new(Ipv4Addr::from(0x0a53_0000 | (a & 0xffff)), p.max(17)))
                .collect();
            if let Some(found) = free(pool, 26, &taken) {
                prop_assert!(pool.overlaps(found));
                prop_assert!(taken.iter().all(|t| !t.overlaps(found)));
            }
        }
    }
}
