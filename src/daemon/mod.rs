//! The daemon's life: what outlasts the control plane, which is everything that requests need, and its beginning and end.
//!
//! Order of start: config, data folder, lease, sockets, the edge, then the control plane (`control`), which wires the
//! rest; then the edge takes connections, and `READY=1`. Order of stop: the edge drains (5 s), the control plane ends,
//! what is queued stays queued. `handover` lets another Freehold take over without either.

mod about;
mod clock_watch;
mod connects;
mod control;
mod edge_watch;
mod findings;
mod handlers;
mod handover;
mod keeping;
mod key;
mod lease;
mod life;
mod logging;
mod ports;
mod publisher;
mod route_folders;
mod settings;
mod signals;
mod sockets;
mod start;
mod static_folders;
mod upstream_checks;
mod upstreams;
mod wanted;

use std::path::PathBuf;
use std::time::Duration;

use handover::taking;
use life::Life;
use signals::Signals;

/// What `freehold serve` was told.
#[derive(Clone, Debug)]
pub struct Start {
    /// The config file.
    pub config: PathBuf,
    /// Instead of the config's data folder.
    pub data_dir: Option<PathBuf>,
    /// The log as lines of JSON wherever it goes.
    pub json: bool,
    /// The place of another one, which has started this process, is to be taken.
    pub takes_over: bool,
}

/// Threads that may block at once beside the control plane's: the access log's writer, the ends of threads.
const BLOCKING: usize = 4;
/// Where the tests kill one of the two during a handover.
pub fn crash_points() -> Vec<String> {
    let all = handover::Step::ALL.iter();
    all.map(|step| step.point().to_owned()).collect()
}

/// Runs the daemon until it is told to stop, or another one has taken its place.
///
/// # Errors
/// A sentence that says why it could not start.
pub fn main(start: Start) -> Result<(), String> {
    logging::start(start.json);
    // One that takes the box back is started from /proc/self/exe, and would be called so.
    if let Err(error) = rustix::thread::set_name(c"freehold") {
        tracing::debug!(%error, "the process cannot be named");
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| "another crypto provider is already installed".to_owned())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING)
        .thread_name("life")
        .enable_all()
        .build()
        .map_err(|e| format!("the runtime did not start: {e}"))?;
    let done = runtime.block_on(live(start));
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

async fn live(start: Start) -> Result<(), String> {
    let mut signals = Signals::listen()?;
    if !start.takes_over {
        return Life::begin(&start).await?.go_on(&mut signals).await;
    }
    let (mut predecessor, kept) = taking::arrive()?;
    match Life::take_over(&start, &mut predecessor, kept, &mut signals).await {
        Ok(life) => life.confirmed(predecessor).await?.go_on(&mut signals).await,
        Err(why) => {
            predecessor.failed(&why).await;
            Err(why)
        }
    }
}
