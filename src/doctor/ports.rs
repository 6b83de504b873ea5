//! The ports of the web: who listens, who keeps them open.

use super::Seen;
use super::facts::{Keeper, Listening, Owner, Ports};
use crate::wire::doctor::{Area, Examined};

/// Its checks.
pub(super) fn examine(ports: &Ports) -> Vec<Examined> {
    let mut all = Vec::new();
    for (wanted, usual, name) in [
        (ports.wanted[0], 80, "Port of http"),
        (ports.wanted[1], 443, "Port of https"),
    ] {
        let why = "Visitors come to 80 and 443, and certificates are proven there.";
        let check = Seen {
            area: Area::Ports,
            what: name,
            why,
        };
        let here: Vec<&Listening> = ports
            .listening
            .iter()
            .filter(|l| l.address.port() == wanted.port())
            .collect();
        let other = here.iter().find_map(|l| match &l.owner {
            Owner::Ours => None,
            Owner::Program(name) => Some((l, name.clone())),
            Owner::Hidden => Some((l, "another program".to_owned())),
        });
        let ours = here.iter().any(|l| l.owner == Owner::Ours);
        let find = format!(
            "See which it is: sudo ss -ltnp 'sport = :{}', stop it, then sudo systemctl restart freehold.socket freehold.",
            wanted.port()
        );
        all.push(match (ours, other) {
            (true, None) if wanted.port() != usual => check.warn(
                format!("the edge listens on {wanted}"),
                format!(
                    "See that {usual} is forwarded to it from outside, or set [listen] in /etc/freehold/config.toml to [::]:{usual}."
                ),
            ),
            (true, None) => check.ok(format!("the edge listens on {wanted}")),
            // One address of it belongs to somebody else, who gets what comes there.
            (true, Some((theirs, who))) => check.warn(
                format!("{who} listens on {}, the edge on {wanted}", theirs.address),
                find,
            ),
            (false, Some((theirs, who))) => {
                check.fail(format!("{who} has {}", theirs.address), find)
            }
            (false, None) => check.fail(
                format!("nobody listens on {wanted}"),
                "Start it: sudo systemctl start freehold.socket freehold.",
            ),
        });
    }
    let keeper = Seen {
        area: Area::Ports,
        what: "Sockets held",
        why: "Connections that come while the daemon restarts wait in a held socket instead of being refused.",
    };
    all.push(match ports.keeper {
        Keeper::Systemd => keeper.ok("systemd holds them"),
        Keeper::Daemon => keeper.warn(
            "the daemon opened them itself",
            "Start it through systemd: sudo systemctl enable --now freehold.socket freehold.service.",
        ),
        Keeper::Nobody => keeper.fail(
            "nobody holds them",
            "Start them: sudo systemctl enable --now freehold.socket freehold.service.",
        ),
    });
    all
}
