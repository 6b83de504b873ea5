//! Whether a server's data lies on the volume we gave it, read from the
//! kernel's own table of mounts inside the container.

/// Whether, by `mountinfo` (`/proc/self/mountinfo`), `data_dir` lies on the
/// engine's volume `volume`; otherwise what it lies on.
pub(super) fn lies_on(mountinfo: &str, data_dir: &str, volume: &str) -> Result<(), String> {
    let wanted = format!("/volumes/{volume}/_data");
    let under = |point: &str| {
        data_dir == point
            || data_dir
                .strip_prefix(point.trim_end_matches('/'))
                .is_some_and(|rest| rest.starts_with('/'))
    };
    // "36 35 98:0 /root /mount/point rw,noatime … - ext4 /dev/sda1 rw": of the
    // mounts above the folder the last one with the longest path is what is seen.
    let found = mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let root = fields.nth(3)?;
            let point = fields.next()?;
            under(point).then_some((point.len(), root))
        })
        .max_by_key(|(length, _)| *length);
    match found {
        Some((_, root)) if root.ends_with(&wanted) => Ok(()),
        Some((_, root)) => Err(root.to_owned()),
        None => Err("no mount at all".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "\
606 605 0:51 / / rw,relatime - overlay overlay rw
615 606 253:1 /var/lib/docker/volumes/fh-abc-db-main-3-data/_data /var/lib/postgresql/data rw - ext4 /dev/vda1 rw
616 606 253:1 /var/lib/docker/volumes/fh-abc-db-main-3-socket/_data /run/postgresql rw - ext4 /dev/vda1 rw";

    #[test]
    fn f3_data_on_the_named_volume_is_told_from_data_elsewhere() {
        let volume = "fh-abc-db-main-3-data";
        assert_eq!(
            lies_on(SEEN, "/var/lib/postgresql/data/pgdata", volume),
            Ok(())
        );
        assert!(lies_on(SEEN, "/var/lib/postgresql/data2", volume).is_err());
        assert!(lies_on(SEEN, "/var/lib/postgresql/18/docker", volume).is_err());
        assert!(
            lies_on(
                SEEN,
                "/var/lib/postgresql/data/pgdata",
                "fh-abc-db-other-1-data"
            )
            .is_err()
        );
        assert!(lies_on("", "/x", volume).is_err());
    }
}
