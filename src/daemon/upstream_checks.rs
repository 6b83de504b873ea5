//! Checks of the settings' upstreams: which of their addresses get no traffic for now.
//!
//! A `[[route]]` with `health` has each of its addresses asked as often as a replica is, with the same thresholds; one that
//! was never asked counts as well. What follows from it is decided in `wanted`, by [`parted`].

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::upstreams::Upstreams;
use crate::base::clock::UnixMs;
use crate::base::protocol::Protocol;
use crate::base::shutdown::Tasks;
use crate::config::{Config, Health};
use crate::supervise;

/// An address, how it is spoken to, and the path it is asked.
type Asked = (SocketAddr, Protocol, String);

/// Those whose answer is no good.
pub type Ill = Arc<HashMap<Asked, Illness>>;

/// What it answered when it began to count as ill, and when that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Illness {
    /// In words that follow its name.
    pub why: String,
    /// When.
    pub since: UnixMs,
}

/// Of an address, whichever path it was asked.
pub fn illness<'a>(ill: &'a Ill, address: &str) -> Option<&'a Illness> {
    let of_it = ill.iter().find(|(asked, _)| asked.0.to_string() == address);
    of_it.map(|(_, illness)| illness)
}

/// Asks until shutdown.
pub fn start(mut settings: watch::Receiver<Arc<Config>>, tasks: &Tasks) -> watch::Receiver<Ill> {
    let (told, ill) = watch::channel(Ill::default());
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_core("upstream-checks", async move {
        let (mut upstreams, mut tallies) = (Upstreams::default(), Tallies::new(told));
        loop {
            let config = settings.borrow_and_update().clone();
            let found = tokio::select! {
                () = shutdown.begun() => return,
                found = places(&config, &mut upstreams) => found,
                never = tallies.ask(config.health) => match never {},
            };
            tallies.are(found);
            // Names are looked at again as often as one of them is asked.
            tokio::select! {
                () = shutdown.begun() => return,
                () = tokio::time::sleep(config.health.interval) => {}
                Ok(()) = settings.changed() => tallies.begin_anew(),
                never = tallies.ask(config.health) => match never {},
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
    let is_well = |a: &SocketAddr| !ill.contains_key(&(*a, protocol, path.to_owned()));
    let (well, ill): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_well);
    match well.is_empty() {
        true => (ill, well),
        false => (well, ill),
    }
}

/// Those that are asked, each at its own pace: one that hangs keeps no other waiting.
struct Tallies {
    all: HashMap<Asked, Tally>,
    asking: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Of the next one that is asked.
    number: u64,
    told: watch::Sender<Ill>,
}

/// Who was asked, by which number, and what came of it.
type Answered = (Asked, u64, Result<String, String>);

impl Tallies {
    fn new(told: watch::Sender<Ill>) -> Self {
        Self {
            all: HashMap::new(),
            asking: FuturesUnordered::new(),
            number: 0,
            told,
        }
    }

    /// From now on these are asked, those that are new at once.
    fn are(&mut self, places: HashSet<Asked>) {
        self.all.retain(|place, _| places.contains(place));
        for place in places {
            if !self.all.contains_key(&place) {
                self.all.insert(place.clone(), Tally::default());
                self.will_ask(place, Duration::ZERO);
            }
        }
        self.tell();
    }

    /// All of them are asked at once, however long they would have waited.
    fn begin_anew(&mut self) {
        self.asking.clear();
        let all: Vec<_> = self.all.keys().cloned().collect();
        for place in all {
            self.will_ask(place, Duration::ZERO);
        }
    }

    fn will_ask(&mut self, place: Asked, after: Duration) {
        let Some(tally) = self.all.get_mut(&place) else {
            return;
        };
        self.number += 1;
        tally.number = self.number;
        let (number, in_doubt) = (self.number, tally.is_in_doubt());
        let asking = async move {
            tokio::time::sleep(after).await;
            let (address, protocol, path) = &place;
            let answer = supervise::answers(*address, *protocol, path, in_doubt).await;
            (place, number, answer)
        };
        self.asking.push(Box::pin(asking));
    }

    /// Asks for as long as it is polled.
    async fn ask(&mut self, health: Health) -> Infallible {
        loop {
            match self.asking.next().await {
                Some(answered) => self.takes(answered, health),
                None => std::future::pending().await,
            }
        }
    }

    fn takes(&mut self, (place, number, answer): Answered, health: Health) {
        // One that went and came again is asked under another number.
        let Some(tally) = self.all.get_mut(&place).filter(|t| t.number == number) else {
            return;
        };
        let changes = tally.count(answer.as_ref().map(|_| ()), health);
        let wait = match tally.is_in_doubt() {
            true => health.interval.min(supervise::DOUBT),
            false => health.interval,
        };
        if changes {
            let (address, _, path) = &place;
            match answer {
                Ok(said) => tracing::info!(%address, path, said, "an upstream is well again"),
                Err(why) => tracing::warn!(%address, path, why, "an upstream fails its check"),
            }
            self.tell();
        }
        self.will_ask(place, wait);
    }

    fn tell(&self) {
        let ill = self.all.iter().filter_map(|(place, tally)| {
            let illness = tally.ill.clone()?;
            Some((place.clone(), illness))
        });
        let now: HashMap<_, _> = ill.collect();
        self.told.send_if_modified(|before| {
            let differs = **before != now;
            *before = Arc::new(now);
            differs
        });
    }
}

/// Answers of one address in a row.
#[derive(Default)]
struct Tally {
    good: u32,
    bad: u32,
    ill: Option<Illness>,
    /// Under which it is being asked.
    number: u64,
}

impl Tally {
    /// It was well, and its last answer was not good.
    fn is_in_doubt(&self) -> bool {
        self.ill.is_none() && self.bad > 0
    }

    /// Whether this answer changes what it counts as.
    fn count(&mut self, answer: Result<(), &String>, health: Health) -> bool {
        (self.good, self.bad) = match answer {
            Ok(()) => (self.good.saturating_add(1), 0),
            Err(_) => (0, self.bad.saturating_add(1)),
        };
        match (&self.ill, answer) {
            (Some(_), Ok(())) if self.good >= health.healthy_after.max(1) => {
                self.ill = None;
                true
            }
            (None, Err(why)) if self.bad >= health.unhealthy_after.max(1) => {
                self.ill = Some(Illness {
                    why: why.clone(),
                    since: UnixMs::now(),
                });
                true
            }
            _ => false,
        }
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
            let (said, why) = (tally.ill.clone(), format!("no, before {ill}"));
            tally.count(if good { Ok(()) } else { Err(&why) }, health);
            assert_eq!(tally.ill.is_some(), ill);
            // Why, and since when, is what it was at first.
            assert!(said.is_none() || tally.ill.is_none() || said == tally.ill);
        }
    }

    #[test]
    fn e5_ill_addresses_get_no_traffic_unless_all_are() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (one, two) = (address(1), address(2));
        let ill = |places: &[(SocketAddr, &str)]| -> Ill {
            let asked = |(a, p): &(SocketAddr, &str)| (*a, Protocol::Http1, (*p).to_owned());
            let illness = Illness {
                why: "503".into(),
                since: UnixMs(7),
            };
            Arc::new(places.iter().map(|p| (asked(p), illness.clone())).collect())
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
        let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = |of: SocketAddr| (of, Protocol::Http1, "/up".to_owned());
        let (place, silent) = (place(address), place(hangs.local_addr().unwrap()));
        let health = Health {
            interval: Duration::from_millis(20),
            ..Config::default().health
        };
        let (told, mut ill) = watch::channel(Ill::default());
        let mut tallies = Tallies::new(told);
        // One that takes connections and says nothing keeps no other from its turn.
        tallies.are(HashSet::from([place.clone(), silent.clone()]));
        let looks = async {
            let now = ill.wait_for(|ill| ill.contains_key(&place)).await.unwrap();
            assert_eq!(illness(&now, &address.to_string()).unwrap().why, "503 Busy");
            assert!(!now.contains_key(&silent), "it was not waited for");
            drop(now);
            ill.wait_for(|ill| !ill.contains_key(&place)).await.unwrap();
            let now = ill.wait_for(|ill| ill.contains_key(&silent)).await.unwrap();
            let why = &illness(&now, &silent.0.to_string()).unwrap().why;
            assert!(why.starts_with("no answer within"), "{why}");
        };
        tokio::select! {
            () = looks => {}
            never = tallies.ask(health) => match never {},
        }
        tallies.are(HashSet::new());
        assert!(
            ill.borrow().is_empty(),
            "what is asked no more is forgotten"
        );
    }

    #[test]
    fn e5_in_doubt_an_address_is_asked_again_soon_and_settings_count_at_once() {
        let place = (
            SocketAddr::from(([127, 0, 0, 1], 1)),
            Protocol::Http1,
            "/up".to_owned(),
        );
        let mut tallies = Tallies::new(watch::channel(Ill::default()).0);
        tallies.are(HashSet::from([place.clone()]));
        let health = Config::default().health;
        let no = || Err("no".to_owned());
        tallies.takes((place.clone(), 1, no()), health);
        assert!(tallies.all[&place].is_in_doubt());
        assert_eq!(tallies.all[&place].number, 2);
        // An answer to an earlier question says nothing.
        tallies.takes((place.clone(), 1, no()), health);
        assert_eq!(
            (tallies.all[&place].bad, tallies.all[&place].number),
            (1, 2)
        );
        tallies.begin_anew();
        assert_eq!((tallies.asking.len(), tallies.all[&place].number), (1, 3));
    }
}
