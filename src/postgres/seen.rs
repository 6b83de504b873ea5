//! What each server last said of itself, kept so that whoever reads waits for no server.
//!
//! One task, the looker, asks the servers and alone writes; everyone else reads
//! a value that is never changed, only replaced. A server is asked at once when
//! something of ours changed it, again when somebody reads what is older than a
//! few seconds, and else once a minute: a box that nobody looks at spends next
//! to nothing on it. What was said stays, with its time, while a server is
//! silent; that it is silent is told beside it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::Databases;
use super::database::{Database, Inside, State};
use crate::base::clock::UnixMs;
use crate::base::shutdown::{Shutdown, Tasks};

/// Between two looks at a server that nobody reads about.
const EVERY: Duration = Duration::from_secs(60);
/// What is older is taken anew once somebody reads it.
const FRESH: Duration = Duration::from_secs(5);
/// A server that has not answered by then is silent, for this look. The server itself gives up before.
const LIMIT: Duration = Duration::from_secs(30);
/// Servers asked at once: each costs a process in its container.
const AT_ONCE: usize = 4;
/// Wishes for a look that may wait; a reader's beyond that is dropped, it comes again.
const WISHES: usize = 64;

/// What is known of a server's inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What it last said; none when it was not heard since Freehold started.
    pub said: Option<Inside>,
    /// Why it did not answer when it was last asked.
    pub silent: Option<String>,
    /// When it was last asked; none: not yet.
    pub asked: Option<UnixMs>,
}

impl Seen {
    fn after(&self, look: Look, now: UnixMs) -> Self {
        let asked = Some(now);
        match look {
            Ok(inside) => Self {
                said: Some(inside),
                silent: None,
                asked,
            },
            Err(why) => Self {
                said: self.said.clone(),
                silent: Some(why),
                asked,
            },
        }
    }

    /// Why nothing newer is known: it did not answer, or was not asked since Freehold started.
    pub fn why(&self) -> Option<String> {
        let not_yet = || "it was not asked since Freehold started; that is under way".to_owned();
        match self.asked {
            None => Some(not_yet()),
            Some(_) => self.silent.clone(),
        }
    }

    fn is_old(&self, now: UnixMs) -> bool {
        // What was asked later than now was so before the clock was set back.
        let is_old = |asked: UnixMs| asked > now || now.since(asked) >= FRESH;
        self.asked.is_none_or(is_old)
    }
}

/// By the server's id.
type All = BTreeMap<i64, Arc<Seen>>;
/// How one look ended.
type Look = Result<Inside, String>;

/// A wish for a look at a server.
struct Wish {
    server: i64,
    /// It was changed: a look that is under way may have come too early.
    changed: bool,
    /// Whoever waits for the look.
    done: Option<oneshot::Sender<()>>,
}

/// The readers' end.
#[derive(Clone)]
pub(super) struct Sight {
    all: watch::Receiver<Arc<All>>,
    wishes: mpsc::Sender<Wish>,
}

/// The end of the one that asks and writes.
pub struct Looker {
    all: watch::Sender<Arc<All>>,
    wishes: mpsc::Receiver<Wish>,
}

/// Both ends, nothing seen yet.
pub(super) fn sight() -> (Sight, Looker) {
    let (write, all) = watch::channel(Arc::default());
    let (wish, wishes) = mpsc::channel(WISHES);
    (Sight { all, wishes: wish }, Looker { all: write, wishes })
}

impl Databases {
    /// What is known of the server's inside. Never waits; what is old is taken anew meanwhile.
    pub fn seen(&self, database: &Database, now: UnixMs) -> Arc<Seen> {
        let known = self.sight.all.borrow().get(&database.id).cloned();
        let seen = known.unwrap_or_default();
        if database.state == State::Ready && seen.is_old(now) {
            self.wish(Wish {
                server: database.id,
                changed: false,
                done: None,
            });
        }
        seen
    }

    /// Looks at a server that was just changed, and comes back when readers see it as it is now;
    /// one that does not answer in time is not waited for.
    pub(super) async fn look_again(&self, server: i64) {
        let (done, looked) = oneshot::channel();
        let wish = Wish {
            server,
            changed: true,
            done: Some(done),
        };
        // A reader's wish may be dropped; this one waits for its place.
        let looked = async {
            if self.sight.wishes.send(wish).await.is_ok() {
                looked.await.is_ok()
            } else {
                false
            }
        };
        // Not looked at: nobody looks any more, as when the daemon stops.
        if !matches!(tokio::time::timeout(LIMIT, looked).await, Ok(true)) {
            tracing::debug!(server, "a changed server was not looked at in time");
        }
    }

    fn wish(&self, wish: Wish) {
        if let Err(error) = self.sight.wishes.try_send(wish) {
            tracing::debug!(%error, "a look at a server was not asked for");
        }
    }
}

/// Whom the looker asks.
trait Servers: Clone + Send + Sync + 'static {
    /// Every server there is, and whether it is in service; `None` when that cannot be read now.
    fn all(&self) -> impl Future<Output = Option<Vec<(i64, bool)>>> + Send;
    /// One look; `None` when there is nothing to look at.
    fn ask(&self, server: i64) -> impl Future<Output = Option<Look>> + Send;
}

impl Servers for Databases {
    async fn all(&self) -> Option<Vec<(i64, bool)>> {
        match self.list().await {
            Ok(all) => Some(
                all.iter()
                    .map(|d| (d.id, d.state == State::Ready))
                    .collect(),
            ),
            Err(error) => {
                tracing::warn!(%error, "which servers are to be asked could not be read");
                None
            }
        }
    }

    async fn ask(&self, server: i64) -> Option<Look> {
        let database = match self.by_id(server).await {
            Ok(database) => database?,
            Err(error) => return Some(Err(error.to_string())),
        };
        // One that is being checked is about to be ready, and is then to be known.
        if !matches!(database.state, State::Verifying | State::Ready) {
            return None;
        }
        let asked = tokio::time::timeout(LIMIT, self.inside(&database)).await;
        Some(match asked {
            Ok(said) => said.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        })
    }
}

impl Looker {
    /// Looks until the daemon stops.
    pub fn start(self, databases: Databases, tasks: &Tasks) {
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_core("database figures", self.run(databases, shutdown));
    }

    async fn run(mut self, servers: impl Servers, shutdown: Shutdown) {
        let room = Semaphore::new(AT_ONCE);
        let look = |server: i64| {
            let (servers, room) = (servers.clone(), &room);
            async move {
                let place = room.acquire().await;
                let seen = servers.ask(server).await;
                drop(place);
                (server, seen)
            }
        };
        let mut looks = FuturesUnordered::new();
        // Who waits for a look that is under way, and for the one that has to follow it.
        let mut under_way: BTreeMap<i64, Vec<oneshot::Sender<()>>> = BTreeMap::new();
        let mut again: BTreeMap<i64, Vec<oneshot::Sender<()>>> = BTreeMap::new();
        let mut rounds = tokio::time::interval(EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut begin = None;
            tokio::select! {
                () = shutdown.begun() => return,
                _ = rounds.tick() => {
                    for server in self.there(&servers).await {
                        if let Entry::Vacant(idle) = under_way.entry(server) {
                            idle.insert(Vec::new());
                            looks.push(look(server));
                        }
                    }
                }
                Some(wish) = self.wishes.recv() => match under_way.contains_key(&wish.server) {
                    true if wish.changed => again.entry(wish.server).or_default().extend(wish.done),
                    true => {}
                    false => begin = Some((wish.server, wish.done.into_iter().collect())),
                },
                Some((server, seen)) = looks.next(), if !looks.is_empty() => {
                    self.publish(server, seen, UnixMs::now());
                    for waiting in under_way.remove(&server).unwrap_or_default() {
                        // Whoever has stopped waiting needs no answer.
                        waiting.send(()).ok();
                    }
                    begin = again.remove(&server).map(|waiting| (server, waiting));
                }
            }
            if let Some((server, waiting)) = begin {
                under_way.insert(server, waiting);
                looks.push(look(server));
            }
        }
    }

    /// Forgets servers that are gone; those in service.
    async fn there(&self, servers: &impl Servers) -> Vec<i64> {
        let Some(all) = servers.all().await else {
            return Vec::new();
        };
        self.all.send_if_modified(|seen| {
            let mut kept = All::clone(seen);
            kept.retain(|server, _| all.iter().any(|(id, _)| id == server));
            let changed = kept.len() != seen.len();
            if changed {
                *seen = Arc::new(kept);
            }
            changed
        });
        all.into_iter()
            .filter_map(|(server, ready)| ready.then_some(server))
            .collect()
    }

    fn publish(&self, server: i64, look: Option<Look>, now: UnixMs) {
        self.all.send_modify(|seen| {
            let mut all = All::clone(seen);
            match look {
                None => {
                    all.remove(&server);
                }
                Some(look) => {
                    let before = all.get(&server).cloned().unwrap_or_default();
                    all.insert(server, Arc::new(before.after(look, now)));
                }
            }
            *seen = Arc::new(all);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    /// Servers 1 and 2; the first answers when it is let, the second never.
    #[derive(Clone, Default)]
    struct Two {
        asked: Arc<AtomicU32>,
        let_go: Arc<Notify>,
        silent: Arc<Mutex<bool>>,
    }

    impl Servers for Two {
        async fn all(&self) -> Option<Vec<(i64, bool)>> {
            Some(vec![(1, true), (2, true), (3, false)])
        }

        async fn ask(&self, server: i64) -> Option<Look> {
            if server != 1 {
                std::future::pending::<()>().await;
            }
            self.let_go.notified().await;
            let size_bytes = u64::from(self.asked.fetch_add(1, Ordering::SeqCst) + 1);
            Some(match *self.silent.lock().unwrap() {
                true => Err("it is down".into()),
                false => Ok(Inside {
                    at: UnixMs(1_000),
                    size_bytes,
                    connections: 1,
                    max_connections: 100,
                    logical: Vec::new(),
                }),
            })
        }
    }

    async fn until(all: &mut watch::Receiver<Arc<All>>, is: impl Fn(&Seen) -> bool) -> Arc<Seen> {
        let found = async {
            loop {
                let seen = all.borrow_and_update().get(&1).cloned();
                if let Some(seen) = seen.filter(|seen| is(seen)) {
                    return seen;
                }
                all.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found)
            .await
            .unwrap()
    }

    fn wish(changed: bool) -> (Wish, oneshot::Receiver<()>) {
        let (done, looked) = oneshot::channel();
        let wish = Wish {
            server: 1,
            changed,
            done: Some(done),
        };
        (wish, looked)
    }

    #[tokio::test]
    async fn a1_a_server_that_hangs_holds_up_no_other_and_one_that_is_down_keeps_its_last_words() {
        let two = Two::default();
        let (sight, looker) = sight();
        let shutdown = Shutdown::new();
        let running = tokio::spawn(looker.run(two.clone(), shutdown.clone()));
        let mut all = sight.all.clone();
        two.let_go.notify_one();
        let first = until(&mut all, |seen| seen.said.is_some()).await;
        assert_eq!(first.said.as_ref().unwrap().size_bytes, 1);
        assert!(
            all.borrow().get(&2).is_none(),
            "nothing is invented of one that hangs"
        );

        *two.silent.lock().unwrap() = true;
        let (look, _) = wish(false);
        sight.wishes.send(look).await.unwrap();
        two.let_go.notify_one();
        let down = until(&mut all, |seen| seen.silent.is_some()).await;
        assert_eq!(down.silent.as_deref(), Some("it is down"));
        assert_eq!(down.said, first.said);
        shutdown.begin();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a1_a_change_is_seen_even_when_a_look_was_under_way() {
        let two = Two::default();
        let (sight, looker) = sight();
        let shutdown = Shutdown::new();
        let running = tokio::spawn(looker.run(two.clone(), shutdown.clone()));
        // The first round's look is under way now, and does not end.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (changed, mut looked) = wish(true);
        sight.wishes.send(changed).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        two.let_go.notify_one();
        let mut all = sight.all.clone();
        until(&mut all, |seen| seen.said.is_some()).await;
        assert!(
            looked.try_recv().is_err(),
            "the look from before the change counted"
        );
        two.let_go.notify_one();
        looked.await.unwrap();
        let seen = all.borrow().get(&1).cloned().unwrap();
        assert_eq!(seen.said.as_ref().unwrap().size_bytes, 2);
        shutdown.begin();
        running.await.unwrap();
    }

    #[test]
    fn a1_what_was_not_asked_or_long_ago_is_old() {
        let now = UnixMs(1_000_000);
        assert!(Seen::default().is_old(now));
        let seen = Seen::default().after(Err("no".into()), now);
        assert!(!seen.is_old(now.plus(FRESH / 2)));
        assert!(seen.is_old(now.plus(FRESH)));
        assert!(seen.is_old(UnixMs(0)), "the clock was set back");
    }
}
