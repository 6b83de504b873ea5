//! Small foundations that know nothing of Freehold's domains.
//!
//! Everything here is usable without a runtime, a database or an engine, save
//! for `shutdown`, which owns tokio tasks.

pub mod atomic_file;
pub mod cidr;
pub mod clock;
pub mod crash_point;
pub mod hearsay;
pub mod ids;
pub mod log_levels;
pub mod log_share;
pub mod marked;
pub mod mono;
pub mod policies;
pub mod protocol;
pub mod retry;
pub mod sabotage;
pub mod said;
pub mod secret;
pub mod shutdown;
pub mod units;
