//! Where the daemon's log goes: JSON lines under systemd's journal and where they are asked for, else plain
//! text. `FREEHOLD_LOG` sets the level (`info` unless given).

use tracing_subscriber::EnvFilter;

/// Starts logging, once per process.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_env("FREEHOLD_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,bollard=warn,hyper=warn,rustls=warn"));
    let json = json || std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was already started");
    }
}
