//! What `doctor` finds beside what monitoring already says needs attention: how the daemon was
//! started, who may read its data, the clock, a box too small. Each says what and what to do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::base::clock::UnixMs;
use crate::wire::overview::{Attention, Machine, Urgency};
use crate::wire::status::{Finding, Severity};

/// No clock that is right is before this: 2026-01-01.
const BEFORE_US: UnixMs = UnixMs(1_767_225_600_000);
/// Memory and swap that building from source asks for.
const BUILDS_NEED: u64 = 2 << 30;

fn error(what: String, remedy: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        what,
        remedy: remedy.to_owned(),
    }
}

fn warning(what: String, remedy: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        ..error(what, remedy)
    }
}

/// A part of the state that cannot be read.
pub fn unreadable(why: &dyn std::fmt::Display) -> Finding {
    error(
        format!("Part of the box's state could not be read: {why}"),
        "Look at the daemon's log: journalctl -u freehold.",
    )
}

impl From<Attention> for Finding {
    fn from(item: Attention) -> Self {
        Self {
            severity: match item.level {
                Urgency::Bad => Severity::Error,
                Urgency::Warning => Severity::Warning,
            },
            what: format!("{}. {}", item.what, item.why).trim_end().to_owned(),
            remedy: item.remedy,
        }
    }
}

/// A box on which building from source may run out of memory.
pub fn small(machine: &Machine) -> Option<Finding> {
    let all = machine.memory_total + machine.swap_total;
    (all < BUILDS_NEED).then(|| {
        warning(
            format!(
                "The box has {} MB of memory and {} MB of swap; a build from source may not fit.",
                machine.memory_total >> 20,
                machine.swap_total >> 20
            ),
            "Add swap: fallocate -l 2G /swapfile, chmod 600, mkswap, swapon, and a line in /etc/fstab. Or deploy images built elsewhere.",
        )
    })
}

/// Data that others on the box may read.
pub fn permissions(data_dir: &Path) -> Option<Finding> {
    let open = |path: &Path| {
        let mode = std::fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o077 != 0).then_some(mode & 0o777)
    };
    let key = data_dir.join("master.key");
    let mode = open(&key)?;
    Some(error(
        format!(
            "Others on this box may read {} (mode {mode:o}), which opens every secret Freehold keeps.",
            key.display()
        ),
        "Close it: chmod 600 that file, then think about who has an account here.",
    ))
}

/// A clock that is wrong breaks certificates and sign-in. `timesync` is where systemd says that
/// it keeps the time.
pub fn clock(now: UnixMs, timesync: &Path) -> Option<Finding> {
    if now < BEFORE_US {
        return Some(error(
            format!("The box's clock says {now}; certificates and sign-in fail by it."),
            "Set it: timedatectl set-ntp true, or install chrony.",
        ));
    }
    (timesync.is_dir() && !timesync.join("synchronized").exists()).then(|| {
        warning(
            "The box's clock is not synchronised yet; when it drifts, certificates and sign-in fail.".into(),
            "See timedatectl timesync-status; UDP port 123 must be open to the outside.",
        )
    })
}

/// Sockets that close with the daemon.
pub fn sockets(held: bool) -> Option<Finding> {
    (!held).then(|| {
        warning(
            "Nobody holds the listening sockets for the daemon, so a restart of it refuses connections.".into(),
            "Start it through systemd: systemctl enable --now freehold.socket freehold.service.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn f1_a_finding_says_what_to_do() {
        let item = Attention {
            level: Urgency::Bad,
            what: "Docker does not answer".into(),
            why: "No such file.".into(),
            remedy: "Start it.".into(),
            link: "/box".into(),
        };
        let found = Finding::from(item);
        assert_eq!(found.what, "Docker does not answer. No such file.");
        assert_eq!(found.severity, Severity::Error);
        assert_eq!(sockets(true), None);
        assert!(sockets(false).unwrap().remedy.contains("freehold.socket"));
    }

    #[test]
    fn f1_a_small_box_an_open_key_and_a_wrong_clock_are_found() {
        let machine = |memory_total, swap_total| Machine {
            memory_total,
            swap_total,
            ..Machine::default()
        };
        assert!(
            small(&machine(1 << 30, 0))
                .unwrap()
                .what
                .contains("1024 MB")
        );
        assert_eq!(small(&machine(1 << 30, 1 << 30)), None);

        let folder = tempfile::tempdir().unwrap();
        assert_eq!(permissions(folder.path()), None);
        let key = folder.path().join("master.key");
        std::fs::write(&key, "x").unwrap();
        for (mode, open) in [(0o600, false), (0o640, true)] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(permissions(folder.path()).is_some(), open, "{mode:o}");
        }

        let now = BEFORE_US.plus(Duration::from_secs(1));
        assert!(
            clock(UnixMs(0), folder.path())
                .unwrap()
                .what
                .contains("1970")
        );
        assert!(
            clock(now, folder.path()).is_some(),
            "kept, but not synchronised"
        );
        std::fs::write(folder.path().join("synchronized"), "").unwrap();
        assert_eq!(clock(now, folder.path()), None);
        assert_eq!(clock(now, &folder.path().join("none")), None);
    }
}
