//! The box's settings: TOML in, a validated [`Config`] out.
//!
//! A missing file means the defaults. Every mistake names the file, the line,
//! the key and the remedy, and changes nothing: whoever watches the files keeps
//! the settings it had. `settings.rs` names every setting and its default,
//! `load.rs` reads and checks, `watch.rs` follows edits, `edits.rs` says what differs,
//! `waiting.rs` which of it needs a start.

mod edits;
mod error;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod kept;
mod load;
mod route;
mod settings;
pub mod units;
mod waiting;
mod watch;

pub use edits::Edit;
pub use error::ConfigError;
pub use route::{ConfiguredFolder, ConfiguredRoute, Tls, UpstreamAddress};
pub use settings::{
    AccessLog, Acme, Backup, Build, Checks, Config, Container, Dashboard, Database, Deploy, Docker,
    Drain, Git, Health, Hold, Limits, Listen, Network, Proxies, Timeouts, Trusted,
};
pub use waiting::Waiting;
pub use watch::{Change, ConfigWatch, watch};

#[cfg(test)]
mod tests;
