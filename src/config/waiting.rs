//! Settings that only a start takes up, a reload's included: an edit of them is reported with what to do, and waits. Pure.

use std::net::SocketAddr;
use std::path::Path;

use super::settings::{Config, Listen};

/// An edited setting that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its key, such as `listen`.
    pub setting: &'static str,
    /// What is in force instead.
    pub why: String,
    /// What brings it into force.
    pub remedy: String,
}

/// What `asked` says differently from what the daemon was started with. `held` are the sockets that somebody else
/// holds for it: those count, whatever the settings say.
pub fn waiting(asked: &Config, running: &Config, held: Option<&Listen>) -> Vec<Waiting> {
    let mut all = Vec::new();
    if asked.data_dir != running.data_dir {
        all.push(data_dir(&asked.data_dir, &running.data_dir));
    }
    if asked.run_dir != running.run_dir {
        all.push(taken_over(
            "run_dir",
            format!(
                "The sockets lie in {} until then.",
                running.run_dir.display()
            ),
        ));
    }
    all.extend(match held {
        Some(held) => listen_held(&asked.listen, held),
        None if addresses(&asked.listen) != addresses(&running.listen) => Some(taken_over(
            "listen",
            format!(
                "The daemon listens on {} and {} until then.",
                running.listen.http, running.listen.https
            ),
        )),
        None => None,
    });
    if asked.docker != running.docker {
        all.push(taken_over(
            "docker.host",
            format!("The engine at {} is used until then.", running.docker.host),
        ));
    }
    all
}

/// The settings of `asked` that are in force beside `running`: all but those that wait.
pub(super) fn in_force(asked: Config, running: &Config) -> Config {
    Config {
        data_dir: running.data_dir.clone(),
        run_dir: running.run_dir.clone(),
        listen: Listen {
            http: running.listen.http,
            https: running.listen.https,
            ..asked.listen
        },
        docker: running.docker.clone(),
        ..asked
    }
}

/// How another daemon takes the place of the one that runs.
const RELOAD: &str = "Run `freehold reload` when it suits you, which loses no request; without systemd end `freehold serve` and start it again";

fn taken_over(setting: &'static str, why: String) -> Waiting {
    Waiting {
        setting,
        why,
        // A reload loses no request; two that overlap cannot be listened on side by side.
        remedy: match setting {
            "listen" => format!(
                "{RELOAD}; an address that overlaps with the one of now, as [::]:443 does with 0.0.0.0:443, takes `systemctl restart freehold`."
            ),
            // The command would wait for its answer where nobody listens any more.
            "run_dir" => "Restart the daemon when it suits you: `systemctl restart freehold`; without systemd end `freehold serve` and start it again.".into(),
            _ => format!("{RELOAD}."),
        },
    }
}

fn data_dir(asked: &Path, running: &Path) -> Waiting {
    let (asked, running) = (asked.display(), running.display());
    Waiting {
        setting: "data_dir",
        why: format!("Everything lies in {running} and stays there."),
        remedy: format!(
            "To move it: `systemctl stop freehold.socket freehold.service`, `mv {running} {asked}`, \
             `systemctl start freehold.socket freehold.service`. A start without the move would begin with an empty box. \
             Or put the old value back."
        ),
    }
}

/// What of `[listen]` sockets are made from; the rest is in force at once.
fn addresses(listen: &Listen) -> [SocketAddr; 2] {
    [listen.http, listen.https]
}

fn listen_held(asked: &Listen, held: &Listen) -> Option<Waiting> {
    (addresses(asked) != addresses(held)).then(|| Waiting {
        setting: "listen",
        why: format!(
            "The settings ask for {} and {}, but the sockets that systemd holds are {} and {}.",
            asked.http, asked.https, held.http, held.https
        ),
        remedy: format!(
            "Run `systemctl edit freehold.socket`, write\n[Socket]\nListenStream=\nListenStream={}\nListenStream={}\n\
             and run `systemctl restart freehold.socket freehold.service`. Or take [listen] out of the settings.",
            asked.http, asked.https
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cidr::Cidr;

    #[test]
    fn f5_sockets_other_than_listen_are_reported_with_the_drop_in() {
        let running = Config::default();
        let held = Listen::default();
        assert_eq!(waiting(&running, &running, Some(&held)), []);
        let mut asked = running.clone();
        asked.listen.http = "[::]:8080".parse().unwrap();
        let told = waiting(&asked, &running, Some(&held));
        assert_eq!(told[0].setting, "listen");
        assert!(
            told[0].remedy.contains("ListenStream=[::]:8080\n"),
            "{told:?}"
        );
        // What is held counts, also when the daemon was started with the same mistake.
        assert_eq!(waiting(&asked, &asked, Some(&held)), told);
    }

    #[test]
    fn f5_own_sockets_wait_for_a_reload() {
        let running = Config::default();
        let mut asked = running.clone();
        asked.listen.https = "[::]:8443".parse().unwrap();
        asked.docker.host = "unix:///run/other.sock".into();
        let told = waiting(&asked, &running, None);
        assert_eq!(told.len(), 2);
        assert!(told[1].remedy.contains("`freehold reload`"), "{told:?}");
        assert!(!told[1].remedy.contains("restart"), "{told:?}");
        assert!(told[0].why.contains("[::]:443"), "{told:?}");
        assert!(told[0].remedy.contains("`freehold reload`"), "{told:?}");
        assert!(told[0].remedy.contains("overlaps"), "{told:?}");
        assert_eq!(in_force(asked, &running), running);
    }

    #[test]
    fn f5_another_data_folder_says_how_to_move_it() {
        let running = Config::default();
        let mut asked = running.clone();
        asked.data_dir = "/srv/freehold".into();
        asked.hold.requests = 7;
        // Of [listen] the sockets alone wait.
        asked.listen.proxy_protocol = vec![Cidr::v4([10, 0, 0, 7], 32)];
        let told = waiting(&asked, &running, None);
        assert_eq!(told.len(), 1);
        assert!(
            told[0]
                .remedy
                .contains("mv /var/lib/freehold /srv/freehold"),
            "{told:?}"
        );
        let force = in_force(asked, &running);
        assert_eq!((force.data_dir, force.hold.requests), (running.data_dir, 7));
        assert_eq!(force.listen.proxy_protocol.len(), 1);
    }
}
