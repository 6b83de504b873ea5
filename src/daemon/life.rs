//! One daemon's life: the edge and its sockets, which are there from beginning to end, and the control plane, which a
//! handover ends before them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, watch};

use super::control::{Control, Ground};
use super::handover::counted::Tally;
use super::handover::giving::Successor;
use super::handover::taking::{Begun, Beside, Predecessor};
use super::handover::wire::{Serving, Word};
use super::handover::{self, Step, front_door, taking};
use super::lease::Lease;
use super::signals::Signals;
use super::sockets::Kept;
use super::{Start, settings, start};
use crate::access_log::AccessLog;
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::sabotage::Sabotage;
use crate::base::shutdown::{Shutdown, Tasks};
use crate::config::Config;
use crate::events::{self, Level, NewEvent};
use crate::proxy::{Edge, Reading, Trouble};
use crate::web::{Desk, Handovers};

/// For the access log to be written to its end.
const FINISH: Duration = Duration::from_secs(3);
/// For a predecessor past its own limit.
const PATIENCE: Duration = Duration::from_secs(10);
/// This program, whatever became of its file.
const OURSELVES: &str = "/proc/self/exe";
/// Troubles that wait to be looked into.
const TROUBLES: usize = 256;

/// What is there for as long as the process is.
pub struct Life {
    arguments: handover::Arguments,
    /// The file that a successor is started from.
    program: PathBuf,
    config: Arc<Config>,
    kept: Kept,
    edge: Edge,
    /// The access log's writer.
    tasks: Tasks,
    /// None while the box passes over.
    control: Option<Control>,
    desk: Desk,
    /// How the handover began that this life began with, if it did.
    begun: Option<Begun>,
    /// Becomes true once no older process serves any more.
    gone: watch::Sender<bool>,
    /// How many older ones there were when this one took over.
    leaving: u32,
    /// How long older ones have, once this one is to stop.
    hurry: watch::Sender<Option<Duration>>,
    /// What routes had counted when figures were written down for the last time.
    written: watch::Receiver<Option<Written>>,
}

/// Readings by route.
type Written = Arc<HashMap<String, Reading>>;

/// What a life begins with.
struct Parts {
    program: PathBuf,
    config: Arc<Config>,
    kept: Kept,
    closed: Closed,
    lease: Lease,
    /// The handover that it begins with.
    begun: Option<Begun>,
}

/// The edge, that takes no connection yet, and whom it tells of targets that are in trouble.
struct Closed {
    edge: Edge,
    troubles: mpsc::Receiver<Trouble>,
}

impl Life {
    /// Begins one with nobody before it; it takes connections.
    ///
    /// # Errors
    /// A sentence that says why it could not start.
    pub async fn begin(start: &Start) -> Result<Self, String> {
        let config = start::read_settings(start)?;
        let lease = Lease::take(&config.data_dir)?;
        let kept = Kept::open(&config)?;
        let parts = Parts {
            program: start::own_program()?,
            closed: Closed::new(&config, &kept)?,
            config,
            kept,
            lease,
            begun: None,
        };
        let life = Self::with(start, parts).await?;
        notify(&[NotifyState::Ready]);
        Ok(life)
    }

    /// Begins one in another's place, on its sockets; it takes connections beside it.
    ///
    /// # Errors
    /// A sentence that says why it cannot.
    pub async fn take_over(
        start: &Start,
        predecessor: &mut Predecessor,
        kept: Kept,
        signals: &mut Signals,
    ) -> Result<Self, String> {
        // First all that can be known while the other one still acts.
        let config = start::read_settings(start)?;
        predecessor.keeps_in(&config)?;
        let kept = kept.suited(&config)?;
        taking::look(&config).await?;
        let closed = Closed::new(&config, &kept)?;
        crash_point::hit(Step::Looked.point());
        let begun = tokio::select! {
            begun = predecessor.let_go() => begun?,
            () = signals.stop() => return Err("it was told to stop".into()),
        };
        let lease = Lease::take_soon(&config.data_dir).await?;
        crash_point::hit(Step::Taken.point());
        if Sabotage::HangingStart.is_on() {
            std::future::pending::<()>().await;
        }
        let parts = Parts {
            program: predecessor.program.clone(),
            config,
            kept,
            closed,
            lease,
            begun: Some(begun),
        };
        Self::with(start, parts).await
    }

    async fn with(start: &Start, parts: Parts) -> Result<Self, String> {
        let Parts { config, kept, .. } = parts;
        let mut edge = parts.closed.edge;
        edge.trust(settings::proxies(&config));
        edge.log(config.access_log.share, config.access_log.query);
        let tasks = Tasks::new(Shutdown::new());
        let (logs, kept_logs) = (config.data_dir.join("logs"), settings::access_log(&config));
        let access_log = edge
            .entries()
            .map(|entries| AccessLog::start(entries, &logs, kept_logs, &tasks));
        let gone = watch::Sender::new(parts.begun.is_none());
        let (handovers, desk) = Handovers::new(std::env::var_os("NOTIFY_SOCKET").is_some());
        if let Some(begun) = &parts.begun {
            desk.begins(begun.at);
        }
        let [edge_socket, local_socket] = kept.dashboard()?;
        let (counted, written) = watch::channel(None);
        let ground = Ground {
            config_file: start.config.clone(),
            config: Arc::clone(&config),
            edge: edge.handle(),
            access_log,
            troubles: parts.closed.troubles,
            listen: kept.listen(&config.listen),
            held: kept.held,
            edge_socket,
            local_socket,
            predecessor: gone.subscribe(),
            handovers,
            counted,
        };
        let control = Control::start(parts.lease, ground).await?;
        crash_point::hit(Step::Acts.point());
        if let Err(error) = edge.open() {
            control.end().await?;
            return Err(format!("the edge cannot take connections: {error}"));
        }
        let installation = control.installation();
        tracing::info!(%installation, data_dir = %config.data_dir.display(), "Freehold is up");
        Ok(Self {
            arguments: handover::Arguments {
                config: start.config.clone(),
                data_dir: start.data_dir.clone(),
                json: start.json,
            },
            program: parts.program,
            config,
            kept,
            edge,
            tasks,
            control: Some(control),
            desk,
            begun: parts.begun,
            gone,
            leaving: 0,
            hurry: watch::Sender::new(None),
            written,
        })
    }

    /// Tells the predecessor that this one serves, and goes on once it has heard that everybody finds it.
    ///
    /// # Errors
    /// That the predecessor is gone without that word: then so is this life.
    pub async fn confirmed(mut self, predecessor: Predecessor) -> Result<Self, String> {
        let listen = self.kept.listen(&self.config.listen);
        let at = Serving {
            http: listen.http,
            https: Some(listen.https),
        };
        let beside = Beside {
            edge: self.edge.handle(),
            gone: self.gone.clone(),
            hurry: self.hurry.subscribe(),
            within: leaving_for(&self.config) + PATIENCE,
        };
        let serving = predecessor.serving(at, beside);
        if let Err(why) = serving.await {
            self.stop().await?;
            return Err(why);
        }
        notify(&[NotifyState::Ready]);
        if let Some(Begun {
            at,
            failed,
            leaving,
        }) = self.begun.take()
        {
            self.leaving = leaving;
            match &failed {
                None => self.tell(Level::Info, "box.handover", taken_over()).await,
                Some(why) => {
                    self.tell(Level::Warning, "box.handover_failed", stays(why))
                        .await
                }
            }
            self.desk.ended(at, failed);
        }
        Ok(self)
    }

    /// Serves until it is told to stop, or another one has taken its place.
    ///
    /// # Errors
    /// That a part panicked that it cannot do without.
    pub async fn go_on(mut self, signals: &mut Signals) -> Result<(), String> {
        loop {
            let wants_to_end = async {
                match &self.control {
                    Some(control) => control.wants_to_end().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = signals.stop() => return self.stop().await,
                // Systemd starts what ends; nothing here can make a part anew that panicked.
                () = wants_to_end => return self.stop().await,
                () = self.desk.asked() => {}
            }
            match self.hand_over(signals).await {
                Passed::On(successor, at) => return self.leave(*successor, at, signals).await,
                Passed::Stays => {}
                Passed::Stopped => return self.stop().await,
            }
        }
    }

    /// Ends it in order: the edge's requests first.
    async fn stop(self) -> Result<(), String> {
        notify(&[NotifyState::Stopping]);
        let limit = self.settings().drain.daemon;
        let mut gone = self.gone.subscribe();
        // Who handed over ends with this one, and has the same time for what it still serves, but for a moment.
        self.hurry.send_replace(Some(limit * 9 / 10));
        let before = async { drop(tokio::time::timeout(limit, gone.wait_for(|gone| *gone)).await) };
        tokio::join!(self.edge.drain(limit), before);
        let ended = match self.control {
            Some(control) => control.end().await,
            None => Ok(()),
        };
        self.tasks.finish(FINISH).await;
        ended
    }

    async fn hand_over(&mut self, signals: &mut Signals) -> Passed {
        let began = UnixMs::now();
        self.desk.begins(began);
        self.config = self.settings();
        let leaving = 1 + if *self.gone.borrow() { 0 } else { self.leaving };
        // Where even this one is not seen to answer, the other one cannot be held to it.
        let http = self.kept.listen(&self.config.listen).http;
        let is_seen = self.answers(http).await.inspect_err(|why| {
            tracing::warn!(
                why,
                "whether another one answers cannot be seen from here, as this one is not seen to"
            );
        });
        let program = self.program.clone();
        tracing::info!(program = %program.display(), "another Freehold is to take over");
        let started = match leaving > handover::MOST_LEAVING {
            true => Err(format!(
                "{} daemons still serve what they had before the last handovers, and each holds memory: wait until the first of them is gone, at most {} s",
                leaving - 1,
                leaving_for(&self.config).as_secs()
            )),
            false => self.start_from(&program, signals).await,
        };
        let ready = started.and_then(|mut one| one.is_there().map(|()| one));
        let mut successor = match ready {
            Ok(successor) => successor,
            Err(_) if signals.is_told => return Passed::Stopped,
            Err(why) => {
                tracing::error!(
                    why,
                    "the other Freehold cannot take over; this one serves on"
                );
                let words = stays(&why);
                self.tell(Level::Warning, "box.handover_failed", words)
                    .await;
                self.desk.ended(began, Some(why));
                return Passed::Stays;
            }
        };
        if let Some(control) = self.control.take()
            && let Err(error) = control.end().await
        {
            tracing::error!(%error, "the control plane ended by itself during a handover");
        }
        crash_point::hit(Step::LetGo.point());
        if Sabotage::EarlyEnd.is_on()
            && let Ok(closed) = Closed::new(&self.config, &self.kept)
        {
            let ended = std::mem::replace(&mut self.edge, closed.edge);
            ended.drain(Duration::ZERO).await;
        }
        let mut failed: Option<String> = None;
        loop {
            let word = Word::Take {
                began,
                failed: failed.clone(),
                leaving,
            };
            // The program that ran before has nobody behind it, and had the box: it is not held to a look.
            let (within, is_held) = match failed {
                None => (handover::SERVING_WITHIN, is_seen.is_ok()),
                Some(_) => (handover::BACK_WITHIN, false),
            };
            let passed = tokio::select! {
                passed = self.pass(&mut successor, word, within, is_held) => passed,
                () = signals.stop() => Err("it was told to stop".into()),
            };
            let why = match passed {
                Ok(at) => return Passed::On(Box::new(successor), at),
                Err(why) => why,
            };
            successor.end().await;
            tracing::error!(
                why,
                "the other Freehold did not take over; the program that ran before takes the box back, the edge serves meanwhile"
            );
            if failed.is_some() {
                signals.stop_within(handover::AGAIN).await;
            }
            failed.get_or_insert(why);
            successor = loop {
                if signals.is_told {
                    return Passed::Stopped;
                }
                match self.start_from(Path::new(OURSELVES), signals).await {
                    Ok(successor) => break successor,
                    Err(why) => tracing::error!(why, "the box is not taken back yet; trying again"),
                }
                signals.stop_within(handover::AGAIN).await;
            };
        }
    }

    async fn start_from(&self, program: &Path, signals: &mut Signals) -> Result<Successor, String> {
        let mut successor = Successor::start(
            program,
            &self.program,
            &self.arguments,
            &self.config.data_dir,
            &self.kept,
        )
        .await?;
        let checked = tokio::select! {
            checked = successor.is_well() => checked,
            () = signals.stop() => Err("this one was told to stop meanwhile".into()),
        };
        match checked {
            Ok(()) => Ok(successor),
            Err(why) => {
                successor.end().await;
                Err(why)
            }
        }
    }

    /// Lets the successor take the box, and makes sure that it answers everybody; else connections are taken here again.
    async fn pass(
        &mut self,
        successor: &mut Successor,
        word: Word,
        within: Duration,
        is_held: bool,
    ) -> Result<Serving, String> {
        let at = successor.take(word, within).await?;
        self.edge.close().await;
        crash_point::hit(Step::Closed.point());
        let answered = match is_held {
            true => self.answers(at.http).await,
            false => Ok(()),
        };
        if answered.is_err()
            && let Err(error) = self.edge.open()
        {
            tracing::error!(%error, "the edge cannot take connections again");
        }
        answered.map(|()| at)
    }

    /// Whether whoever takes connections there answers.
    async fn answers(&self, http: SocketAddr) -> Result<(), String> {
        let proxies = !self.config.listen.proxy_protocol.is_empty();
        front_door::answers(http, proxies).await
    }

    /// Serves what it has to its end; the box is the successor's, which takes connections there.
    async fn leave(
        mut self,
        mut successor: Successor,
        at: Serving,
        signals: &mut Signals,
    ) -> Result<(), String> {
        if let Some(pid) = successor.pid() {
            notify(&[NotifyState::MainPid(pid)]);
        }
        crash_point::hit(Step::Told.point());
        successor.confirm().await;
        tracing::info!("another Freehold has taken over; this one serves what it has to its end");
        let (heard, mut mouth, mut living) = successor.divided();
        let edge = self.edge.handle();
        // The release before takes no word after this for news, but for the end.
        let hears = at.https.is_some() && !Sabotage::NoNews.is_on();
        let mut tally = Tally::new(edge.clone(), self.written.borrow().as_deref());
        let limit = leaving_for(&self.config);
        let mut gone = self.gone.subscribe();
        if self.kept.is_elsewhere(at) {
            self.take_last_comers().await;
        }
        // Whoever waits in them is the other one's.
        drop(self.kept);
        let left = async {
            match Sabotage::AbruptHandover.is_on() {
                false => {
                    let hurried = hurried(self.hurry.subscribe());
                    self.edge.leave_to_successor(limit, hurried).await;
                }
                true => self.edge.drain(Duration::ZERO).await,
            }
            self.tasks.finish(FINISH).await;
            // It tells for the one before it, too, which may have longer to go.
            drop(gone.wait_for(|gone| *gone).await);
        };
        let told = async {
            loop {
                tokio::time::sleep(handover::TOLD_EVERY).await;
                if hears {
                    tally.tell(&mut mouth).await;
                }
            }
        };
        let told_to_stop = async {
            signals.stop().await;
            self.hurry.send_replace(Some(self.config.drain.daemon));
            std::future::pending::<()>().await;
        };
        let too_late = async {
            let within = hurried(self.hurry.subscribe()).await;
            tokio::time::sleep(within + FINISH).await;
        };
        let beside = async {
            tokio::join!(heard.follow(&edge, &self.hurry), told, told_to_stop);
        };
        tokio::select! {
            () = left => {}
            () = beside => {}
            () = too_late => {}
            // Told to stop, or crashed: systemd waits for the last of us, and starts it anew.
            () = living.ended() => return Ok(()),
        }
        if hears {
            drop(tokio::time::timeout(handover::TOLD_WITHIN, tally.tell(&mut mouth)).await);
        }
        Ok(())
    }

    /// The successor takes no connections where this one did: those who came there before it was known are taken here.
    async fn take_last_comers(&mut self) {
        if let Err(error) = self.edge.open() {
            tracing::error!(%error, "who came to an address that is given up is not served");
            return;
        }
        tokio::time::sleep(handover::LAST_COMERS).await;
        self.edge.close().await;
    }

    /// The settings in force.
    fn settings(&self) -> Arc<Config> {
        match &self.control {
            Some(control) => control.settings(),
            None => Arc::clone(&self.config),
        }
    }

    async fn tell(&self, level: Level, kind: &'static str, words: String) {
        let Some(control) = &self.control else { return };
        let event = NewEvent::new(kind, level, "box", words);
        let written = control
            .state()
            .write(move |tx| events::record(tx, UnixMs::now(), &event))
            .await;
        if let Err(error) = written {
            tracing::warn!(%error, "how the handover ended could not be written down");
        }
    }
}

impl Closed {
    fn new(config: &Config, kept: &Kept) -> Result<Self, String> {
        let (failed, troubles) = mpsc::channel(TROUBLES);
        let limits = settings::limits(config);
        let edge = Edge::start_closed(kept.listeners()?, Arc::default(), limits, failed)
            .map_err(|e| format!("the edge did not start: {e}"))?;
        Ok(Self { edge, troubles })
    }
}

/// What came of a handover.
enum Passed {
    On(Box<Successor>, Serving),
    Stays,
    /// Told to stop before anybody had the box again.
    Stopped,
}

/// How long what an edge has is served on when another one takes new connections.
fn leaving_for(config: &Config) -> Duration {
    config.drain.replica.max(config.drain.daemon)
}

/// Resolves once there is only so much time left.
async fn hurried(mut hurry: watch::Receiver<Option<Duration>>) -> Duration {
    let within = hurry.wait_for(Option::is_some).await.map(|within| *within);
    match within {
        Ok(Some(within)) => within,
        // Nobody can say so any more.
        _ => std::future::pending().await,
    }
}

/// Tells systemd; elsewhere this is nothing.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}

fn taken_over() -> String {
    format!(
        "Freehold {} has taken over from the one that ran before; no request was lost to it.",
        env!("CARGO_PKG_VERSION")
    )
}

fn stays(why: &str) -> String {
    format!(
        "Another Freehold was to take over and did not; the one that ran before serves on. It said: {why}"
    )
}
