//! The container engine: does it answer, and is it set so that apps live well on it.

use super::Seen;
use super::facts::Engine;
use crate::wire::doctor::{Area, Examined};

const MB: u64 = 1 << 20;

/// Its checks.
pub(super) fn examine(engine: &Engine) -> Vec<Examined> {
    let check = |what, why| Seen {
        area: Area::Engine,
        what,
        why,
    };
    let answers = check(
        "Docker answers",
        "Apps and databases are containers: nothing is deployed or healed while the engine is away.",
    );
    let told = match &engine.told {
        Ok(told) => told,
        Err(why) => {
            return vec![answers.fail(
                format!("{} does not answer: {why}", engine.host),
                "Start it: sudo systemctl start docker; journalctl -u docker -n 50 says why it ended.",
            )];
        }
    };
    let mut all = vec![answers.ok(format!(
        "Docker {}, API {}, at {}",
        told.version, told.api, engine.host
    ))];
    let storage = check(
        "Storage driver",
        "A driver that copies every layer whole fills the disk with each release.",
    );
    all.push(match told.storage.as_str() {
        "overlay2" | "overlayfs" | "btrfs" | "zfs" | "fuse-overlayfs" => {
            storage.ok(told.storage.clone())
        }
        other => storage.warn(
            other,
            "Set \"storage-driver\": \"overlay2\" in /etc/docker/daemon.json, then sudo systemctl restart docker; images are fetched anew.",
        ),
    });
    let log = check(
        "Log driver",
        "Freehold's own containers bring their log settings; those of others fill the disk without a cap.",
    );
    all.push(match told.log.as_str() {
        "local" | "journald" | "json-file" => log.ok(told.log.clone()),
        other => log.warn(
            format!("{other}: `docker logs` may show nothing of containers that are not Freehold's"),
            "Set \"log-driver\": \"local\" in /etc/docker/daemon.json, then sudo systemctl restart docker.",
        ),
    });
    let restart = check(
        "Live restore",
        "Without it every container stops while the engine is restarted or upgraded.",
    );
    all.push(match told.live_restore {
        true => restart.ok("containers go on while the engine restarts"),
        false => restart.warn(
            "containers stop while the engine restarts",
            "Set \"live-restore\": true in /etc/docker/daemon.json, then sudo systemctl reload docker.",
        ),
    });
    let room = check(
        "Room for images",
        "A build or a pull on a full disk fails, and so do the databases there.",
    );
    if let Some((free, total)) = engine.root {
        let seen = format!(
            "{} MB of {} MB free at {}",
            free / MB,
            total / MB,
            told.root
        );
        let remedy = "See what takes it: docker system df, then sudo du -xhd2 /; remove what nothing needs with docker image prune.";
        all.push(match free {
            free if free < 256 * MB => room.fail(seen, remedy),
            free if free < 2048 * MB => room.warn(seen, remedy),
            _ => room.ok(seen),
        });
    }
    all
}
