//! What a container uses, from its control group, version 1 or 2.
//!
//! Memory is the working set: usage less `inactive_file`, which the kernel gives
//! back when it needs it. The engine places a container's group by its driver:
//! `docker/<id>` (cgroupfs) or `system.slice/docker-<id>.scope` (systemd).

use std::path::{Path, PathBuf};

/// What one container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerFigures {
    /// Bytes it needs.
    pub memory: u64,
    /// Bytes it may use; `None` without a limit.
    pub memory_limit: Option<u64>,
    /// Processor time since it started, in microseconds of one core.
    pub cpu_micros: u64,
    /// Times the kernel ended something in it for want of memory.
    pub oom_kills: u64,
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct ContainerMeter {
    root: PathBuf,
}

impl Default for ContainerMeter {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/sys/fs/cgroup"),
        }
    }
}

impl ContainerMeter {
    /// The figures of the container with this full id; `None` when it has none.
    pub fn read(&self, id: &str) -> Option<ContainerFigures> {
        if id.len() < 12 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.version_2(id).or_else(|| self.version_1(id))
    }

    fn version_2(&self, id: &str) -> Option<ContainerFigures> {
        let folder = group(&self.root, id, "memory.current")?;
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        Some(ContainerFigures {
            memory: working_set(
                &read("memory.current"),
                &read("memory.stat"),
                "inactive_file",
            )?,
            memory_limit: limit(&read("memory.max")),
            cpu_micros: field(&read("cpu.stat"), "usage_usec").unwrap_or(0),
            oom_kills: field(&read("memory.events"), "oom_kill").unwrap_or(0),
        })
    }

    fn version_1(&self, id: &str) -> Option<ContainerFigures> {
        let folder = group(&self.root.join("memory"), id, "memory.usage_in_bytes")?;
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let nanos = ["cpuacct", "cpu,cpuacct"].iter().find_map(|controller| {
            let folder = group(&self.root.join(controller), id, "cpuacct.usage")?;
            let text = std::fs::read_to_string(folder.join("cpuacct.usage")).ok()?;
            text.trim().parse::<u64>().ok()
        });
        Some(ContainerFigures {
            memory: working_set(
                &read("memory.usage_in_bytes"),
                &read("memory.stat"),
                "total_inactive_file",
            )?,
            memory_limit: limit(&read("memory.limit_in_bytes")),
            cpu_micros: nanos.unwrap_or(0) / 1_000,
            oom_kills: field(&read("memory.oom_control"), "oom_kill").unwrap_or(0),
        })
    }
}

/// The container's folder below `root`: the one that holds `probe`.
fn group(root: &Path, id: &str, probe: &str) -> Option<PathBuf> {
    let scope = format!("docker-{id}.scope");
    let known = [
        root.join("docker").join(id),
        root.join("system.slice").join(&scope),
        root.join("freehold.slice").join(&scope),
    ];
    if let Some(found) = known.into_iter().find(|f| f.join(probe).is_file()) {
        return Some(found);
    }
    // An engine with a cgroup-parent of its own: one level below the root.
    let children = std::fs::read_dir(root).ok()?.flatten().take(256);
    children
        .flat_map(|child| [child.path().join(id), child.path().join(&scope)])
        .find(|f| f.join(probe).is_file())
}

fn working_set(usage: &str, stat: &str, inactive: &str) -> Option<u64> {
    let usage: u64 = usage.trim().parse().ok()?;
    Some(usage.saturating_sub(field(stat, inactive).unwrap_or(0)))
}

/// Version 2 says `max`, version 1 a number near 2^63, for no limit.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn write(folder: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn f7_page_cache_is_not_counted_in_version_2() {
        let root = tempfile::tempdir().unwrap();
        for (parent, name) in [
            ("docker", ID.to_owned()),
            ("own.slice", format!("docker-{ID}.scope")),
        ] {
            let folder = root.path().join(parent).join(name);
            write(
                &folder,
                &[
                    ("memory.current", "104857600\n"),
                    (
                        "memory.stat",
                        "anon 20971520\nfile 83886080\ninactive_file 73400320\nactive_file 10485760\n",
                    ),
                    ("memory.max", "268435456\n"),
                    ("cpu.stat", "usage_usec 1500000\nuser_usec 1000000\n"),
                    ("memory.events", "low 0\noom 2\noom_kill 1\n"),
                ],
            );
            let meter = ContainerMeter {
                root: root.path().to_owned(),
            };
            assert_eq!(
                meter.read(ID),
                Some(ContainerFigures {
                    memory: 104_857_600 - 73_400_320,
                    memory_limit: Some(268_435_456),
                    cpu_micros: 1_500_000,
                    oom_kills: 1,
                }),
                "{parent}"
            );
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }

    #[test]
    fn f7_page_cache_is_not_counted_in_version_1() {
        let root = tempfile::tempdir().unwrap();
        write(
            &root.path().join("memory/docker").join(ID),
            &[
                ("memory.usage_in_bytes", "104857600\n"),
                (
                    "memory.stat",
                    "cache 5\ninactive_file 1\ntotal_inactive_file 73400320\n",
                ),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        write(
            &root.path().join("cpuacct/docker").join(ID),
            &[("cpuacct.usage", "1500000000\n")],
        );
        let meter = ContainerMeter {
            root: root.path().to_owned(),
        };
        assert_eq!(
            meter.read(ID),
            Some(ContainerFigures {
                memory: 31_457_280,
                memory_limit: None,
                cpu_micros: 1_500_000,
                oom_kills: 0,
            })
        );
        assert_eq!(meter.read("../../etc/passwd"), None);
        assert_eq!(meter.read(&ID.replace('0', "f")), None);
    }
}
