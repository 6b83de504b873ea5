//! What is written as `true` or with its details, and sizes.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::Checked;
use crate::base::units;

/// `true`, `false`, or a table of details, which means true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Toggle<T> {
    /// On, with the details everybody begins with, or off.
    Plain(bool),
    /// On.
    Full(T),
}

impl<T: Clone + Default> Toggle<T> {
    /// The details, where it is on.
    pub fn details(&self) -> Option<T> {
        match self {
            Toggle::Plain(false) => None,
            Toggle::Plain(true) => Some(T::default()),
            Toggle::Full(details) => Some(details.clone()),
        }
    }
}

impl<T: Checked> Checked for Toggle<T> {
    fn check(&self) -> Result<(), String> {
        match self {
            Toggle::Plain(_) => Ok(()),
            Toggle::Full(details) => details.check(),
        }
    }
}

/// By hand, so that a mistake in the details is told in its own words.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Toggle<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Toggle<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a table of details")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
                Ok(Toggle::Plain(on))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Toggle::Full)
            }
        }
        from.deserialize_any(Either(PhantomData))
    }
}

/// Bytes: a number, or text such as `"10MB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("type" = ["integer", "string"]))]
pub struct Size(pub u64);

/// No larger body may be allowed, in bytes.
const LARGEST: u64 = 1 << 40;

impl Checked for Size {
    fn check(&self) -> Result<(), String> {
        match self.0 {
            1..=LARGEST => Ok(()),
            _ => Err("body_limit is from 1 byte to 1 TB: write it like \"10MB\"".into()),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size like \"10MB\", or a number of bytes")
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Self::Value, E> {
                Ok(Size(bytes))
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Self::Value, E> {
                // Less than nothing is as wrong as nothing, and told the same.
                Ok(Size(u64::try_from(bytes).unwrap_or(0)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let short: String = text.chars().take(40).collect();
                units::size(&short).map(Size).map_err(E::custom)
            }
        }
        from.deserialize_any(Either)
    }
}
