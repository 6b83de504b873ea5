//! Freehold: one plain Linux server as its owner's own platform.
//!
//! SQLite holds what should be, container labels say what is, one reconciler
//! closes the difference, and the proxy serves from an immutable snapshot of
//! the result. ARCHITECTURE.md has the map.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::let_underscore_must_use
    )
)]
#![warn(clippy::await_holding_lock)]

pub mod access_log;
pub mod apps;
pub mod audit;
pub mod backup;
pub mod base;
pub mod certs;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod db;
pub mod deploy;
pub mod docker;
pub mod doctor;
pub mod events;
#[cfg(freehold_fuzz)]
pub mod fuzz;
pub mod git;
pub mod host;
pub mod http_client;
pub mod jobs;
pub mod monitor;
pub mod objects;
pub mod postgres;
pub mod proxy;
pub mod routing;
pub mod supervise;
pub mod users;
pub mod web;
pub mod wire;
