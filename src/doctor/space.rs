//! Room: disk and memory.

use super::Seen;
use crate::host::{Disk, Memory};
use crate::wire::doctor::{Area, Examined};

const MB: u64 = 1 << 20;
/// Memory and swap that building from source asks for.
const BUILDS_NEED: u64 = 2048 * MB;

/// The disk that holds the data.
pub(super) fn disk(disk: &Disk) -> Vec<Examined> {
    let check = |what, why| Seen {
        area: Area::Disk,
        what,
        why,
    };
    let at = disk.path.display();
    let find = format!(
        "See what takes it: sudo du -xhd2 {at}, docker system df, journalctl --disk-usage."
    );
    let room = check(
        "Free space",
        "A full disk stops deploys and backups, and in the end the databases.",
    );
    let seen = format!(
        "{} MB of {} MB free at {at}",
        disk.available / MB,
        disk.total / MB
    );
    let mut all = vec![match disk.available {
        free if free < 256 * MB || free < disk.total / 100 => room.fail(seen, find.clone()),
        free if free < 2048 * MB || free < disk.total / 10 => room.warn(seen, find.clone()),
        _ => room.ok(seen),
    }];
    let inodes = check(
        "Free inodes",
        "Without them no file can be made, whatever space there is.",
    );
    // Some file systems have no fixed number of them.
    if disk.inodes > 0 {
        let seen = format!("{} of {} free", disk.inodes_free, disk.inodes);
        let find = "Find the folder with the many small files: sudo du --inodes -xd2 /.";
        all.push(match disk.inodes_free {
            free if free < disk.inodes / 50 => inodes.fail(seen, find),
            free if free < disk.inodes / 10 => inodes.warn(seen, find),
            _ => inodes.ok(seen),
        });
    }
    let reserve = check(
        "Reserve for a full disk",
        "It is given up first, so that a full disk can still be recorded and started on.",
    );
    all.push(match disk.reserve {
        true => reserve.ok("kept"),
        false => reserve.warn(
            "it was given up, or could not be made",
            format!("Free some space: it is made again by itself. {find}"),
        ),
    });
    all
}

/// Memory and swap.
pub(super) fn memory(memory: &Memory) -> Vec<Examined> {
    let check = |what, why| Seen {
        area: Area::Memory,
        what,
        why,
    };
    let room = check(
        "Memory",
        "When it runs out the kernel ends programs; Freehold's builds first, then apps.",
    );
    let seen = format!(
        "{} MB of {} MB available",
        memory.available / MB,
        memory.total / MB
    );
    let find = "See who uses it: freehold top; cap an app with freehold scale APP PROCESS --memory 256M, or move to a larger box.";
    let mut all = vec![match memory.available {
        free if free < memory.total / 20 => room.fail(seen, find),
        free if free < memory.total / 10 => room.warn(seen, find),
        _ => room.ok(seen),
    }];
    let swap = check(
        "Swap",
        "It takes the peaks: a build, a restore, an app that starts.",
    );
    let add = "Add some: sudo fallocate -l 2G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile, and a line in /etc/fstab.";
    let seen = format!(
        "{} MB of {} MB free, {} MB of memory",
        memory.swap_free / MB,
        memory.swap_total / MB,
        memory.total / MB
    );
    all.push(match memory.swap_total {
        total if memory.total + total < BUILDS_NEED => swap.warn(
            format!("{seen}: a build from source may not fit"),
            format!("{add} Or deploy images that were built elsewhere."),
        ),
        0 if memory.total < 2 * BUILDS_NEED => swap.warn("none".to_owned(), add),
        0 => swap.ok("none; memory is ample"),
        total if memory.swap_free < total / 5 => swap.warn(seen, find),
        _ => swap.ok(seen),
    });
    all
}
