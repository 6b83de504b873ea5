//! Slows wrong passwords down, per address, in bounded memory.
//!
//! An IPv6 address counts by its /64. The owner at another address is never
//! touched by a stranger's tries.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::clock::UnixMs;

const FREE_TRIES: u32 = 5;
const LONGEST: Duration = Duration::from_secs(300);
const ADDRESSES: usize = 4_096;

#[derive(Default)]
pub(super) struct Throttle {
    tries: HashMap<u64, (u32, UnixMs)>,
}

fn key(address: Option<IpAddr>) -> u64 {
    match address {
        None => 0,
        Some(IpAddr::V4(v4)) => u64::from(u32::from(v4)) | 1 << 40,
        Some(IpAddr::V6(v6)) => (u128::from(v6) >> 64) as u64,
    }
}

fn pause(failures: u32) -> Duration {
    if failures < FREE_TRIES {
        return Duration::ZERO;
    }
    Duration::from_secs(1 << (failures - FREE_TRIES).min(9)).min(LONGEST)
}

impl Throttle {
    /// How long this address must wait before it may try, if at all.
    pub(super) fn wait(&self, address: Option<IpAddr>, now: UnixMs) -> Option<Duration> {
        let (failures, last) = self.tries.get(&key(address))?;
        let open = last.plus(pause(*failures));
        (open > now).then(|| open.since(now))
    }

    pub(super) fn failed(&mut self, address: Option<IpAddr>, now: UnixMs) {
        if self.tries.len() >= ADDRESSES {
            self.tries.retain(|_, (_, last)| now.since(*last) < LONGEST);
        }
        if self.tries.len() >= ADDRESSES {
            self.tries.clear();
        }
        let entry = self.tries.entry(key(address)).or_insert((0, now));
        if now.since(entry.1) > LONGEST * 2 {
            entry.0 = 0;
        }
        entry.0 += 1;
        entry.1 = now;
    }

    pub(super) fn succeeded(&mut self, address: Option<IpAddr>) {
        self.tries.remove(&key(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f2_a_stranger_is_slowed_and_the_owner_elsewhere_is_not() {
        let stranger = Some(IpAddr::from([203, 0, 113, 9]));
        let owner = Some(IpAddr::from([198, 51, 100, 7]));
        let mut throttle = Throttle::default();
        for _ in 0..12 {
            throttle.failed(stranger, UnixMs(1_000));
        }
        assert!(throttle.wait(stranger, UnixMs(2_000)).unwrap() > Duration::from_secs(60));
        assert_eq!(throttle.wait(owner, UnixMs(2_000)), None);
        assert_eq!(throttle.wait(stranger, UnixMs(1_000_000)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..20_000u32 {
            throttle.failed(Some(IpAddr::from(n.to_be_bytes())), UnixMs(1));
        }
        assert!(throttle.tries.len() <= ADDRESSES);
    }
}
