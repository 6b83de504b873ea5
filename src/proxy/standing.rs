//! Standing: what the last requests to a target met, and whether it is left out for a while because of that.
//!
//! All of it in atomics, none of it a lock, and a target without trouble costs a few loads. Times are milliseconds of one
//! clock and come as arguments. Which of a route's targets may be left out at all is decided in `outliers`.
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

/// So many failures in a row, or more than half of the window's requests, and a target is out.
const ROW: u64 = 0b111;
const WINDOW: u32 = 20;
const WITHIN_MS: u64 = 10_000;
/// Answers 5xx in a row that speak against a target, if its siblings answer meanwhile.
const ERRORS: u64 = 5;
const FIRST_OUT_MS: u64 = 1_000;
const LONGEST_OUT_MS: u64 = 30_000;
/// After it was out, a target's share grows for this long to a whole one.
const RETURN_MS: u64 = 10_000;
/// After this long without another, a target's next time out is as short as its first.
const MEMORY_MS: u64 = 60_000;
/// How exactly the moment of the last answer is known: what is written less often is read more cheaply by other cores.
const GRAIN_MS: u64 = 5;

#[derive(Default)]
pub(super) struct Standing {
    /// Outcomes since the first failure, the newest lowest, a failure is 1; above them the moment of the first. 0: no trouble.
    recent: AtomicU64,
    /// Low 8 bits: answers 5xx in a row; above them the moment of the first.
    errors: AtomicU64,
    /// When it last gave an answer that was no 5xx, to the grain.
    answered: AtomicU64,
    /// Answers that took long; see `outliers`.
    slow: AtomicU64,
    /// Low 8 bits: how often it was out lately, less one; above them until when. 0: never, or long ago.
    out: AtomicU64,
    ejections: AtomicU64,
    /// Of the last ejection: a `Cause`.
    cause: AtomicU8,
}

/// Why a target is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    Errors = 1,
    Failures = 2,
    Silence = 3,
}

impl Cause {
    /// "left out because …".
    pub fn words(self) -> &'static str {
        match self {
            Cause::Errors => {
                "it answered five requests in a row with errors (5xx) while others answered well"
            }
            Cause::Failures => {
                "it failed requests: connections to it were refused or broke off before an answer"
            }
            Cause::Silence => "it hangs: it takes requests and answers none while others do",
        }
    }

    fn of(word: u8) -> Option<Cause> {
        [Cause::Errors, Cause::Failures, Cause::Silence]
            .into_iter()
            .find(|cause| *cause as u8 == word)
    }
}

impl Standing {
    /// It gave an answer that was no 5xx.
    pub(super) fn answered(&self, now: u64) {
        if now.saturating_sub(self.answered.load(Relaxed)) >= GRAIN_MS {
            self.answered.store(now, Relaxed);
        }
        if self.errors.load(Relaxed) != 0 {
            self.errors.store(0, Relaxed);
        }
        self.alive(now);
    }

    /// It gave an answer 5xx. Since when it gives no other, once those are many; of one that comes back the first is enough.
    pub(super) fn erred(&self, now: u64) -> Option<u64> {
        self.alive(now);
        let one_more = |word: u64| match word {
            0 => (now << 8) | 1,
            word => word - (word & 0xff) + (word & 0xff).saturating_add(1).min(0xff),
        };
        let word = one_more(changed(&self.errors, one_more));
        if self.is_returning(now) {
            return Some(self.out.load(Relaxed) >> 8);
        }
        (word & 0xff >= ERRORS).then_some(word >> 8)
    }

    pub(super) fn was_slow(&self) {
        self.slow.fetch_add(1, Relaxed);
    }

    pub(super) fn slow(&self) -> u64 {
        self.slow.load(Relaxed)
    }

    fn alive(&self, now: u64) {
        if self.recent.load(Relaxed) != 0 {
            changed(&self.recent, |word| outcome(word, false, now));
        }
        let out = self.out.load(Relaxed);
        if out != 0 && now >= (out >> 8) + MEMORY_MS {
            // If another worker was quicker, there is nothing to forget.
            self.out
                .compare_exchange(out, 0, SeqCst, Relaxed)
                .unwrap_or_default();
        }
    }

    /// It failed a request. Whether that was once too often: of one that comes back, the first failure is.
    pub(super) fn failed(&self, now: u64) -> bool {
        let word = outcome(
            changed(&self.recent, |word| outcome(word, true, now)),
            true,
            now,
        );
        let bits = word & OUTCOMES;
        bits & ROW == ROW || bits.count_ones() > WINDOW / 2 || self.is_returning(now)
    }

    pub(super) fn is_out(&self, now: u64) -> bool {
        now < self.out.load(SeqCst) >> 8
    }

    fn is_returning(&self, now: u64) -> bool {
        let out = self.out.load(Relaxed);
        out != 0 && (out >> 8..(out >> 8) + RETURN_MS).contains(&now)
    }

    /// Whether it takes a request: not while it is out, and then with a probability that grows; `chance` is a uniform number,
    /// the same however often one request asks.
    pub(super) fn takes(&self, now: u64, chance: impl FnOnce() -> u16) -> bool {
        let out = self.out.load(Relaxed);
        if out == 0 {
            return true;
        }
        let Some(since) = now.checked_sub(out >> 8) else {
            return false;
        };
        since >= RETURN_MS || u64::from(chance()) * RETURN_MS < since.max(RETURN_MS / 16) << 16
    }

    /// Whether it takes anything at all: not while it is out. One that comes back must have answered since before it gets what
    /// cannot be sent again, or be back for long.
    pub(super) fn may_be_asked(&self, now: u64, reads: bool) -> bool {
        let until = self.out.load(SeqCst) >> 8;
        now >= until && (reads || !self.is_returning(now) || self.answered_since(until))
    }

    pub(super) fn answered_since(&self, moment: u64) -> bool {
        // The grain may hide an answer, but never makes one up.
        self.answered.load(Relaxed) >= moment.max(1)
    }

    /// Out from now on, twice as long as the last time. Not if it is out already, or if then `too_many` are; a count taken
    /// only afterwards sees what other workers do in the same moment.
    pub(super) fn eject(&self, now: u64, why: Cause, too_many: impl FnOnce() -> bool) -> bool {
        let before = self.out.load(SeqCst);
        let (until, level) = (before >> 8, before & 0xff);
        if now < until {
            return false;
        }
        let level = match before {
            0 => 0,
            _ if now >= until + MEMORY_MS => 0,
            _ => (level + 1).min(0xff),
        };
        let length = length(level);
        let after = (now + length) << 8 | level;
        let exchanged = |from, to| self.out.compare_exchange(from, to, SeqCst, SeqCst).is_ok();
        if !exchanged(before, after) || (too_many() && exchanged(after, before)) {
            return false;
        }
        self.recent.store(0, Relaxed);
        self.errors.store(0, Relaxed);
        self.ejections.fetch_add(1, Relaxed);
        self.cause.store(why as u8, Relaxed);
        true
    }

    /// Why it was left out the last time and how long ago that began, until it is forgotten.
    pub(super) fn last_out(&self, now: u64) -> Option<(Cause, Duration)> {
        let (until, level) = (self.out.load(Relaxed) >> 8, self.out.load(Relaxed) & 0xff);
        let lasts = until > 0 && now < until + MEMORY_MS;
        let began = until.saturating_sub(length(level));
        let cause = Cause::of(self.cause.load(Relaxed)).filter(|_| lasts)?;
        Some((cause, Duration::from_millis(now.saturating_sub(began))))
    }

    /// How often it was left out so far.
    pub(super) fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }
}

/// How long the `level`-th time out in a row lasts.
fn length(level: u64) -> u64 {
    (FIRST_OUT_MS << level.min(8)).min(LONGEST_OUT_MS)
}

const OUTCOMES: u64 = (1 << WINDOW) - 1;

/// The word of outcomes after one more. Past the window only the row goes on, whatever the time between its failures.
fn outcome(word: u64, failed: bool, now: u64) -> u64 {
    let (bits, since) = (word & OUTCOMES, word >> WINDOW);
    let (bits, since) = match bits {
        0 => (0, now),
        _ if now >= since + WITHIN_MS => (bits & (ROW >> 1), now),
        _ => (bits, since),
    };
    match (bits << 1 | u64::from(failed)) & OUTCOMES {
        0 => 0,
        bits => since << WINDOW | bits,
    }
}

/// Changes a word and returns what it was before.
fn changed(word: &AtomicU64, change: impl Fn(u64) -> u64) -> u64 {
    let mut before = word.load(Relaxed);
    loop {
        match word.compare_exchange_weak(before, change(before), SeqCst, Relaxed) {
            Ok(before) => return before,
            Err(meanwhile) => before = meanwhile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x` fails, `.` answers, `5` is a 5xx, a digit group `+N;` lets N ms pass.
    fn after(story: &str) -> (Standing, u64, bool) {
        let (standing, mut now, mut bad) = (Standing::default(), 1_000, false);
        let mut rest = story;
        while let Some(what) = rest.chars().next() {
            rest = &rest[1..];
            match what {
                'x' => bad = standing.failed(now),
                '.' => standing.answered(now),
                '5' => bad = standing.erred(now).is_some(),
                '+' => {
                    let (number, more) = rest.split_once(';').unwrap();
                    now += number.parse::<u64>().unwrap();
                    rest = more;
                }
                other => panic!("what is {other}?"),
            }
        }
        (standing, now, bad)
    }

    #[test]
    fn e5_what_speaks_against_a_target() {
        for (story, bad) in [
            ("x", false),
            ("xx", false),
            ("xxx", true),
            ("xx.x", false),
            ("x+20000;x+20000;x", true),
            ("xx.xx.xx.xx.xx", false),
            ("xx.xx.xx.xx.xx.x", true),
            ("xx.xx.xx.xx.xx.+10000;x", false),
            ("x.x.x.x.x.x.x.x.x.x.", false),
            ("x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.", false),
            ("....................", false),
            ("5555", false),
            ("55555", true),
            ("5555.5", false),
            ("55x555", true),
        ] {
            assert_eq!(after(story).2, bad, "{story}");
        }
    }

    #[test]
    fn e5_one_that_was_out_comes_back_slowly_and_stays_out_longer_each_time() {
        let standing = Standing::default();
        let mut now = 5_000;
        for length in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert!(standing.eject(now, Cause::Errors, || false));
            assert!(
                !standing.eject(now, Cause::Errors, || false),
                "it is out already"
            );
            for (later, share) in [(0, 0), (length - 1, 0)] {
                assert!(standing.is_out(now + later));
                assert_eq!(of_a_thousand(&standing, now + later), share);
            }
            now += length;
            assert!(!standing.is_out(now));
            assert!((50..=75).contains(&of_a_thousand(&standing, now)));
            assert!((490..=510).contains(&of_a_thousand(&standing, now + 5_000)));
            assert_eq!(of_a_thousand(&standing, now + 10_000), 1_000);
            assert!(standing.failed(now + 9_999), "one failure is enough");
            assert_eq!(standing.erred(now + 9_999), Some(now), "one error too");
        }
        now += MEMORY_MS;
        assert!(!standing.failed(now), "it was well for long enough");
        assert!(standing.eject(now, Cause::Errors, || false));
        assert!(!standing.is_out(now + FIRST_OUT_MS));
        assert_eq!(standing.ejections(), 8);
        standing.answered(now + 2 * MEMORY_MS);
        assert_eq!(standing.out.load(SeqCst), 0, "all is forgotten");
    }

    fn of_a_thousand(standing: &Standing, now: u64) -> usize {
        let chances = (0..1_000u32).map(|part| (part * 65_536 / 1_000) as u16);
        chances
            .filter(|chance| standing.takes(now, || *chance))
            .count()
    }

    #[test]
    fn e5_nobody_is_left_out_where_too_many_are() {
        let standing = Standing::default();
        assert!(!standing.eject(10, Cause::Errors, || true));
        assert!(standing.takes(10, || u16::MAX) && !standing.is_out(10));
        assert_eq!(standing.ejections(), 0);
    }

    #[test]
    fn n3_why_it_was_left_out_and_since_when_is_told_until_it_is_forgotten() {
        let standing = Standing::default();
        assert_eq!(standing.last_out(9_000), None);
        standing.eject(5_000, Cause::Errors, || false);
        let ago = |ms| Duration::from_millis(ms);
        assert_eq!(standing.last_out(5_400), Some((Cause::Errors, ago(400))));
        // Out for two seconds this time.
        standing.eject(7_000, Cause::Silence, || false);
        assert_eq!(standing.last_out(9_500), Some((Cause::Silence, ago(2_500))));
        assert!(standing.last_out(9_000 + MEMORY_MS).is_none());
        standing.eject(100_000, Cause::Failures, || true);
        assert!(standing.last_out(100_100).is_none(), "it was not left out");
    }
}
