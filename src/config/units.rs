//! Durations ("30s"), sizes ("512M") and address ranges ("10.83.0.0/16") as people write them.
//!
//! Each comes as a plain function with a sentence for its error, and as the
//! `deserialize_with` function the settings use, so that TOML's own line
//! numbers point at the value.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::settings::Trusted;
use crate::base::cidr::Cidr;
pub use crate::base::units::{duration, size};

/// A range of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its first address.
    pub base: Ipv4Addr,
    /// How many leading bits all of them share.
    pub prefix: u8,
}

/// `10.83.0.0/16`, a private range with no bits set behind its prefix.
///
/// # Errors
/// A sentence with an example.
pub fn range(text: &str) -> Result<Range, String> {
    let wrong =
        || format!("\"{text}\" is not a private address range: write it like \"10.83.0.0/16\"");
    let (base, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let base: Ipv4Addr = base.parse().map_err(|_| wrong())?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
    let behind = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    if !(8..=28).contains(&prefix) || !base.is_private() || u32::from(base) & behind != 0 {
        return Err(wrong());
    }
    Ok(Range { base, prefix })
}

impl Range {
    /// The same as other settings name ranges.
    pub fn cidr(&self) -> Cidr {
        Cidr::v4(self.base.octets(), self.prefix)
    }
}

fn text<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(D::Error::custom)
}

pub(super) fn de_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    text(from, |t| match duration(t)? {
        Duration::ZERO => Err("it must be longer than nothing, such as \"1s\"".into()),
        found => Ok(found),
    })
}

pub(super) fn de_duration_or_none<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Duration, D::Error> {
    text(from, duration)
}

pub(super) fn de_size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    let wrong = "write a size like \"512M\", \"32KB\" or \"2G\"";
    match Size::deserialize(from).map_err(|_| D::Error::custom(wrong))? {
        Size::Bytes(0) => Err(D::Error::custom("it must be more than nothing")),
        Size::Bytes(bytes) => Ok(bytes),
        Size::Text(text) => match size(&text).map_err(D::Error::custom)? {
            0 => Err(D::Error::custom("it must be more than nothing")),
            bytes => Ok(bytes),
        },
    }
}

/// A size, or `half` for `None`.
pub(super) fn de_half_or_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    text(from, |t| match t {
        "half" => Ok(None),
        _ => size(t)
            .map(Some)
            .map_err(|why| format!("{why}, or \"half\" for half of the box's memory")),
    })
}

/// A number of cores, or `all` for `None`.
pub(super) fn de_all_or_cpus<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Cpus {
        Number(f64),
        Text(String),
    }
    let wrong = || D::Error::custom("write a number of cores like 1.5, or \"all\"");
    match Cpus::deserialize(from).map_err(|_| wrong())? {
        Cpus::Text(text) if text == "all" => Ok(None),
        Cpus::Number(n) if (0.01..=1024.0).contains(&n) => Ok(Some(n)),
        Cpus::Text(_) | Cpus::Number(_) => Err(wrong()),
    }
}

pub(super) fn de_range<'de, D: Deserializer<'de>>(from: D) -> Result<Range, D::Error> {
    text(from, range)
}

/// A list of address ranges.
pub(super) fn de_ranges<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Cidr>, D::Error> {
    list(from, Cidr::parse)
}

/// A list of address ranges and names of those whose ranges are known.
pub(super) fn de_trusted<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Trusted>, D::Error> {
    list(from, |t| match t {
        "cloudflare" => Ok(Trusted::Cloudflare),
        t => Cidr::parse(t)
            .map(Trusted::Range)
            .map_err(|why| format!("{why}; for Cloudflare's ranges write \"cloudflare\"")),
    })
}

/// Read as a whole, so that a mistake is on the setting's own line and none is checked that nobody could have written.
fn list<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(from).map_err(|_| {
        D::Error::custom("write a list of address ranges like [\"192.0.2.7\", \"192.168.7.0/24\"]")
    })?;
    if texts.len() > MOST_RANGES {
        return Err(D::Error::custom(format!(
            "more than {MOST_RANGES} ranges are looked through for every request: name larger ones"
        )));
    }
    texts
        .iter()
        .map(|text| parse(text).map_err(D::Error::custom))
        .collect()
}

/// Ranges of one list at most.
const MOST_RANGES: usize = 256;

/// A path; empty means none.
pub(super) fn de_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    text(from, |t| match t {
        "" => Ok(None),
        t if t.starts_with('/') => Ok(Some(PathBuf::from(t))),
        t => Err(format!("\"{t}\" is not a full path: begin it with /")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("32 KB"), Ok(32 << 10));
        assert_eq!(size("100MB"), Ok(100 << 20));
        assert_eq!(size("7"), Ok(7));
        for bad in [
            "",
            "s",
            "5",
            "5 weeks",
            "-1s",
            "99999999999999999999s",
            "9999999999999d1",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "M", "5X", "-1", "99999999999999999999T", "1.5G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_are_private_and_whole() {
        assert!(range("10.83.0.0/16").is_ok());
        for bad in [
            "10.83.0.0",
            "10.83.0.1/16",
            "8.8.0.0/16",
            "10.0.0.0/33",
            "10.83.0.0/30",
        ] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,24}") {
            prop_assert!(duration(&text).is_ok() || duration(&text).is_err());
            prop_assert!(size(&text).is_ok() || size(&text).is_err());
        }
    }
}
