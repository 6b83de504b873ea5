//! How often clients may ask: a table of fixed size, shared by the workers without a lock.
//!
//! A quota refills evenly (the generic cell rate algorithm), so one number a client is all that is kept: when its quota is
//! whole again. A table has 4,096 rows of four places of eight bytes, 128 KB for each route that is limited, however many
//! come. When a row is full, the client whose quota is whole first gives its place up: of all the least is lost with it, so
//! a crowd gives nobody their quota back. Two clients that share a row and 20 more bits of a keyed hash share a quota: by
//! chance one in a million, and by intent for nobody, as the key is the table's own.
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::base::policies::RateLimit;

const ROWS: usize = 4_096;
const PLACES: usize = 4;
/// A place holds a tag in front and a moment behind.
const MOMENT: u64 = (1 << 44) - 1;
/// Moments are counted in these: ten microseconds.
const TICKS: u64 = 100_000;
/// So often a place is tried again when another worker was quicker.
const TRIES: usize = 8;

/// A limit, ready to be used.
#[derive(Debug)]
pub(super) struct Quota {
    most: u32,
    /// Ticks in which all of it comes back, and one request does.
    window: u64,
    cost: u64,
    header: Option<HeaderName>,
    /// `RateLimit-Policy`.
    policy: HeaderValue,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// Left after this one.
    left: u32,
    /// Ticks until the quota is whole, and until one request is free.
    whole: u64,
    free: u64,
}

impl Verdict {
    /// In seconds.
    pub(super) fn retry_after(self) -> u32 {
        u32::try_from(self.free.div_ceil(TICKS))
            .unwrap_or(u32::MAX)
            .max(1)
    }
}

/// By what a client is told apart.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) enum Who<'a> {
    V4([u8; 4]),
    /// Whoever has one address of IPv6 has a whole /64.
    V6([u8; 8]),
    Said(&'a [u8]),
}

impl Who<'_> {
    fn at(address: IpAddr) -> Who<'static> {
        match address.to_canonical() {
            IpAddr::V4(address) => Who::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Who::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Quota {
    pub(super) fn new(from: &RateLimit) -> Quota {
        let seconds = u64::from(from.per.seconds());
        let (most, window) = (from.requests.max(1), seconds * TICKS);
        let policy = format!("\"requests\";q={most};w={seconds}");
        Quota {
            most,
            window,
            cost: (window / u64::from(most)).max(1),
            header: from
                .header
                .as_ref()
                .and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok()),
            // Digits and words alone.
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")),
        }
    }

    /// Several values of the header are none: an app may read any of them.
    pub(super) fn who<'a>(&self, headers: &'a HeaderMap, address: IpAddr) -> Who<'a> {
        let said = self.header.as_ref().and_then(|name| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())
        });
        said.map_or_else(|| Who::at(address), |value| Who::Said(value.as_bytes()))
    }

    /// The one decision: `whole` is in how many ticks the quota is whole again, as it was kept.
    fn decide(&self, whole: u64) -> Verdict {
        let whole = whole.min(self.window);
        let after = whole + self.cost;
        let allowed = after <= self.window;
        let whole = if allowed { after } else { whole };
        let left = u32::try_from((self.window - whole) / self.cost).unwrap_or(u32::MAX);
        Verdict {
            allowed,
            left: left.min(self.most),
            whole,
            free: (whole + self.cost).saturating_sub(self.window),
        }
    }

    /// In the words of draft-ietf-httpapi-ratelimit-headers.
    pub(super) fn tell(&self, verdict: Verdict, headers: &mut HeaderMap) {
        let reset = verdict.whole.div_ceil(TICKS);
        headers.insert("ratelimit-policy", self.policy.clone());
        let left = format!("\"requests\";r={};t={reset}", verdict.left);
        if let Ok(left) = HeaderValue::try_from(left) {
            headers.insert("ratelimit", left);
        }
    }
}

/// What is kept of a route's clients.
pub(in crate::proxy) struct RateTable {
    places: Box<[AtomicU64]>,
    began: Instant,
    /// Keyed by chance: nobody can choose to share a place.
    hasher: RandomState,
}

impl Default for RateTable {
    fn default() -> RateTable {
        RateTable {
            places: (0..ROWS * PLACES).map(|_| AtomicU64::new(0)).collect(),
            began: Instant::now(),
            hasher: RandomState::new(),
        }
    }
}

impl RateTable {
    pub(super) fn take(&self, quota: &Quota, who: Who<'_>, now: Instant) -> Verdict {
        let hash = self.hasher.hash_one(who);
        let micros = now.saturating_duration_since(self.began).as_micros();
        // Behind the last tick it begins again: moments are compared around the circle.
        let now = u64::try_from(micros / 10).unwrap_or(u64::MAX) & MOMENT;
        // A moment farther ahead than any window has passed.
        let left = |place: u64| match (place & MOMENT).wrapping_sub(now) & MOMENT {
            left if left <= LONGEST => left,
            _ => 0,
        };
        let row = (hash % ROWS as u64) as usize * PLACES;
        let row = &self.places[row..row + PLACES];
        let tag = hash & !MOMENT;
        let mut verdict = quota.decide(0);
        for _ in 0..TRIES {
            let all: [u64; PLACES] = std::array::from_fn(|at| row[at].load(Relaxed));
            let mine = (0..PLACES).find(|at| all[*at] & !MOMENT == tag);
            let at =
                mine.unwrap_or_else(|| (0..PLACES).min_by_key(|at| left(all[*at])).unwrap_or(0));
            let kept = mine.map_or(0, |at| left(all[at]));
            verdict = quota.decide(kept);
            let next = tag | (now.wrapping_add(verdict.whole) & MOMENT);
            // A refusal changes nothing, but where what was kept was more than the quota, as a longer one left it.
            let changes = verdict.allowed || kept > quota.window;
            if !changes
                || row[at]
                    .compare_exchange(all[at], next, Relaxed, Relaxed)
                    .is_ok()
            {
                break;
            }
        }
        verdict
    }
}

/// The ticks of the longest window, a day.
const LONGEST: u64 = 86_400 * TICKS;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn quota(text: &str) -> Quota {
        Quota::new(&toml::from_str(text).unwrap())
    }

    fn v4(number: u32) -> Who<'static> {
        Who::at(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn e6_a_quota_is_used_up_refills_evenly_and_says_so() {
        let (four, table) = (quota("requests = 4"), RateTable::default());
        let now = table.began + Duration::from_secs(7);
        for left in [3, 2, 1, 0] {
            let verdict = table.take(&four, v4(1), now);
            assert!(verdict.allowed && verdict.left == left, "{verdict:?}");
        }
        let refused = table.take(&four, v4(1), now);
        assert!(!refused.allowed && refused.left == 0 && refused.retry_after() == 15);
        assert!(table.take(&four, v4(2), now).allowed);
        let nearly = now + Duration::from_millis(14_999);
        assert_eq!(table.take(&four, v4(1), nearly).retry_after(), 1);
        let later = now + Duration::from_secs(15);
        assert!(
            table.take(&four, v4(1), later).allowed && !table.take(&four, v4(1), later).allowed
        );
        let mut headers = HeaderMap::new();
        four.tell(table.take(&four, v4(3), now), &mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"requests\";q=4;w=60");
        assert_eq!(headers["ratelimit"], "\"requests\";r=3;t=15");
    }

    #[test]
    fn e6_a_crowd_of_100_000_takes_no_more_room_and_gives_nobody_their_quota_back() {
        let (four, table) = (quota("requests = 4"), RateTable::default());
        assert_eq!(std::mem::size_of_val(&*table.places), 128 * 1_024);
        let now = table.began + Duration::from_secs(7);
        let spend = |who: u32| {
            (0..5)
                .map(|_| table.take(&four, v4(who), now).allowed)
                .collect::<Vec<_>>()
        };
        assert_eq!(spend(1), [true, true, true, true, false]);
        for stranger in 10..100_010 {
            table.take(&four, v4(stranger), now);
        }
        assert_eq!(std::mem::size_of_val(&*table.places), 128 * 1_024);
        assert!(!table.take(&four, v4(1), now).allowed);
    }

    #[test]
    fn e6_workers_share_a_quota_without_a_lock() {
        let (quota, table) = (
            Arc::new(quota("requests = 1000")),
            Arc::new(RateTable::default()),
        );
        let now = table.began + Duration::from_secs(1);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (quota, table) = (quota.clone(), table.clone());
                std::thread::spawn(move || {
                    (0..500)
                        .filter(|_| table.take(&quota, v4(1), now).allowed)
                        .count()
                })
            })
            .collect();
        let allowed: usize = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        // One that lost every try is let through uncounted; that takes eight losses in a row.
        assert!((1_000..=1_010).contains(&allowed), "{allowed}");
    }

    #[test]
    fn e6_a_network_of_ipv6_is_one_client_and_a_header_tells_apart_only_when_it_is_one() {
        let at = |text: &str| Who::at(text.parse().unwrap());
        assert_eq!(at("2001:db8:1:2:3:4:5:6"), at("2001:db8:1:2::9"));
        assert_ne!(at("2001:db8:1:2::9"), at("2001:db8:1:3::9"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        let quota = quota("requests = 1\nheader = \"X-Key\"");
        let address = "192.0.2.1".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(quota.who(&headers, address), at("192.0.2.1"));
        headers.append("x-key", HeaderValue::from_static("a"));
        assert_eq!(quota.who(&headers, address), Who::Said(b"a"));
        headers.append("x-key", HeaderValue::from_static("b"));
        assert_eq!(quota.who(&headers, address), at("192.0.2.1"));
    }

    #[test]
    fn e6_rates_go_on_when_the_clock_of_a_table_begins_again() {
        let (one, table) = (quota("requests = 1\nper = \"day\""), RateTable::default());
        let end = Duration::from_micros((MOMENT - 5) * 10);
        let before = table.began + end;
        assert!(table.take(&one, v4(1), before).allowed);
        assert!(
            !table
                .take(&one, v4(1), before + Duration::from_secs(3_600))
                .allowed
        );
        assert!(
            table
                .take(&one, v4(1), before + Duration::from_secs(86_401))
                .allowed
        );
    }

    #[test]
    fn e6_a_shorter_quota_shuts_nobody_out_for_the_longer_ones_time() {
        let table = RateTable::default();
        let now = table.began + Duration::from_secs(1);
        let day = quota("requests = 1\nper = \"day\"");
        assert!(table.take(&day, v4(1), now).allowed && !table.take(&day, v4(1), now).allowed);
        let refused = table.take(&quota("requests = 2\nper = \"second\""), v4(1), now);
        assert!(!refused.allowed && refused.retry_after() == 1);
        let later = now + Duration::from_secs(1);
        assert!(
            table
                .take(&quota("requests = 2\nper = \"second\""), v4(1), later)
                .allowed
        );
    }
}
