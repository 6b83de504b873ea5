//! Parts of policies in a few characters, as a command's option or a form's field takes them: `100/minute`,
//! `request set x-env: staging`, `/old=https://example.com/new`. What is written so is checked where it is put together.

use std::fmt;

use super::{HeaderRules, Hsts, RateLimit, Redirect, Size, Toggle, Window, shown};

impl Redirect {
    /// `https://example.com` for everybody, or `/old=/new` for what is at or below a path.
    pub fn short(text: &str) -> Self {
        let (path, to) = match text.split_once('=') {
            Some((path, to)) if path.starts_with('/') => (path, to),
            _ => ("/", text),
        };
        Self {
            host: None,
            path: path.to_owned(),
            to: to.to_owned(),
            status: 308,
            keep: !to.contains(['?', '#']),
        }
    }

    /// The place, where everybody is sent there and no more is said of it.
    pub fn is_short(&self) -> Option<&str> {
        (*self == Self::short(&self.to)).then_some(self.to.as_str())
    }
}

impl RateLimit {
    /// `100/minute`, `100/1m` or `100/m`, clients told apart by their address.
    ///
    /// # Errors
    /// A sentence with an example.
    pub fn short(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "rate_limit: {} is not a rate: write it like \"100/minute\"; a second, an hour and a day are counted too",
                shown(text)
            )
        };
        let (requests, per) = text.trim().split_once('/').ok_or_else(wrong)?;
        let per = match per.trim() {
            "second" | "s" | "1s" => Window::Second,
            "minute" | "m" | "1m" | "min" | "60s" => Window::Minute,
            "hour" | "h" | "1h" | "60m" => Window::Hour,
            "day" | "d" | "1d" | "24h" => Window::Day,
            _ => return Err(wrong()),
        };
        Ok(Self {
            requests: requests.trim().parse().map_err(|_| wrong())?,
            per,
            header: None,
        })
    }
}

/// As [`RateLimit::short`] takes it, without the header.
impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.requests, self.per.as_str())
    }
}

impl Hsts {
    /// `on`, `off`, or days and what else counts: `730,subdomains,preload`.
    ///
    /// # Errors
    /// A sentence with an example.
    pub fn short(text: &str) -> Result<Toggle<Self>, String> {
        let mut hsts = match text {
            "on" | "true" => return Ok(Toggle::Plain(true)),
            "off" | "false" => return Ok(Toggle::Plain(false)),
            _ => Self::default(),
        };
        for part in text.split(',').map(str::trim) {
            match part {
                "subdomains" => hsts.include_subdomains = true,
                "preload" => hsts.preload = true,
                days => {
                    hsts.max_age_days = days.parse().map_err(|_| {
                        format!(
                            "hsts: {} is none of on, off, a number of days, subdomains and preload: write it like \"365,subdomains\"",
                            shown(days)
                        )
                    })?;
                }
            }
        }
        Ok(Toggle::Full(hsts))
    }
}

impl HeaderRules {
    /// Takes in `set Name: value`, `add Name: value` or `remove Name`, in the place of what was said of that header so.
    ///
    /// # Errors
    /// A sentence with an example.
    pub fn take_in(&mut self, text: &str) -> Result<(), String> {
        let wrong = || {
            format!(
                "{} is not a rule for a header: write it like \"request set x-env: staging\" or \"answer remove server\"",
                shown(text)
            )
        };
        let (action, rest) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let pair = || -> Result<(String, String), String> {
            let (name, value) = rest.split_once(':').ok_or_else(wrong)?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        match action {
            "set" => {
                let (name, value) = pair()?;
                self.set.insert(name, value);
            }
            "add" => {
                let (name, value) = pair()?;
                self.add.insert(name, value);
            }
            "remove" => {
                let name = rest.trim().to_owned();
                if !self.remove.contains(&name) {
                    self.remove.push(name);
                }
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

/// As sizes are read, in the largest unit that is whole.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")];
        let whole = |bits: &u32| self.0 != 0 && self.0.is_multiple_of(1 << bits);
        match units.iter().find(|(bits, _)| whole(bits)) {
            Some((bits, unit)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}", self.0),
        }
    }
}
