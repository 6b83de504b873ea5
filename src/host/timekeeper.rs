//! Who keeps the box's time, by what they leave in /run.

use std::path::Path;

/// The timekeeper's name and whether it has the time; `None` where none is seen. `run` is `/run`.
pub fn timekeeper(run: &Path) -> Option<(String, bool)> {
    let timesync = run.join("systemd/timesync");
    if timesync.is_dir() {
        let has = timesync.join("synchronized").exists();
        return Some(("systemd-timesyncd".into(), has));
    }
    // Both keep to themselves whether they have it.
    for (sign, name) in [
        ("chrony", "chrony"),
        ("chronyd.pid", "chrony"),
        ("ntpd.pid", "ntpd"),
        ("ntpsec", "ntpsec"),
    ] {
        if run.join(sign).exists() {
            return Some((name.into(), true));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::timekeeper;

    #[test]
    fn a7_who_keeps_the_time_is_seen_by_what_they_leave() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(timekeeper(run.path()), None);
        std::fs::create_dir(run.path().join("chrony")).unwrap();
        assert_eq!(timekeeper(run.path()), Some(("chrony".into(), true)));
        let timesync = run.path().join("systemd/timesync");
        std::fs::create_dir_all(&timesync).unwrap();
        let name = "systemd-timesyncd".to_owned();
        assert_eq!(timekeeper(run.path()), Some((name.clone(), false)));
        std::fs::write(timesync.join("synchronized"), "").unwrap();
        assert_eq!(timekeeper(run.path()), Some((name, true)));
    }
}
