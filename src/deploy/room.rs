//! Whether the box has room for a build, and how much of it a build may take.

use std::path::Path;

/// # Errors
/// A sentence when less than `floor` bytes are free on the disk of `folder`.
pub(super) fn disk(folder: &Path, floor: u64) -> Result<(), String> {
    let disk = rustix::fs::statvfs(folder).map_err(|e| {
        format!(
            "the free disk space of {} could not be read: {e}",
            folder.display()
        )
    })?;
    enough_disk(folder, disk.f_bavail.saturating_mul(disk.f_frsize), floor)
}

fn enough_disk(folder: &Path, free: u64, floor: u64) -> Result<(), String> {
    match free < floor {
        true => Err(format!(
            "only {} MB are free on the disk of {} and {} MB are needed to deploy: free some space (`docker system df` shows what images and volumes take, `du -xhd2 /` the rest), then deploy again",
            free >> 20,
            folder.display(),
            floor >> 20
        )),
        false => Ok(()),
    }
}

/// Memory of the box and what of it is available, from `/proc/meminfo`.
fn memory(meminfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = meminfo.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some((field("MemTotal:")? << 10, field("MemAvailable:")? << 10))
}

/// # Errors
/// A sentence when less than `floor` bytes of memory are available.
pub(super) fn enough_memory(floor: u64) -> Result<(), String> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    judge_memory(&text, floor)
}

fn judge_memory(meminfo: &str, floor: u64) -> Result<(), String> {
    match memory(meminfo) {
        Some((_, available)) if available < floor => Err(format!(
            "only {} MB of memory are available and {} MB are needed to build: scale something down, add swap, or deploy a built image with --image",
            available >> 20,
            floor >> 20
        )),
        _ => Ok(()),
    }
}

/// Half of the box's memory.
pub(super) fn half_of_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    memory(&text).map(|(total, _)| total / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f9_a_build_below_the_floors_is_refused_with_a_remedy() {
        let text = "MemTotal:        4030332 kB\nMemFree: 1 kB\nMemAvailable:     102400 kB\n";
        assert!(judge_memory(text, 64 << 20).is_ok());
        let refused = judge_memory(text, 256 << 20).unwrap_err();
        assert!(refused.contains("only 100 MB of memory"), "{refused}");
        assert!(judge_memory("", 1).is_ok(), "unknown is not refused");
        let folder = Path::new("/var/lib/freehold");
        let refused = enough_disk(folder, 1 << 30, 2 << 30).unwrap_err();
        for part in [
            "only 1024 MB are free on the disk of /var/lib/freehold",
            "2048 MB are needed",
        ] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(enough_disk(folder, 3 << 30, 2 << 30).is_ok());
    }
}
