//! Sources: how many connections each has open, and how fast it opens new ones. Counted by all threads, locked by none.
//!
//! A count lies in one cell of each of four rows, at places that a keyed hash of the source names, and the smallest of the
//! four is taken for its own: never less than it has, and more only where four others fall on it. The table is 256 KB
//! whatever comes: nothing is remembered of a source that is gone, and nothing can be pushed out by making up sources.
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// With 78 sources at their limit (20,000 connections at 256 each) somebody else meets them in all rows once in seven
/// million.
const ROWS: usize = 4;
const CELLS: usize = 4_096;
/// What a source may open at once is what it may open in so long.
const AT_ONCE: Duration = Duration::from_secs(4);

/// What counts as one client: an IPv4 address, or the /64 from which an IPv6 client takes its addresses as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    V4(u32),
    V6(u64),
}

impl Source {
    pub(super) fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source::V4(address.to_bits()),
            IpAddr::V6(address) => Source::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Why a source may not have another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// It has as many open as it may.
    Open,
    /// It opens them faster than it may.
    Rate,
}

/// Where a source's connection is counted, until it is given back with [`Sources::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place([u16; ROWS]);

#[derive(Default)]
struct Cell {
    open: AtomicU32,
    /// Nanoseconds after the beginning at which all that was opened is paid for (GCRA's theoretical arrival time).
    paid: AtomicU64,
}

pub(super) struct Sources {
    rows: [Box<[Cell]>; ROWS],
    hash: RandomState,
    began: Instant,
}

impl Sources {
    pub(super) fn new(now: Instant) -> Sources {
        Sources {
            rows: std::array::from_fn(|_| (0..CELLS).map(|_| Cell::default()).collect()),
            hash: RandomState::new(),
            began: now,
        }
    }

    /// Counts one more connection of this source, with at most `open` at once and `rate` new ones a second.
    ///
    /// # Errors
    /// [`Excess`]; nothing is counted then, so that one who is refused is not kept out by trying.
    pub(super) fn enter(
        &self,
        source: Source,
        open: u32,
        rate: u32,
        now: Instant,
    ) -> Result<Place, Excess> {
        let place = self.hold(source, open)?;
        if !self.pays(place, rate, now) {
            self.leave(place);
            return Err(Excess::Rate);
        }
        Ok(place)
    }

    /// Counts one more of whatever this source may have `open` of at once.
    ///
    /// # Errors
    /// [`Excess`]; nothing is counted then.
    pub(super) fn hold(&self, source: Source, open: u32) -> Result<Place, Excess> {
        let place = self.place(source);
        let others = self
            .cells(place)
            .map(|cell| cell.open.fetch_add(1, Relaxed));
        if others.into_iter().min().unwrap_or(0) >= open {
            self.leave(place);
            return Err(Excess::Open);
        }
        Ok(place)
    }

    /// The connection is over.
    pub(super) fn leave(&self, place: Place) {
        for cell in self.cells(place) {
            cell.open.fetch_sub(1, Relaxed);
        }
    }

    /// GCRA: whether a new connection fits, and if so pays for it.
    fn pays(&self, place: Place, rate: u32, now: Instant) -> bool {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(now.saturating_duration_since(self.began));
        let price = 1_000_000_000 / u64::from(rate.max(1));
        let cells = self.cells(place);
        let paid = cells.map(|cell| cell.paid.load(Relaxed));
        let paid = paid.into_iter().min().unwrap_or(0).max(now);
        if paid > now + nanos(AT_ONCE).saturating_sub(price) {
            return false;
        }
        for cell in cells {
            // Another thread's payment is never lost: each adds its own.
            let _before = cell
                .paid
                .fetch_update(Relaxed, Relaxed, |paid| Some(paid.max(now) + price));
        }
        true
    }

    fn place(&self, source: Source) -> Place {
        let hash = self.hash.hash_one(source);
        Place(std::array::from_fn(|row| {
            (hash >> (16 * row)) as u16 % CELLS as u16
        }))
    }

    fn cells(&self, place: Place) -> [&Cell; ROWS] {
        std::array::from_fn(|row| &self.rows[row][usize::from(place.0[row])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn e4_a_source_is_an_ipv4_address_or_an_ipv6_64() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:8000::", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "0.0.0.1", false),
        ] {
            assert_eq!(source(one) == source(other), same, "{one} {other}");
        }
    }

    #[test]
    fn e4_open_connections_of_a_source_are_limited_and_come_back() {
        let now = Instant::now();
        let sources = Sources::new(now);
        let enter = |text: &str| sources.enter(source(text), 3, u32::MAX, now);
        // One /64 has many addresses and counts once.
        let all = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];
        let places: Vec<Place> = all.iter().map(|text| enter(text).unwrap()).collect();
        assert_eq!(enter("2001:db8::4"), Err(Excess::Open));
        assert!(enter("2001:db8:0:1::4").is_ok());
        assert!(enter("192.0.2.1").is_ok());
        sources.leave(places[0]);
        assert!(enter("2001:db8::4").is_ok());
        assert_eq!(enter("2001:db8::5"), Err(Excess::Open));
    }

    #[test]
    fn e4_new_connections_are_256_at_once_and_then_64_a_second() {
        let began = Instant::now();
        let sources = Sources::new(began);
        let one = source("192.0.2.1");
        let admitted = |now: Instant| {
            (0..1_000)
                .filter(|_| sources.enter(one, u32::MAX, 64, now).is_ok())
                .count()
        };
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!(admitted(at(0)), 256);
        // Refusals cost nothing: the next second has its 64 whole.
        assert_eq!(admitted(at(1_000)), 64);
        assert_eq!(admitted(at(1_500)), 32);
        // All of it again, and no more, after however long a rest.
        assert_eq!(admitted(at(60_000)), 256);
        // Nobody else is the poorer.
        let other = source("192.0.2.2");
        assert!(sources.enter(other, u32::MAX, 64, at(60_000)).is_ok());
    }

    /// However many sources come and go: the same memory, and all that is counted is given back.
    #[test]
    fn e4_a_million_sources_leave_nothing_behind() {
        let now = Instant::now();
        let sources = Sources::new(now);
        assert_eq!(ROWS * CELLS * size_of::<Cell>(), 256 << 10);
        let mut refused = 0;
        for number in 0..1_000_000_u32 {
            // A connection a microsecond: far more than is ever accepted.
            let now = now + Duration::from_micros(u64::from(number));
            match sources.enter(Source::V4(number), 256, 64, now) {
                Ok(place) => sources.leave(place),
                Err(_) => refused += 1,
            }
        }
        // As many as a table of this size can tell apart, and nobody is kept out who comes after.
        assert!(refused < 1_000_000 / 2, "{refused}");
        let open = |cell: &Cell| cell.open.load(Relaxed);
        assert!(sources.rows.iter().flatten().all(|cell| open(cell) == 0));
        let later = now + Duration::from_secs(10);
        assert!(sources.enter(source("192.0.2.1"), 1, 64, later).is_ok());
    }

    /// What the doc of `ROWS` says: attackers at their limit keep out next to nobody else.
    #[test]
    fn e4_sources_at_their_limit_keep_nobody_else_out() {
        let now = Instant::now();
        let sources = Sources::new(now);
        for attacker in 0..78 {
            while sources
                .enter(Source::V4(attacker), 256, u32::MAX, now)
                .is_ok()
            {}
        }
        let kept_out = (1_000_000..1_100_000)
            .filter(|number| {
                let entered = sources.enter(Source::V4(*number), 256, u32::MAX, now);
                entered.map(|place| sources.leave(place)).is_err()
            })
            .count();
        // Once in seven million expected, so hardly once in these 100,000.
        assert!(kept_out <= 1, "{kept_out}");
    }

    #[test]
    fn e4_threads_that_count_at_once_lose_nothing() {
        let now = Instant::now();
        let sources = Sources::new(now);
        let one = source("192.0.2.1");
        let entered: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1_000)
                            .filter(|_| sources.enter(one, 100, u32::MAX, now).is_ok())
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        // While one that is refused stands in the count for a moment, another may be too.
        assert!(entered <= 100 && entered > 0, "{entered}");
        assert_eq!(sources.enter(one, 100, 64, now).is_ok(), entered < 100);
    }
}
