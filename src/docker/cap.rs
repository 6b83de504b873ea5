//! The memory and processor share of all BuildKit steps together.
//!
//! Engines ignore the limits of a single BuildKit build, so the group that all
//! steps run in is capped: `docker/buildkit` where the engine keeps groups
//! itself; the slice `freehold-build.slice` where systemd does and the engine
//! lets a build name its parent (API 1.42; the installer makes the slice).
//! Needs the right to write there (root, or a group handed over by root); where
//! it has none the slice holds what its unit file says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was done about a build's limits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cap {
    /// The engine's own group of build steps is capped.
    Group,
    /// Steps are to run in this slice, which is capped.
    Slice(String),
    /// Nothing could be capped, and why.
    None(String),
}

/// The slice the installer prepares.
const SLICE: &str = "freehold-build.slice";

/// What all build steps together may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Bytes.
    pub(super) memory: u64,
    /// Weight against other work; 1024 is the usual one.
    pub(super) cpu_shares: u32,
    /// Processors; all when `None`.
    pub(super) cpus: Option<f64>,
}

/// Microseconds over which processor time is counted, as the kernel does it by itself.
const PERIOD: u32 = 100_000;

/// The first API by which a build names the group of its steps: Docker 23.
const NAMES_A_PARENT: usize = 42;

/// Caps what can be capped under `root` (`/sys/fs/cgroup`).
pub(super) fn cap(root: &Path, share: Share, api_minor: usize) -> Cap {
    let unified = root.join("cgroup.controllers").exists();
    let of = |name: &str| match unified {
        true => (root.join(name), root.join(name)),
        false => (root.join("memory").join(name), root.join("cpu").join(name)),
    };
    let (slice, slice_cpu) = of(SLICE);
    if slice.is_dir() && api_minor >= NAMES_A_PARENT {
        return match set(&slice, &slice_cpu, share, unified) {
            Ok(()) => Cap::Slice(SLICE.to_owned()),
            Err(error) if is_roots_alone(&error) => capped_by_its_unit(&slice, unified),
            Err(error) => Cap::None(format!("{} cannot be written: {error}", slice.display())),
        };
    }
    let (memory_group, cpu_group) = of("docker");
    if !memory_group.is_dir() {
        return Cap::None(match slice.is_dir() {
            true => format!(
                "the engine keeps its groups with systemd, and only from Docker 23 on do builds run in {SLICE}"
            ),
            false => {
                format!("the engine keeps its groups with systemd, and there is no {SLICE}")
            }
        });
    }
    let capped = group(&memory_group, unified)
        .and_then(|memory| Ok((memory, group(&cpu_group, unified)?)))
        .and_then(|(memory, cpu)| set(&memory, &cpu, share, unified));
    match capped {
        Ok(()) => Cap::Group,
        Err(error) => Cap::None(format!(
            "{} cannot be written: {error}",
            memory_group.join("buildkit").display()
        )),
    }
}

/// What its unit file says holds where this user may not say otherwise; without a limit of memory there it is no cap.
fn capped_by_its_unit(slice: &Path, unified: bool) -> Cap {
    let file = match unified {
        true => "memory.max",
        false => "memory.limit_in_bytes",
    };
    let limit = fs::read_to_string(slice.join(file)).unwrap_or_default();
    // Without one version 2 says `max`, version 1 a number near 2^63.
    match limit.trim().parse::<u64>() {
        Ok(bytes) if bytes < 1 << 60 => Cap::Slice(SLICE.to_owned()),
        _ => Cap::None(format!(
            "{SLICE} has no MemoryMax, and this user may not set one"
        )),
    }
}

/// As a user of their own see it, or behind `ProtectControlGroups=`, which mounts it read-only.
fn is_roots_alone(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

fn set(memory: &Path, cpu: &Path, share: Share, unified: bool) -> io::Result<()> {
    set_memory(memory, share.memory, unified)?;
    set_shares(cpu, share.cpu_shares, unified)?;
    set_quota(cpu, share.cpus, unified)
}

/// The group of build steps, made if the engine has not yet.
fn group(parent: &Path, unified: bool) -> io::Result<PathBuf> {
    let at = parent.join("buildkit");
    if !at.is_dir() && parent.is_dir() {
        if unified {
            fs::write(parent.join("cgroup.subtree_control"), "+memory +cpu")?;
        }
        fs::create_dir(&at)?;
    }
    Ok(at)
}

fn set_memory(at: &Path, memory: u64, unified: bool) -> io::Result<()> {
    let bytes = memory.to_string();
    if unified {
        fs::write(at.join("memory.max"), &bytes)?;
        // Absent without swap accounting.
        return optional(fs::write(at.join("memory.swap.max"), "0"));
    }
    let (limit, with_swap) = (
        at.join("memory.limit_in_bytes"),
        at.join("memory.memsw.limit_in_bytes"),
    );
    // The sum with swap may never be below the limit: which goes first depends
    // on the direction.
    if fs::write(&limit, &bytes).is_err() {
        optional(fs::write(&with_swap, &bytes))?;
        return fs::write(&limit, &bytes);
    }
    optional(fs::write(&with_swap, &bytes))
}

fn set_shares(at: &Path, shares: u32, unified: bool) -> io::Result<()> {
    match unified {
        true => {
            // The kernel's own conversion of the old scale (2..262144) to the new (1..10000).
            let weight = 1 + (u64::from(shares.clamp(2, 262_144)) - 2) * 9_999 / 262_142;
            fs::write(at.join("cpu.weight"), weight.to_string())
        }
        false => optional(fs::write(at.join("cpu.shares"), shares.to_string())),
    }
}

fn set_quota(at: &Path, cpus: Option<f64>, unified: bool) -> io::Result<()> {
    let quota = cpus.map(|cpus| (cpus * f64::from(PERIOD)).round() as i64);
    match unified {
        true => {
            let most = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            optional(fs::write(at.join("cpu.max"), format!("{most} {PERIOD}")))
        }
        false => optional(fs::write(
            at.join("cpu.cfs_quota_us"),
            quota.unwrap_or(-1).to_string(),
        )),
    }
}

fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share = Share {
        memory: 1 << 30,
        cpu_shares: 256,
        cpus: Some(1.5),
    };

    #[test]
    fn f9_the_engines_group_of_build_steps_is_capped() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["memory/docker", "cpu/docker/buildkit"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        assert_eq!(cap(root.path(), SHARE, 41), Cap::Group);
        let read = |path| fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!(
            read("memory/docker/buildkit/memory.limit_in_bytes"),
            "1073741824"
        );
        assert_eq!(read("cpu/docker/buildkit/cpu.shares"), "256");
        assert_eq!(read("cpu/docker/buildkit/cpu.cfs_quota_us"), "150000");
    }

    #[test]
    fn f9_the_unified_hierarchy_has_other_names() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("docker")).unwrap();
        fs::write(root.path().join("cgroup.controllers"), "memory cpu").unwrap();
        assert_eq!(cap(root.path(), SHARE, 41), Cap::Group);
        let read = |path| fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!(read("docker/buildkit/memory.max"), "1073741824");
        assert_eq!(read("docker/buildkit/cpu.weight"), "10");
        assert_eq!(read("docker/buildkit/cpu.max"), "150000 100000");
    }

    #[test]
    fn f9_systemds_groups_need_the_prepared_slice() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "memory cpu").unwrap();
        assert!(matches!(cap(root.path(), SHARE, 41), Cap::None(_)));
        fs::create_dir(root.path().join(SLICE)).unwrap();
        let Cap::None(why) = cap(root.path(), SHARE, 41) else {
            panic!("an engine that cannot name a parent");
        };
        assert!(why.contains("Docker 23"), "{why}");
        assert_eq!(
            cap(root.path(), SHARE, 44),
            Cap::Slice("freehold-build.slice".into())
        );
        let read = |name| fs::read_to_string(root.path().join(SLICE).join(name)).unwrap();
        assert_eq!(read("memory.max"), "1073741824");
        assert_eq!(read("cpu.weight"), "10");
        assert_eq!(read("cpu.max"), "150000 100000");
    }

    #[test]
    fn n7_the_slice_is_capped_in_the_old_hierarchy_too() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["memory", "cpu"] {
            fs::create_dir_all(root.path().join(folder).join(SLICE)).unwrap();
        }
        assert!(matches!(cap(root.path(), SHARE, 50), Cap::Slice(_)));
        let read = |at: &str| fs::read_to_string(root.path().join(at)).unwrap();
        let memory = "memory/freehold-build.slice/memory.limit_in_bytes";
        assert_eq!(read(memory), "1073741824");
        assert_eq!(read("cpu/freehold-build.slice/cpu.shares"), "256");
        assert_eq!(read("cpu/freehold-build.slice/cpu.cfs_quota_us"), "150000");
    }

    #[test]
    fn n7_the_daemons_user_takes_the_slice_as_its_unit_caps_it() {
        for (kind, roots) in [
            (io::ErrorKind::PermissionDenied, true),
            // The unit has ProtectControlGroups=true.
            (io::ErrorKind::ReadOnlyFilesystem, true),
            (io::ErrorKind::NotFound, false),
            (io::ErrorKind::InvalidInput, false),
        ] {
            assert_eq!(is_roots_alone(&kind.into()), roots, "{kind}");
        }
        let root = tempfile::tempdir().unwrap();
        let limit = |name: &str, text: &str| {
            fs::write(root.path().join(name), text).unwrap();
            capped_by_its_unit(root.path(), name == "memory.max")
        };
        let slice = Cap::Slice(SLICE.into());
        assert_eq!(limit("memory.max", "2147483648\n"), slice);
        assert!(matches!(limit("memory.max", "max\n"), Cap::None(_)));
        let old = "memory.limit_in_bytes";
        assert_eq!(limit(old, "2147483648\n"), slice);
        assert!(matches!(limit(old, "9223372036854771712\n"), Cap::None(_)));
    }
}
