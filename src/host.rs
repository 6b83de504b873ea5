//! The box's own figures: processor, memory, disk, network, and what a container uses of them.
//!
//! Parsers are pure and follow the kernel's own definitions: memory in use is
//! what is not `MemAvailable`; a container's memory is its working set (usage
//! less `inactive_file`), so the page cache is not counted as used; processor
//! time is a share of all cores, never above 1. What the figures mean is left
//! to `monitor`.

mod cgroup;
pub mod descriptors;
mod firewall;
mod listening;
mod modes;
mod parse;
mod room;
mod timekeeper;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use cgroup::{ContainerFigures, ContainerMeter};
pub use firewall::{FirewallFiles, Rules};
pub use listening::{ListeningSocket, listening_on, programs};
pub use modes::Modes;
pub use parse::{CpuTimes, Memory, Traffic};
pub use room::Disk;
pub use timekeeper::timekeeper;

/// What the box is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFigures {
    /// Share of all cores in use since the sample before, 0 to 1; `None` in the first.
    pub cpu: Option<f64>,
    /// Cores.
    pub cores: u32,
    /// Load over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Memory and swap.
    pub memory: Memory,
    /// Bytes of the file system that holds the data.
    pub disk_total: u64,
    /// Bytes of it that Freehold may still write.
    pub disk_available: u64,
    /// Bytes through the network cards since the sample before.
    pub network: Traffic,
    /// Since the box started.
    pub uptime: Duration,
}

impl HostFigures {
    /// Bytes of the disk that are taken.
    pub fn disk_used(&self) -> u64 {
        self.disk_total.saturating_sub(self.disk_available)
    }
}

/// What does not change while the box runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// "Debian GNU/Linux 13 (trixie)".
    pub system: String,
    /// "6.12.48-amd64".
    pub kernel: String,
    /// "AMD EPYC 7763".
    pub processor: String,
    /// The box's own name.
    pub name: String,
}

/// Takes samples; remembers the one before, because shares are differences.
#[derive(Debug)]
pub struct HostMeter {
    proc_dir: PathBuf,
    data_dir: PathBuf,
    before: Option<(CpuTimes, Traffic)>,
}

impl HostMeter {
    /// For the box it runs on, with the disk that holds `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            proc_dir: PathBuf::from("/proc"),
            data_dir: data_dir.to_owned(),
            before: None,
        }
    }

    /// The figures now. Reads files and the disk's state: for the blocking pool.
    ///
    /// # Errors
    /// When the kernel's files cannot be read.
    pub fn sample(&mut self) -> io::Result<HostFigures> {
        let read = |name: &str| std::fs::read_to_string(self.proc_dir.join(name));
        let stat = read("stat")?;
        let times = parse::cpu_times(&stat).ok_or_else(|| odd("stat"))?;
        let traffic = parse::network(&read("net/dev").unwrap_or_default());
        let disk = rustix::fs::statvfs(&self.data_dir)?;
        let before = self.before.replace((times, traffic));
        Ok(HostFigures {
            cpu: before.and_then(|(before, _)| times.share_since(before)),
            cores: parse::cores(&stat),
            load: parse::load(&read("loadavg")?).ok_or_else(|| odd("loadavg"))?,
            memory: parse::memory(&read("meminfo")?).ok_or_else(|| odd("meminfo"))?,
            disk_total: disk.f_frsize.saturating_mul(disk.f_blocks),
            disk_available: disk.f_frsize.saturating_mul(disk.f_bavail),
            network: before.map_or_else(Traffic::default, |(_, before)| traffic.since(before)),
            uptime: parse::uptime(&read("uptime")?).unwrap_or_default(),
        })
    }

    /// What does not change.
    pub fn facts(&self) -> HostFacts {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        HostFacts {
            system: parse::system_name(&read(PathBuf::from("/etc/os-release"))),
            kernel: read(self.proc_dir.join("sys/kernel/osrelease"))
                .trim()
                .to_owned(),
            processor: parse::processor(&read(self.proc_dir.join("cpuinfo"))),
            name: read(self.proc_dir.join("sys/kernel/hostname"))
                .trim()
                .to_owned(),
        }
    }
}

/// Memory and swap now.
///
/// # Errors
/// When the kernel's file cannot be read.
pub fn memory() -> io::Result<Memory> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    parse::memory(&text).ok_or_else(|| odd("meminfo"))
}

fn odd(file: &str) -> io::Error {
    io::Error::other(format!("/proc/{file} is not as the kernel documents it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_this_box_has_figures() {
        let mut meter = HostMeter::new(Path::new("/"));
        let first = meter.sample().unwrap();
        assert_eq!(first.cpu, None);
        assert_eq!(first.network, Traffic::default());
        std::thread::sleep(Duration::from_millis(60));
        let second = meter.sample().unwrap();
        assert!((0.0..=1.0).contains(&second.cpu.unwrap()));
        assert!(second.cores >= 1 && second.memory.total > second.memory.available);
        assert!(second.disk_total > second.disk_available && second.uptime > Duration::ZERO);
        assert!(!meter.facts().kernel.is_empty());
    }
}
