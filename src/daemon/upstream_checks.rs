//! Checks of the settings' upstreams: which of their addresses get no traffic for now.
//!
//! A `[[route]]` with `health` has each of its addresses asked as often as a replica is, with the same thresholds; one that
//! was never asked counts as well. What follows from it is decided in `wanted`, by [`parted`].

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::upstreams::Upstreams;
use crate::base::protocol::Protocol;
use crate::base::shutdown::Tasks;
use crate::config::{Config, Health};
use crate::supervise;

/// An address, how it is spoken to, and the path it is asked.
type Asked = (SocketAddr, Protocol, String);

/// Those whose answer is no good.
pub type Ill = Arc<HashSet<Asked>>;

/// Asks until shutdown.
pub fn start(mut settings: watch::Receiver<Arc<Config>>, tasks: &Tasks) -> watch::Receiver<Ill> {
    let (told, ill) = watch::channel(Ill::default());
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_core("upstream-checks", async move {
        let (mut upstreams, mut tallies) = (Upstreams::default(), Tallies::default());
        loop {
            let config = settings.borrow_and_update().clone();
            let round = async {
                let asked = places(&config, &mut upstreams).await;
                tallies.ask(asked, config.health).await
            };
            let now = tokio::select! {
                () = shutdown.begun() => return,
                now = round => now,
            };
            told.send_if_modified(|before| {
                let differs = **before != now;
                *before = Arc::new(now);
                differs
            });
            tokio::select! {
                () = shutdown.begun() => return,
                () = tokio::time::sleep(tallies.wait(config.health.interval)) => {}
                Ok(()) = settings.changed() => {}
            }
        }
    });
    ill
}

/// Everything that is asked.
async fn places(config: &Config, upstreams: &mut Upstreams) -> HashSet<Asked> {
    let mut all = HashSet::new();
    for route in &config.routes {
        if let (Some(path), Some(upstream)) = (&route.health, &route.upstream) {
            let addresses = upstreams.of(upstream).await;
            let protocol = upstream.protocol;
            all.extend(addresses.into_iter().map(|a| (a, protocol, path.clone())));
        }
    }
    all
}

/// The addresses that get traffic, and those that get none: the first are those that are well; when there is none all of
/// them, because their answer is better than none.
pub fn parted(
    addresses: Vec<SocketAddr>,
    protocol: Protocol,
    health: Option<&str>,
    ill: &Ill,
) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let Some(path) = health else {
        return (addresses, Vec::new());
    };
    let is_well = |a: &SocketAddr| !ill.contains(&(*a, protocol, path.to_owned()));
    let (well, ill): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_well);
    match well.is_empty() {
        true => (ill, well),
        false => (well, ill),
    }
}

#[derive(Default)]
struct Tallies(HashMap<Asked, Tally>);

impl Tallies {
    /// Until the next round.
    fn wait(&self, interval: Duration) -> Duration {
        match self.0.values().any(Tally::is_in_doubt) {
            true => interval.min(supervise::DOUBT),
            false => interval,
        }
    }

    /// Asks each of them once, all at the same time. Those that are ill after that.
    async fn ask(&mut self, asked: HashSet<Asked>, health: Health) -> HashSet<Asked> {
        self.0.retain(|place, _| asked.contains(place));
        let answers = asked.into_iter().map(|place| {
            let in_doubt = self.0.get(&place).is_some_and(Tally::is_in_doubt);
            async move {
                let (address, protocol, path) = &place;
                let answer = supervise::answers(*address, *protocol, path, in_doubt).await;
                (place, answer)
            }
        });
        let answers: Vec<_> = answers.collect();
        for ((address, protocol, path), answer) in join_all(answers).await {
            let place = (address, protocol, path.clone());
            let tally = self.0.entry(place).or_default();
            if tally.count(answer.is_ok(), health) {
                match answer {
                    Ok(said) => tracing::info!(%address, path, said, "an upstream is well again"),
                    Err(why) => tracing::warn!(%address, path, why, "an upstream fails its check"),
                }
            }
        }
        let ill = self.0.iter().filter(|(_, tally)| tally.ill);
        ill.map(|(place, _)| place.clone()).collect()
    }
}

/// Answers of one address in a row.
#[derive(Default)]
struct Tally {
    good: u32,
    bad: u32,
    ill: bool,
}

impl Tally {
    /// It was well, and its last answer was not good.
    fn is_in_doubt(&self) -> bool {
        !self.ill && self.bad > 0
    }

    /// Whether this answer changes what it counts as.
    fn count(&mut self, good: bool, health: Health) -> bool {
        (self.good, self.bad) = match good {
            true => (self.good.saturating_add(1), 0),
            false => (0, self.bad.saturating_add(1)),
        };
        let changes = match self.ill {
            true => self.good >= health.healthy_after.max(1),
            false => self.bad >= health.unhealthy_after.max(1),
        };
        self.ill ^= changes;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_an_upstream_is_ill_after_three_bad_answers_and_well_after_a_good_one() {
        let health = Config::default().health;
        let mut tally = Tally::default();
        for (good, ill) in [
            (false, false),
            (false, false),
            (true, false),
            (false, false),
            (false, false),
            (false, true),
            (false, true),
            (true, false),
            (false, false),
        ] {
            tally.count(good, health);
            assert_eq!(tally.ill, ill);
        }
    }

    #[test]
    fn e5_ill_addresses_get_no_traffic_unless_all_are() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (one, two) = (address(1), address(2));
        let ill = |places: &[(SocketAddr, &str)]| -> Ill {
            let asked = |(a, p): &(SocketAddr, &str)| (*a, Protocol::Http1, (*p).to_owned());
            Arc::new(places.iter().map(asked).collect())
        };
        let (both, none) = (vec![one, two], Vec::new());
        for (health, of_ill, expected) in [
            (Some("/up"), ill(&[(one, "/up")]), (vec![two], vec![one])),
            (
                Some("/up"),
                ill(&[(one, "/up"), (two, "/up")]),
                (both.clone(), none.clone()),
            ),
            (
                Some("/up"),
                ill(&[(one, "/other")]),
                (both.clone(), none.clone()),
            ),
            (None, ill(&[(one, "/up")]), (both.clone(), none.clone())),
        ] {
            let found = parted(both.clone(), Protocol::Http1, health, &of_ill);
            assert_eq!(found, expected);
        }
        // Asked over h2c it may be well.
        let of_one = ill(&[(one, "/up")]);
        let found = parted(both.clone(), Protocol::H2c, Some("/up"), &of_one);
        assert_eq!(found, (both, none));
    }

    #[tokio::test]
    async fn e5_what_does_not_answer_is_found_and_what_does_again_too() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Five answers that it is busy, then good ones.
        tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _asked = stream.read(&mut [0; 1024]).await.unwrap();
                let status = if number < 5 { "503 Busy" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut tallies = Tallies::default();
        let place = (address, Protocol::Http1, "/up".to_owned());
        let health = Config::default().health;
        let (mut found, mut waits) = (Vec::new(), Vec::new());
        for _ in 0..7 {
            let ill = tallies.ask(HashSet::from([place.clone()]), health).await;
            found.push(ill.contains(&place));
            waits.push(tallies.wait(health.interval).as_secs());
        }
        assert_eq!(found, [false, false, true, true, true, false, false]);
        // In doubt it is asked again soon, as a replica is.
        assert_eq!(waits, [1, 1, 5, 5, 5, 5, 5]);
        assert!(tallies.ask(HashSet::new(), health).await.is_empty());
        assert!(tallies.0.is_empty(), "what is asked no more is forgotten");
    }
}
