//! What the end-to-end tests stand on: the real daemon under a socket holder,
//! and the real servers around it, each started on loopback and ended with
//! its value.
//!
//! Nothing here knows the daemon's insides: it is driven by its binary, its
//! config file, HTTPS and a browser, as a person would. A server that is
//! missing on this machine fails the test; `tests/rig` installs them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::let_underscore_must_use
)]

pub mod acme;
pub mod address;
pub mod authority;
pub mod browser;
pub mod census;
pub mod commit;
pub mod counts;
pub mod disk;
pub mod documented;
pub mod door;
pub mod edge;
pub mod freehold;
pub mod git_host;
pub mod load;
pub mod port;
pub mod process;
pub mod registry;
pub mod s3;
pub mod sweep;
pub mod terminal;
pub mod until;
pub mod upstream;
pub mod wire;
