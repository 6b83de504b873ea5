//! Figures and times as words: short, exact where it matters, the same on every page.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

use crate::base::clock::UnixMs;

/// How long ago, in one unit: "4 min ago".
pub fn ago(then: UnixMs, now: UnixMs) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..=9 => "just now".to_owned(),
        _ => format!("{} ago", one_unit(seconds)),
    }
}

/// How far ahead, in one unit: "in 62 days"; "overdue by 3 h" once it has passed.
pub fn until(then: UnixMs, now: UnixMs) -> String {
    if then < now {
        return format!("overdue by {}", one_unit(now.since(then).as_secs()));
    }
    match then.since(now).as_secs() {
        0..=9 => "now".to_owned(),
        seconds => format!("in {}", one_unit(seconds)),
    }
}

fn one_unit(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=5_399 => format!("{} min", (seconds + 30) / 60),
        5_400..=129_599 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => match (seconds + 43_200) / 86_400 {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        },
    }
}

/// A length of time in at most two units: "1 min 12 s".
pub fn length(time: Duration) -> String {
    let ms = time.as_millis();
    match time.as_secs() {
        0 => format!("{ms} ms"),
        s @ 1..=9 => format!("{s}.{} s", (ms / 100) % 10),
        s @ 10..=59 => format!("{s} s"),
        s @ 60..=3_599 => format!("{} min {} s", s / 60, s % 60),
        s @ 3_600..=86_399 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        s => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// "1.4 GiB".
#[allow(clippy::cast_precision_loss)]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// "38 %", "0.4 %", "0 %".
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value {
        v if v <= 0.0 => "0 %".to_owned(),
        v if v < 0.01 => "<0.01 %".to_owned(),
        v if v < 1.0 => format!("{} %", trim(format!("{v:.2}"))),
        v if v < 10.0 => format!("{} %", trim(format!("{v:.1}"))),
        v if v < 99.995 && v > 99.0 => format!("{} %", trim(format!("{v:.2}"))),
        v => format!("{v:.0} %"),
    }
}

/// Processor time in use: "0.12 cores".
pub fn cores(count: f64) -> String {
    match count {
        c if c < 0.005 => "0 cores".to_owned(),
        c => format!("{c:.2} cores"),
    }
}

/// Requests per second.
pub fn rate(per_second: f64) -> String {
    match per_second {
        v if v <= 0.0 => "0".to_owned(),
        v if v < 0.01 => "<0.01".to_owned(),
        v => three_digits(v),
    }
}

/// Milliseconds: "48 ms", "1.2 s".
pub fn millis(ms: f64) -> String {
    match ms {
        v if v < 1.0 => "<1 ms".to_owned(),
        v if v < 999.5 => format!("{v:.0} ms"),
        v => format!("{} s", three_digits(v / 1000.0)),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => trim(format!("{v:.2}")),
        v if v < 99.95 => trim(format!("{v:.1}")),
        v => format!("{v:.0}"),
    }
}

fn trim(text: String) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Date and time on the box's own clock: "21 Nov 2026, 07:04".
pub fn date_time(at: UnixMs) -> String {
    local(at, "%-d %b %Y, %H:%M")
}

/// The day: "21 Nov 2026".
pub fn date(at: UnixMs) -> String {
    local(at, "%-d %b %Y")
}

/// The time of day with its seconds: "07:04:09".
pub fn clock(at: UnixMs) -> String {
    local(at, "%H:%M:%S")
}

fn local(at: UnixMs, format: &str) -> String {
    match Timestamp::from_millisecond(at.0) {
        Ok(time) => time
            .to_zoned(TimeZone::system())
            .strftime(format)
            .to_string(),
        Err(_) => at.iso(),
    }
}

/// A word somebody typed, cut and in quotes.
pub fn quoted(text: &str) -> String {
    format!("“{}”", text.chars().take(60).collect::<String>())
}

/// "1 app", "3 apps".
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_times_read_as_one_unit() {
        let now = UnixMs(1_800_000_000_000);
        let back = |s| ago(now.minus(Duration::from_secs(s)), now);
        assert_eq!(back(3), "just now");
        assert_eq!(back(59), "59 s ago");
        assert_eq!(back(240), "4 min ago");
        assert_eq!(back(7_200), "2 h ago");
        assert_eq!(back(90_000), "25 h ago");
        assert_eq!(back(172_800), "2 days ago");
        assert_eq!(
            until(now.plus(Duration::from_secs(86_400 * 62)), now),
            "in 62 days"
        );
        assert_eq!(
            until(now.minus(Duration::from_secs(600)), now),
            "overdue by 10 min"
        );
        assert_eq!(length(Duration::from_millis(4_230)), "4.2 s");
        assert_eq!(length(Duration::from_secs(72)), "1 min 12 s");
    }

    #[test]
    fn f10_figures_keep_three_digits() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_503_238_553), "1.4 GiB");
        assert_eq!(bytes(1024 * 1024 * 1023), "1 GiB");
        assert_eq!(percent(0.384), "38 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.0042), "0.42 %");
        assert_eq!(percent(0.9996), "99.96 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(rate(12.34), "12.3");
        assert_eq!(rate(1_204.0), "1204");
        assert_eq!(millis(48.2), "48 ms");
        assert_eq!(millis(1_240.0), "1.24 s");
    }
}
