//! Ranges of addresses, as settings name them: `10.0.0.0/8`, `2400:cb00::/32`, or one address alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// An IPv4 range of a constant table; the bits behind the prefix must be zero.
    pub const fn v4(base: [u8; 4], prefix: u8) -> Self {
        let [a, b, c, d] = base;
        Self {
            base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            prefix,
        }
    }

    /// An IPv6 range of a constant table, by its first three groups; the bits behind the prefix must be zero.
    pub const fn v6(base: [u16; 3], prefix: u8) -> Self {
        let [a, b, c] = base;
        Self {
            base: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)),
            prefix,
        }
    }

    /// Reads `10.0.0.0/8`, `fd00::/8` or an address alone.
    ///
    /// # Errors
    /// A sentence with an example: for what is no range, for bits behind the prefix, and for the range of everybody.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not an address range: write it like \"192.0.2.7\", \"192.168.7.0/24\" or \"fd00::/8\""
            )
        };
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let all = if base.is_ipv4() { 32 } else { 128 };
        // IPv4 in the clothes of IPv6 is told as IPv4 everywhere here, so such a range would never match.
        if base.to_canonical() != base {
            return Err(wrong());
        }
        let prefix = match prefix {
            None => all,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        if prefix > all {
            return Err(wrong());
        }
        if prefix == 0 {
            return Err(format!(
                "\"{text}\" is everybody: name your proxies alone, such as \"192.0.2.7\""
            ));
        }
        let found = Self { base, prefix };
        let first = found.first_of(base);
        if first != base {
            return Err(format!(
                "\"{text}\" has bits behind its prefix: write \"{first}/{prefix}\", or the one address alone"
            ));
        }
        Ok(found)
    }

    /// Whether the address, in its canonical form, is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.base.is_ipv4() == address.is_ipv4() && self.first_of(address) == self.base
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        // Ranges cross only by one lying in the other.
        self.contains(other.base) || other.contains(self.base)
    }

    /// The first of them and the last.
    pub fn bounds(&self) -> (IpAddr, IpAddr) {
        let last = match self.base {
            IpAddr::V4(base) => {
                let behind = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                Ipv4Addr::from_bits(base.to_bits() | behind).into()
            }
            IpAddr::V6(base) => {
                let behind = u128::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                Ipv6Addr::from_bits(base.to_bits() | behind).into()
            }
        };
        (self.base, last)
    }

    /// The address with nothing behind the prefix.
    fn first_of(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let behind = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & !behind).into()
            }
            IpAddr::V6(address) => {
                let behind = u128::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & !behind).into()
            }
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn e2_a_range_holds_what_shares_its_bits_and_nothing_else() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("128.0.0.0/1", "255.255.255.255", "127.255.255.255"),
            ("2400:cb00::/32", "2400:cb00:ffff::1", "2400:cb01::"),
            ("::1", "::1", "::2"),
            ("::/1", "7fff::", "0.0.0.1"),
        ] {
            let read = Cidr::parse(range).unwrap();
            assert!(read.contains(inside.parse().unwrap()), "{range} {inside}");
            assert!(
                !read.contains(outside.parse().unwrap()),
                "{range} {outside}"
            );
            assert_eq!(Cidr::parse(&read.to_string()), Ok(read));
        }
        assert!(!Cidr::v4([0, 0, 0, 0], 8).contains("::".parse().unwrap()));
    }

    #[test]
    fn e2_ranges_overlap_where_one_lies_in_the_other() {
        for (one, other, overlap) in [
            ("10.0.0.0/8", "10.83.0.0/16", true),
            ("10.83.4.7", "10.83.0.0/16", true),
            ("10.83.0.0/16", "10.83.0.0/16", true),
            ("10.84.0.0/16", "10.83.0.0/16", false),
            ("10.82.255.255", "10.83.0.0/16", false),
            ("::/1", "10.83.0.0/16", false),
            ("fd00::/8", "fd00::1", true),
        ] {
            let (a, b) = (Cidr::parse(one).unwrap(), Cidr::parse(other).unwrap());
            assert_eq!(
                (a.overlaps(&b), b.overlaps(&a)),
                (overlap, overlap),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn e2_what_is_no_range_says_how_to_write_one() {
        for (bad, remedy) in [
            ("", "write it like"),
            ("cloud", "write it like"),
            ("10.0.0.0/", "write it like"),
            ("10.0.0.0/+8", "write it like"),
            ("10.0.0.0/33", "write it like"),
            ("fd00::/129", "write it like"),
            ("::ffff:10.0.0.0/104", "write it like"),
            ("10.0.0.0/8/8", "write it like"),
            ("10.0.0.1/8", "write \"10.0.0.0/8\""),
            ("0.0.0.0/0", "name your proxies"),
            ("::/0", "name your proxies"),
        ] {
            let why = Cidr::parse(bad).unwrap_err();
            assert!(why.contains(remedy), "{bad}: {why}");
        }
    }

    proptest! {
        #[test]
        fn e2_a_range_read_is_written_the_same(bits: u32, prefix in 1u8..=32, other: u32) {
            let base = bits & !u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let text = format!("{}/{prefix}", Ipv4Addr::from_bits(base));
            let read = Cidr::parse(&text).unwrap();
            prop_assert_eq!(read.to_string(), text);
            prop_assert!(read.contains(Ipv4Addr::from_bits(bits).into()));
            let shares = (bits ^ other).leading_zeros() >= u32::from(prefix);
            prop_assert_eq!(read.contains(Ipv4Addr::from_bits(other).into()), shares);
        }
    }
}
