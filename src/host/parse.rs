//! The kernel's text files as figures; pure, tested with fixtures.

use std::time::Duration;

/// Time the cores spent since the box started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Doing something.
    pub busy: u64,
    /// In all.
    pub total: u64,
}

impl CpuTimes {
    /// Share of all cores in use since `before`.
    #[allow(clippy::cast_precision_loss)]
    pub fn share_since(self, before: Self) -> Option<f64> {
        let total = self.total.checked_sub(before.total)?;
        let busy = self.busy.saturating_sub(before.busy);
        (total > 0).then(|| (busy as f64 / total as f64).clamp(0.0, 1.0))
    }
}

/// Memory and swap, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// In all.
    pub total: u64,
    /// What programs can still get, by the kernel's own estimate.
    pub available: u64,
    /// Swap in all.
    pub swap_total: u64,
    /// Swap not in use.
    pub swap_free: u64,
}

impl Memory {
    /// What is in use and cannot be given away.
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.available)
    }
}

/// Bytes through the network cards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To the box.
    pub received: u64,
    /// From the box.
    pub sent: u64,
}

impl Traffic {
    /// What was added; a counter that began anew counts from zero.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let added = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        Self {
            received: added(self.received, before.received),
            sent: added(self.sent, before.sent),
        }
    }
}

/// From `/proc/stat`. Guest time is already part of user time; waiting for a
/// disk (iowait) is idle, time taken by the hypervisor (steal) is not ours.
pub(super) fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find(|l| l.starts_with("cpu "))?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .map_while(|t| t.parse().ok())
        .collect();
    let [user, nice, system, idle, ..] = ticks[..] else {
        return None;
    };
    let at = |i: usize| ticks.get(i).copied().unwrap_or(0);
    let (iowait, irq, softirq, steal) = (at(4), at(5), at(6), at(7));
    let busy = user + nice + system + irq + softirq;
    Some(CpuTimes {
        busy,
        total: busy + idle + iowait + steal,
    })
}

pub(super) fn cores(stat: &str) -> u32 {
    let count = stat
        .lines()
        .filter(|l| {
            l.strip_prefix("cpu")
                .is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()))
        })
        .count();
    u32::try_from(count).unwrap_or(1).max(1)
}

pub(super) fn load(text: &str) -> Option<[f64; 3]> {
    let mut parts = text.split_whitespace().map(|p| p.parse::<f64>().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

pub(super) fn memory(text: &str) -> Option<Memory> {
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
            .map(|kb| kb * 1024)
    };
    Some(Memory {
        total: value("MemTotal")?,
        available: value("MemAvailable")?,
        swap_total: value("SwapTotal").unwrap_or(0),
        swap_free: value("SwapFree").unwrap_or(0),
    })
}

/// From `/proc/net/dev`: the cards, without loopback and the engine's bridges,
/// over which the same bytes pass a second time.
pub(super) fn network(text: &str) -> Traffic {
    let inner = [
        "lo", "veth", "br-", "docker", "virbr", "fh", "tun", "tap", "wg", "dummy", "ifb",
    ];
    let mut sum = Traffic::default();
    for line in text.lines() {
        let Some((name, figures)) = line.split_once(':') else {
            continue;
        };
        let name = name.trim();
        if inner.iter().any(|i| {
            if *i == "lo" {
                name == "lo"
            } else {
                name.starts_with(i)
            }
        }) {
            continue;
        }
        let mut figures = figures
            .split_whitespace()
            .map(|f| f.parse::<u64>().unwrap_or(0));
        sum.received += figures.next().unwrap_or(0);
        sum.sent += figures.nth(7).unwrap_or(0);
    }
    sum
}

pub(super) fn uptime(text: &str) -> Option<Duration> {
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

pub(super) fn system_name(os_release: &str) -> String {
    let name = os_release
        .lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |n| n.trim_matches('"').to_owned())
}

pub(super) fn processor(cpuinfo: &str) -> String {
    let name = cpuinfo.lines().find_map(|l| {
        let (key, value) = l.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  1000 50 500 8000 300 10 40 100 200 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 5\n";

    #[test]
    fn f7_processor_time_is_a_share_of_all_cores() {
        let before = cpu_times(STAT).unwrap();
        assert_eq!(
            before,
            CpuTimes {
                busy: 1600,
                total: 10_000
            }
        );
        let after = CpuTimes {
            busy: 1650,
            total: 10_200,
        };
        assert_eq!(after.share_since(before), Some(0.25));
        assert_eq!(before.share_since(before), None);
        assert_eq!(before.share_since(after), None, "a counter that went back");
        assert_eq!(cores(STAT), 2);
        assert_eq!(cpu_times("cpu  1 2"), None);
    }

    #[test]
    fn f7_memory_in_use_is_what_the_kernel_cannot_give() {
        let text = "MemTotal: 4000000 kB\nMemFree: 100000 kB\nMemAvailable: 3000000 kB\nCached: 2900000 kB\nSwapTotal: 1000 kB\nSwapFree: 400 kB\n";
        let memory = memory(text).unwrap();
        assert_eq!(memory.used(), 1_000_000 * 1024);
        assert_eq!(memory.swap_total - memory.swap_free, 600 * 1024);
        assert!(super::memory("MemTotal: 1 kB").is_none());
    }

    #[test]
    fn f7_the_network_counts_cards_once() {
        let text = "Inter-|   Receive  | Transmit\n face |bytes packets\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 50 1 0 0 0 0 0 0\nveth1: 77 1 0 0 0 0 0 0 77 1 0 0 0 0 0 0\n";
        let now = network(text);
        assert_eq!(
            now,
            Traffic {
                received: 100,
                sent: 50
            }
        );
        let restarted = Traffic {
            received: 5,
            sent: 60,
        };
        assert_eq!(
            restarted.since(now),
            Traffic {
                received: 5,
                sent: 10
            }
        );
    }

    #[test]
    fn f7_the_rest_is_read_or_left_out() {
        assert_eq!(load("0.10 0.20 0.30 1/2 3"), Some([0.10, 0.20, 0.30]));
        assert_eq!(load("x"), None);
        assert_eq!(uptime("12.5 3.0"), Some(Duration::from_millis(12_500)));
        assert_eq!(system_name("A=b\nPRETTY_NAME=\"Debian 13\"\n"), "Debian 13");
        assert_eq!(
            processor("processor : 0\nmodel name\t: AMD EPYC\n"),
            "AMD EPYC"
        );
    }
}
