//! Who may read Freehold's files and use its sockets.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Modes and members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// Where the data is.
    pub data_dir: PathBuf,
    /// The mode of that folder; `None` when it cannot be looked at.
    pub data: Option<u32>,
    /// The mode of the master key in it.
    pub key: Option<u32>,
    /// Mode and group of the command line's socket.
    pub socket: Option<(u32, String)>,
    /// Who is in the group docker; `None` where there is no such group.
    pub docker: Option<Vec<String>>,
}

impl Modes {
    /// As they are; `groups` is `/etc/group`.
    pub fn read(data_dir: &Path, socket: &Path, groups: &Path) -> Self {
        let groups = std::fs::read_to_string(groups).unwrap_or_default();
        let mode = |path: &Path| {
            let mode = std::fs::metadata(path).ok()?.permissions().mode();
            Some(mode & 0o777)
        };
        Self {
            data_dir: data_dir.to_owned(),
            data: mode(data_dir),
            key: mode(&data_dir.join("master.key")),
            socket: mode(socket)
                .zip(std::fs::metadata(socket).ok())
                .map(|(mode, of)| {
                    let name = group(&groups, |_, id| id == of.gid().to_string());
                    (
                        mode,
                        name.map_or_else(|| of.gid().to_string(), |(name, _)| name),
                    )
                }),
            docker: group(&groups, |name, _| name == "docker").map(|(_, members)| members),
        }
    }
}

/// Name and members of the first group that `is` one.
fn group(file: &str, is: impl Fn(&str, &str) -> bool) -> Option<(String, Vec<String>)> {
    file.lines().find_map(|line| {
        let parts: Vec<&str> = line.split(':').collect();
        let [name, _, id, members] = parts[..] else {
            return None;
        };
        is(name, id).then(|| {
            let members = members.split(',').filter(|m| !m.is_empty());
            (name.to_owned(), members.map(str::to_owned).collect())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_modes_and_members_are_read_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("group"), "root:x:0:\ndocker:x:104:freehold,ana\n").unwrap();
        std::fs::write(at("master.key"), "x").unwrap();
        std::fs::set_permissions(at("master.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
        let modes = Modes::read(folder.path(), &at("none.sock"), &at("group"));
        assert_eq!(modes.key, Some(0o640));
        assert!(modes.data.is_some() && modes.socket.is_none());
        assert_eq!(modes.docker.unwrap(), ["freehold", "ana"]);
        let none = Modes::read(&at("nowhere"), &at("none.sock"), &at("none"));
        assert_eq!((none.data, none.docker), (None, None));
    }
}
