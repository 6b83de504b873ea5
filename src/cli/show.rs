//! Sizes and times as people read them.

use crate::base::clock::UnixMs;

/// "512 MB", "1.4 GB".
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 || value >= 10.0 {
        format!("{value:.0} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}

/// Local date and time.
pub fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M")
            .to_string(),
        Err(_) => UnixMs(ms).iso(),
    }
}

/// [`time`], or a dash.
pub fn maybe_time(ms: Option<i64>) -> String {
    ms.map_or_else(|| "-".into(), time)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_have_two_digits_at_least() {
        assert_eq!(super::bytes(512), "512 B");
        assert_eq!(super::bytes(1536), "1.5 KB");
        assert_eq!(super::bytes(512 << 20), "512 MB");
        assert_eq!(super::bytes(3 << 40), "3.0 TB");
    }
}
