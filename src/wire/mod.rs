//! The API's types, shared by the pages' handlers, the API and the command line.
//!
//! Field names are part of the contract (`/api/v1`, `--json`): they are added
//! to, not changed. Times are unix milliseconds in fields ending in `_ms`.

pub mod apps;
pub mod audit;
pub mod backups;
pub mod checks;
pub mod databases;
pub mod deploys;
pub mod doctor;
pub mod handover;
pub mod jobs;
pub mod listing;
pub mod metrics;
pub mod overview;
pub mod policies;
pub mod problem;
pub mod routes;
pub mod second_factor;
pub mod sessions;
pub mod status;
pub mod terminal;
pub mod tokens;
pub mod users;
