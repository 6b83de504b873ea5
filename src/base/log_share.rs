//! Log share: which part of a route's requests is written to the access log. Pure.
//!
//! `"off"`, `"all"`, or a part such as `0.1`, written so in settings, app files and the stored releases.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

const WHOLE: u32 = 1_000_000;

/// A part of all requests, in millionths. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(transparent, extend("type" = ["number", "string"]))]
pub struct LogShare(#[schemars(with = "String")] u32);

impl LogShare {
    /// No request.
    pub const OFF: Self = Self(0);
    /// Every request.
    pub const ALL: Self = Self(WHOLE);

    /// From 0.000001 to 1.
    ///
    /// # Errors
    /// A sentence with an example.
    pub fn part(part: f64) -> Result<Self, String> {
        let millionths = (part * f64::from(WHOLE)).round();
        if (1.0..=f64::from(WHOLE)).contains(&millionths) {
            // Between the two it fits.
            Ok(Self(millionths as u32))
        } else {
            Err(wrong(&part.to_string()))
        }
    }

    /// No request at all is written.
    pub fn is_off(self) -> bool {
        self.0 == 0
    }

    /// Whether a request is among the part, by a number drawn evenly.
    pub fn takes(self, drawn: u64) -> bool {
        // The upper half of the number as a share of 2^32, without a division.
        ((drawn >> 32) * u64::from(WHOLE)) >> 32 < u64::from(self.0)
    }

    /// As a number that an atomic can hold.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// What [`Self::millionths`] gave.
    pub fn of_millionths(millionths: u32) -> Self {
        Self(millionths.min(WHOLE))
    }
}

fn wrong(text: &str) -> String {
    format!(
        "{text} is no share of the requests: write \"off\", \"all\" or a part such as 0.1, which is one of ten"
    )
}

impl fmt::Display for LogShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("off"),
            WHOLE => f.write_str("all"),
            part => write!(f, "{}", f64::from(part) / f64::from(WHOLE)),
        }
    }
}

impl Serialize for LogShare {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => to.serialize_str("off"),
            WHOLE => to.serialize_str("all"),
            part => to.serialize_f64(f64::from(part) / f64::from(WHOLE)),
        }
    }
}

impl<'de> Deserialize<'de> for LogShare {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Share;
        impl Visitor<'_> for Share {
            type Value = LogShare;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"off\", \"all\" or a part such as 0.1")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LogShare, E> {
                match text {
                    "off" => Ok(LogShare::OFF),
                    "all" => Ok(LogShare::ALL),
                    other => {
                        let short: String = other.chars().take(40).collect();
                        Err(E::custom(wrong(&format!("\"{short}\""))))
                    }
                }
            }
            fn visit_f64<E: de::Error>(self, part: f64) -> Result<LogShare, E> {
                LogShare::part(part).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, part: i64) -> Result<LogShare, E> {
                self.visit_f64(part as f64)
            }
            fn visit_u64<E: de::Error>(self, part: u64) -> Result<LogShare, E> {
                self.visit_f64(part as f64)
            }
        }
        from.deserialize_any(Share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e7_a_share_is_off_all_or_a_part_and_is_written_as_it_is_read() {
        for (text, share) in [
            ("\"off\"", LogShare::OFF),
            ("\"all\"", LogShare::ALL),
            ("0.1", LogShare(100_000)),
            ("0.000001", LogShare(1)),
        ] {
            let read: LogShare = serde_json::from_str(text).unwrap();
            assert_eq!(read, share, "{text}");
            assert_eq!(
                serde_json::from_str::<LogShare>(&serde_json::to_string(&read).unwrap()).unwrap(),
                share
            );
            assert_eq!(format!("{share}"), text.trim_matches('"'));
            assert_eq!(LogShare::of_millionths(share.millionths()), share);
        }
        assert_eq!(
            serde_json::from_str::<LogShare>("1").unwrap(),
            LogShare::ALL
        );
        for bad in ["0", "-0.5", "1.1", "2", "\"on\"", "\"\"", "0.0000001"] {
            let error = serde_json::from_str::<LogShare>(bad).unwrap_err();
            assert!(error.to_string().contains("such as 0.1"), "{bad}: {error}");
        }
    }

    #[test]
    fn e7_a_part_takes_about_that_many_and_the_ends_take_none_and_all() {
        let drawn = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let taken = |share: LogShare| (0..100_000).filter(|n| share.takes(drawn(*n))).count();
        assert_eq!((taken(LogShare::OFF), taken(LogShare::ALL)), (0, 100_000));
        let tenth = taken(LogShare::part(0.1).unwrap());
        assert!((9_500..10_500).contains(&tenth), "{tenth}");
        assert!(LogShare::ALL.takes(u64::MAX) && !LogShare::OFF.takes(0));
    }
}
