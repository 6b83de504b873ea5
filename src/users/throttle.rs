//! Slows wrong tries down: by address, by account, and by browser where the account knows it.
//!
//! A browser in which somebody signed in to the account before counts by itself
//! alone: whatever strangers try, from however many addresses, its owner is not
//! slowed. Browsers the account does not know share a count, so that many
//! addresses gain nothing over one. A try is counted before the password is
//! looked at and taken back when it was right, so that tries sent at once gain
//! nothing either. Memory is bounded; what accounts and browsers have on them is
//! kept in their rows too, and outlives a restart.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::base::secret::sha256_hex;

/// What tries are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A client's address; an IPv6 one by its /64.
    Address(u64),
    /// An account, tried by browsers it does not know.
    Account(i64),
    /// A name nobody has. It is slowed like one that somebody has, so that nothing is learnt from it.
    Name(u64),
    /// A browser the account knows.
    Device(i64),
}

/// Wrong tries so far, and when the last was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub failures: u32,
    pub last: UnixMs,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            failures: 0,
            last: UnixMs(0),
        }
    }
}

/// What one try counts for, each with what its row has on it.
pub(super) type Counted = Vec<(Subject, Tally)>;

struct Pace {
    free: u32,
    longest: Duration,
    forgotten: Duration,
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Subject {
    fn pace(self) -> Pace {
        let (free, longest, forgotten) = match self {
            Self::Address(_) => (5, 300, 600),
            Self::Account(_) | Self::Name(_) => (20, 900, 24 * 3600),
            Self::Device(_) => (10, 300, 3600),
        };
        Pace {
            free,
            longest: seconds(longest),
            forgotten: seconds(forgotten),
        }
    }

    /// Whether its count is kept in a row.
    fn has_row(self) -> bool {
        matches!(self, Self::Account(_) | Self::Device(_))
    }

    fn of_address(address: Option<IpAddr>) -> Self {
        Self::Address(match address {
            None => 0,
            Some(IpAddr::V4(v4)) => u64::from(u32::from(v4)) | 1 << 40,
            Some(IpAddr::V6(v6)) => (u128::from(v6) >> 64) as u64,
        })
    }

    fn of_name(name: &str) -> Self {
        let digest = sha256_hex(name.as_bytes());
        Self::Name(u64::from_str_radix(digest.get(..16).unwrap_or("0"), 16).unwrap_or(0))
    }
}

/// What a try at `name` counts for: at its account, if there is one, from a browser the account
/// may know.
pub(super) fn counted(
    name: &str,
    address: Option<IpAddr>,
    account: Option<(i64, Tally)>,
    device: Option<(i64, Tally)>,
) -> Counted {
    if let Some((device, tally)) = device {
        return vec![(Subject::Device(device), tally)];
    }
    let whose = match account {
        Some((id, tally)) => (Subject::Account(id), tally),
        None => (Subject::of_name(name), Tally::default()),
    };
    vec![whose, (Subject::of_address(address), Tally::default())]
}

/// What a try counts for that is at no account.
pub(super) fn by_address(address: Option<IpAddr>) -> Counted {
    vec![(Subject::of_address(address), Tally::default())]
}

/// How long to wait until the next try, if at all.
fn wait(subject: Subject, tally: Tally, now: UnixMs) -> Option<Duration> {
    let pace = subject.pace();
    // A try that is still to come was before the clock was set back: nobody waits for that hour.
    if tally.failures < pace.free
        || now.since(tally.last) >= pace.forgotten
        || tally.last > now.plus(pace.longest)
    {
        return None;
    }
    let doubled = 1u64 << (tally.failures - pace.free).min(30);
    let open = tally.last.plus(seconds(doubled).min(pace.longest));
    (open > now).then(|| open.since(now))
}

/// Subjects remembered at most.
const MOST: usize = 8_192;

#[derive(Default)]
pub(super) struct Throttle {
    tallies: HashMap<Subject, Tally>,
}

impl Throttle {
    /// Counts a try, or tells how long to wait before one.
    pub(super) fn begin(&mut self, counted: &Counted, now: UnixMs) -> Result<(), Duration> {
        let now_of = |(subject, stored): &(Subject, Tally)| {
            (*subject, *self.tallies.get(subject).unwrap_or(stored))
        };
        let tallies: Vec<_> = counted.iter().map(now_of).collect();
        let longest = tallies.iter().filter_map(|(s, t)| wait(*s, *t, now)).max();
        if let Some(longest) = longest {
            return Err(longest);
        }
        for (subject, mut tally) in tallies {
            if now.since(tally.last) >= subject.pace().forgotten {
                tally.failures = 0;
            }
            tally.failures += 1;
            tally.last = now;
            self.make_room(now);
            self.tallies.insert(subject, tally);
        }
        Ok(())
    }

    /// Takes a counted try back: it was right as far as it went.
    pub(super) fn take_back(&mut self, counted: &Counted) {
        for (subject, _) in counted {
            if let Some(tally) = self.tallies.get_mut(subject) {
                tally.failures = tally.failures.saturating_sub(1);
            }
        }
    }

    /// Forgets what is counted: it was right.
    pub(super) fn forget(&mut self, counted: &Counted) {
        for (subject, _) in counted {
            self.tallies.insert(*subject, Tally::default());
        }
    }

    /// What is on those of `counted` now that have a row.
    pub(super) fn to_keep(&self, counted: &Counted) -> Counted {
        let with_row = counted.iter().filter(|(subject, _)| subject.has_row());
        with_row
            .map(|(s, _)| (*s, self.tallies.get(s).copied().unwrap_or_default()))
            .collect()
    }

    fn make_room(&mut self, now: UnixMs) {
        if self.tallies.len() < MOST {
            return;
        }
        self.tallies
            .retain(|s, t| t.failures > 0 && now.since(t.last) < s.pace().forgotten);
        while self.tallies.len() >= MOST {
            let mut lasts: Vec<UnixMs> = self.tallies.values().map(|t| t.last).collect();
            lasts.sort_unstable();
            let oldest = lasts[lasts.len() / 4];
            let before = self.tallies.len();
            self.tallies.retain(|_, t| t.last > oldest);
            if self.tallies.len() == before {
                self.tallies.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_000_000);

    fn address(n: u32) -> Option<IpAddr> {
        Some(IpAddr::from(n.to_be_bytes()))
    }

    fn fail(throttle: &mut Throttle, counted: &Counted, times: u32) {
        for _ in 0..times {
            throttle.begin(counted, NOW).ok();
        }
    }

    #[test]
    fn a2_one_address_is_slowed_and_the_owner_at_another_is_not() {
        let mut throttle = Throttle::default();
        let stranger = counted("owner", address(1), Some((1, Tally::default())), None);
        let owner = counted("owner", address(2), Some((1, Tally::default())), None);
        fail(&mut throttle, &stranger, 5);
        assert_eq!(throttle.begin(&stranger, NOW), Err(seconds(1)));
        assert_eq!(throttle.begin(&owner, NOW), Ok(()));
        assert_eq!(throttle.begin(&stranger, NOW.plus(seconds(1))), Ok(()));
    }

    #[test]
    fn a2_many_addresses_slow_the_account_for_browsers_it_does_not_know() {
        let mut throttle = Throttle::default();
        for n in 0..40 {
            let stranger = counted("owner", address(n), Some((1, Tally::default())), None);
            throttle.begin(&stranger, NOW).ok();
        }
        let elsewhere = counted("owner", address(99), Some((1, Tally::default())), None);
        let known = counted(
            "owner",
            address(3),
            Some((1, Tally::default())),
            Some((7, Tally::default())),
        );
        let another = counted("ana", address(99), Some((2, Tally::default())), None);
        assert!(throttle.begin(&elsewhere, NOW).is_err());
        assert_eq!(throttle.begin(&known, NOW), Ok(()), "its owner comes in");
        assert_eq!(throttle.begin(&another, NOW), Ok(()));
        // A name nobody has behaves the same.
        for n in 0..40 {
            let stranger = counted("nobody", address(1_000 + n), None, None);
            throttle.begin(&stranger, NOW).ok();
        }
        let elsewhere = counted("nobody", address(98), None, None);
        assert!(throttle.begin(&elsewhere, NOW).is_err());
    }

    #[test]
    fn a2_a_known_browser_is_slowed_by_its_own_tries() {
        let mut throttle = Throttle::default();
        let known = counted("owner", address(1), None, Some((7, Tally::default())));
        fail(&mut throttle, &known, 30);
        assert!(throttle.begin(&known, NOW).is_err());
    }

    #[test]
    fn a2_the_wait_grows_to_a_bound_and_a_quiet_day_forgets() {
        let account = Subject::Account(1);
        let after = |failures| {
            let tally = Tally {
                failures,
                last: NOW,
            };
            wait(account, tally, NOW)
        };
        assert_eq!(after(19), None);
        assert_eq!(after(20), Some(seconds(1)));
        assert_eq!(after(23), Some(seconds(8)));
        assert_eq!(after(4_000_000_000), Some(seconds(900)));
        let mut throttle = Throttle::default();
        let stored = Tally {
            failures: 4_000,
            last: NOW,
        };
        let row = counted("owner", address(1), Some((1, stored)), None);
        assert!(
            throttle.begin(&row, NOW).is_err(),
            "a restart forgets nothing"
        );
        let tomorrow = NOW.plus(seconds(24 * 3600));
        assert_eq!(throttle.begin(&row, tomorrow), Ok(()));
        assert_eq!(throttle.tallies[&account].failures, 1);
    }

    #[test]
    fn a2_a_right_try_is_not_counted() {
        let mut throttle = Throttle::default();
        let one = counted("owner", address(1), Some((1, Tally::default())), None);
        for _ in 0..100 {
            assert_eq!(throttle.begin(&one, NOW), Ok(()));
            throttle.take_back(&one);
        }
        fail(&mut throttle, &one, 5);
        throttle.forget(&one);
        assert_eq!(throttle.begin(&one, NOW), Ok(()));
    }

    #[test]
    fn a2_memory_is_bounded_and_a_flood_does_not_empty_it() {
        let mut throttle = Throttle::default();
        for n in 0..40_000u32 {
            let at = UnixMs(i64::from(n));
            let one = counted(&n.to_string(), address(n), None, None);
            throttle.begin(&one, at).ok();
        }
        assert!(throttle.tallies.len() <= MOST && throttle.tallies.len() > MOST / 4);
    }
}
