//! How many replicas of a process run and what each may use.

use std::fmt;

use super::error::AppError;
use crate::jobs::Owed;

/// What was set beside freehold.toml; `None` leaves what that says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// Replicas that always run.
    pub min: Option<u32>,
    /// Replicas at most.
    pub max: Option<u32>,
    /// Memory limit.
    pub memory_bytes: Option<u64>,
    /// Processor limit in billionths of a core.
    pub nano_cpus: Option<u64>,
}

/// A change of [`Scale`]; what is `None` stays.
pub type ScaleChange = Scale;

/// No process has more replicas on one box.
const MOST: u32 = 50;
/// The engine refuses less.
const LEAST_MEMORY: u64 = 6 << 20;

impl Scale {
    /// Reads `3` or `1..4`.
    ///
    /// # Errors
    /// [`AppError::Invalid`] with what is allowed.
    pub fn parse_replicas(text: &str) -> Result<Self, AppError> {
        let bad = || {
            AppError::Invalid(format!(
                "\"{}\" is not a number of replicas: write N or MIN..MAX, from 0 to {MOST}, such as web=2 or web=1..4.",
                text.chars().take(40).collect::<String>()
            ))
        };
        let number = |t: &str| t.parse::<u32>().ok().filter(|n| *n <= MOST);
        let (min, max) = match text.split_once("..") {
            Some((min, max)) => (number(min).ok_or_else(bad)?, number(max).ok_or_else(bad)?),
            None => {
                let n = number(text).ok_or_else(bad)?;
                (n, n)
            }
        };
        if max < min {
            return Err(bad());
        }
        Ok(Self {
            min: Some(min),
            max: Some(max),
            ..Self::default()
        })
    }

    /// What a change to these needs: other limits need new containers, another number does not.
    pub fn owes(&self) -> Owed {
        match (self.memory_bytes, self.nano_cpus) {
            (None, None) => Owed::Counts,
            _ => Owed::Settings,
        }
    }

    /// What of this is other than what is set already.
    pub fn but(mut self, known: &Self) -> Self {
        if (self.min, self.max) == (known.min, known.max) {
            (self.min, self.max) = (None, None);
        }
        self.memory_bytes = self.memory_bytes.filter(|n| known.memory_bytes != Some(*n));
        self.nano_cpus = self.nano_cpus.filter(|n| known.nano_cpus != Some(*n));
        self
    }

    /// The same with a memory limit such as `512M`.
    ///
    /// # Errors
    /// [`AppError::Invalid`] with what is allowed.
    pub fn with_memory(mut self, text: &str) -> Result<Self, AppError> {
        let bytes = parse_bytes(text).filter(|b| *b >= LEAST_MEMORY);
        self.memory_bytes = Some(bytes.ok_or_else(|| {
            AppError::Invalid(format!(
                "\"{}\" is not an amount of memory: write it like 512M or 1G, at least 6M.",
                text.chars().take(40).collect::<String>()
            ))
        })?);
        Ok(self)
    }

    /// The same with a processor limit such as `0.5`.
    ///
    /// # Errors
    /// [`AppError::Invalid`] with what is allowed.
    pub fn with_cpus(mut self, text: &str) -> Result<Self, AppError> {
        let cpus = text
            .parse::<f64>()
            .ok()
            .filter(|c| (0.01..=256.0).contains(c));
        let cpus = cpus.ok_or_else(|| {
            AppError::Invalid(format!(
                "\"{}\" is not a share of processors: write it like 0.5 or 2.",
                text.chars().take(40).collect::<String>()
            ))
        })?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let nano = (cpus * 1e9).round() as u64;
        self.nano_cpus = Some(nano);
        Ok(self)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => parts.push(format!("{min} replicas")),
            (Some(min), Some(max)) => parts.push(format!("{min} to {max} replicas")),
            _ => {}
        }
        if let Some(bytes) = self.memory_bytes {
            parts.push(format!("{} MB of memory", bytes >> 20));
        }
        if let Some(nano) = self.nano_cpus {
            #[allow(clippy::cast_precision_loss)]
            let cpus = nano as f64 / 1e9;
            parts.push(format!("{cpus} cpus"));
        }
        f.write_str(&parts.join(", "))
    }
}

/// Reads `512M`, `1G`, `300K` or a number of bytes, in powers of 1024.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_scale_is_read_as_people_write_it() {
        assert_eq!(Scale::parse_replicas("2").unwrap().max, Some(2));
        let range = Scale::parse_replicas("1..4").unwrap();
        assert_eq!((range.min, range.max), (Some(1), Some(4)));
        for bad in ["", "-1", "4..1", "999", "two", "1..", "..2"] {
            assert!(Scale::parse_replicas(bad).is_err(), "{bad}");
        }
        let scale = range.with_memory("512M").unwrap().with_cpus("0.5").unwrap();
        assert_eq!(scale.memory_bytes, Some(512 << 20));
        assert_eq!(scale.nano_cpus, Some(500_000_000));
        assert_eq!(
            scale.to_string(),
            "1 to 4 replicas, 512 MB of memory, 0.5 cpus"
        );
        assert_eq!(scale.but(&scale), Scale::default());
        let more = Scale::parse_replicas("2").unwrap();
        let more = more.with_memory("512M").unwrap().but(&scale);
        assert_eq!(
            (more.to_string(), more.owes()),
            ("2 replicas".into(), Owed::Counts)
        );
        assert!(scale.with_memory("1M").is_err());
        assert!(scale.with_cpus("NaN").is_err());
        assert_eq!(parse_bytes("1GiB"), Some(1 << 30));
        assert_eq!(parse_bytes("99999999999999G"), None);
    }
}
