//! Addresses that are served and those that are not, as sorted ranges.
use std::net::IpAddr;

use crate::base::policies::AddressRange;

#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Only these, where there is any.
    allow: Option<Ranges>,
    deny: Ranges,
}

impl Addresses {
    pub(super) fn new(allow: &[AddressRange], deny: &[AddressRange]) -> Addresses {
        Addresses {
            allow: (!allow.is_empty()).then(|| Ranges::new(allow)),
            deny: Ranges::new(deny),
        }
    }

    /// Whether anybody may be left out.
    pub(super) fn guard(&self) -> bool {
        self.allow.is_some() || !self.deny.0.is_empty()
    }

    pub(super) fn admit(&self, address: IpAddr) -> bool {
        let place = place(address);
        !self.deny.hold(place) && self.allow.as_ref().is_none_or(|allow| allow.hold(place))
    }
}

/// First and last of each, in order, none touching another.
#[derive(Debug, Default)]
struct Ranges(Vec<(Place, Place)>);

/// IPv4 apart from IPv6: a range of one never reaches into the other.
type Place = (bool, u128);

fn place(address: IpAddr) -> Place {
    match address.to_canonical() {
        IpAddr::V4(address) => (false, address.to_bits().into()),
        IpAddr::V6(address) => (true, address.to_bits()),
    }
}

impl Ranges {
    fn new(from: &[AddressRange]) -> Ranges {
        let mut all: Vec<_> = from
            .iter()
            .map(|range| range.0.bounds())
            .map(|(first, last)| (place(first), place(last)))
            .collect();
        all.sort_unstable();
        // One inside another is joined to it, so that the last that begins before an address is the one to ask.
        let mut kept: Vec<(Place, Place)> = Vec::with_capacity(all.len());
        for range in all {
            match kept.last_mut() {
                Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
                _ => kept.push(range),
            }
        }
        Ranges(kept)
    }

    fn hold(&self, place: Place) -> bool {
        let after = self.0.partition_point(|range| range.0 <= place);
        self.0[..after].last().is_some_and(|range| place <= range.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cidr::Cidr;
    use proptest::prelude::*;

    fn ranges(texts: &[&str]) -> Vec<AddressRange> {
        let read = |text: &&str| AddressRange(Cidr::parse(text).unwrap());
        texts.iter().map(read).collect()
    }

    #[test]
    fn e6_allow_names_all_that_are_served_and_deny_wins() {
        let of = |allow: &[&str], deny: &[&str], address: &str| {
            Addresses::new(&ranges(allow), &ranges(deny)).admit(address.parse().unwrap())
        };
        let (inner, outer) = ("10.1.0.0/16", "10.0.0.0/8");
        assert!(of(&[], &[], "192.0.2.1"));
        assert!(of(&[outer], &[], "10.9.9.9") && !of(&[outer], &[], "11.0.0.0"));
        assert!(!of(&[outer], &[inner], "10.1.2.3") && of(&[outer], &[inner], "10.2.2.3"));
        assert!(!of(&[], &["192.0.2.7"], "192.0.2.7") && of(&[], &["192.0.2.7"], "192.0.2.8"));
        assert!(!of(&[outer], &[], "2001:db8::1") && of(&["2001:db8::/32"], &[], "2001:db8::1"));
        // IPv4 in the clothes of IPv6 is no way around.
        assert!(!of(&[], &[outer], "::ffff:10.0.0.1") && of(&[outer], &[], "::ffff:10.0.0.1"));
        assert!(!of(&[], &[inner, outer, "10.1.2.0/24"], "10.200.0.1"));
    }

    proptest! {
        #[test]
        fn e6_sorted_ranges_hold_what_any_of_them_holds(
            bases in proptest::collection::vec((any::<u8>(), 1u8..=8), 0..12),
            address: u8,
        ) {
            let texts: Vec<String> = bases
                .iter()
                .map(|(base, bits)| {
                    let behind = 255u8.checked_shr(u32::from(*bits)).unwrap_or(0);
                    format!("10.0.0.{}/{}", base & !behind, 24 + bits)
                })
                .collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let asked = IpAddr::from([10, 0, 0, address]);
            let any = ranges(&texts).iter().any(|range| range.0.contains(asked));
            prop_assert_eq!(Ranges::new(&ranges(&texts)).hold(place(asked)), any);
        }
    }
}
