//! `/api/v1`: one file a resource.

pub mod account;
pub mod app_logs;
pub mod apps;
pub mod audit;
pub mod backups;
pub mod certificate;
pub mod checks;
pub mod databases;
pub mod deploys;
pub mod doctor;
pub mod domains;
pub mod env;
pub mod events;
pub mod health;
pub mod jobs;
pub mod metrics;
pub mod openapi;
pub mod overview;
pub mod policies;
pub mod second_factor;
pub mod session;
pub mod sessions;
pub mod status;
pub mod targets;
pub mod tokens;
pub mod users;
