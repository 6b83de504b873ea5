//! Who may read the data and use the sockets.

use super::Seen;
use crate::host::Modes;
use crate::wire::doctor::{Area, Examined};

/// Its checks.
pub(super) fn examine(modes: &Modes) -> Vec<Examined> {
    let check = |what, why| Seen {
        area: Area::Permissions,
        what,
        why,
    };
    let mut all = Vec::new();
    let dir = modes.data_dir.display();
    let folder = check("Data folder", "Everything Freehold keeps lies in it.");
    all.push(match modes.data {
        Some(mode) if mode & 0o077 == 0 => folder.ok(format!("{dir} is for its owner alone")),
        Some(mode) => folder.warn(
            format!("others on this box may look into {dir} (mode {mode:o})"),
            format!("Close it: sudo chmod 700 {dir}."),
        ),
        None => folder.warn(
            format!("{dir} cannot be looked at by this user"),
            "Run it as root: sudo freehold doctor.",
        ),
    });
    let key = check("Master key", "It opens every secret that Freehold keeps.");
    if let Some(mode) = modes.key {
        all.push(match mode & 0o077 {
            0 => key.ok(format!("mode {mode:o}")),
            _ => key.fail(
                format!("others on this box may read {dir}/master.key (mode {mode:o})"),
                format!("Close it: sudo chmod 600 {dir}/master.key, then think about who has an account here."),
            ),
        });
    }
    let socket = check(
        "Command line's socket",
        "Who may use it may do everything, without a password.",
    );
    if let Some((mode, group)) = &modes.socket {
        let seen = format!("mode {mode:o}, group {group}");
        all.push(match mode & 0o007 {
            0 => socket.ok(seen),
            // The folder around it may be closed all the same, and the kernel tells the daemon who it is.
            _ => socket.ok(format!(
                "{seen}; the daemon lets root, its own user and group in"
            )),
        });
    }
    let docker = check(
        "Group docker",
        "Who is in it is root on this box, in effect.",
    );
    if let Some(members) = &modes.docker {
        let others: Vec<&str> = members
            .iter()
            .map(String::as_str)
            .filter(|m| *m != "freehold")
            .collect();
        all.push(match others.is_empty() {
            true => docker.ok("freehold alone"),
            false => docker.warn(
                format!("in it beside freehold: {}", others.join(", ")),
                format!(
                    "Take out who need not be root: sudo gpasswd -d {} docker.",
                    others[0]
                ),
            ),
        });
    }
    all
}
