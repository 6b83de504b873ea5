//! The edge of the running daemon, as its owner meets it: settings are edited while it serves, and what clients get and what
//! the app behind sees follows. The daemon is the real one, without an engine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
#[path = "../support/api.rs"]
mod api;
mod app;
#[path = "../support/authority.rs"]
mod authority;
mod behind;
mod checked;
mod client;
mod deployed;
mod figures;
mod folders;
mod guards;
mod policy_rows;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/quiet.rs"]
mod quiet;
mod table;
mod ways;
mod world;
