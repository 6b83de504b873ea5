//! The containers that should exist, and the one hand that makes it so.
//!
//! Every container of every kind (replica, job, database, scratch) is a row
//! first. A pure `plan` compares rows with what the engine shows; one executor
//! alone creates, starts, stops and removes. Labels on the engine's objects
//! carry the installation's id, the row and the hash of the spec, so a new
//! daemon finds its containers again without touching them.
//!
//! Invariants: nothing without our installation's label is ever touched; a
//! container is never recreated while its spec is unchanged; when the engine is
//! away the last knowledge stands and says so.
//! Left to others: when to switch traffic and how long to drain (deploy), what
//! a database is (postgres).

mod act;
mod check;
mod deaths;
mod errands;
mod error;
mod executor;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod hang_up;
mod health;
mod health_h2c;
mod job;
mod link;
mod live;
mod names;
mod network;
mod not_ready;
mod note;
mod piped;
mod piped_input;
mod plan;
mod ready;
mod replace;
mod run;
mod shared;
mod spec;
mod store;
mod subnet;
mod supervisor;
mod survey;
mod tell;
mod terminal;
mod unit;
#[cfg(test)]
mod unit_tests;

pub use act::crash_points;
pub use deaths::Death;
pub use error::SuperviseError;
pub use health::{DOUBT, answers};
pub use live::{EngineState, Exit, Live, State};
pub use not_ready::{Cause, Listening, NotReady};
pub use run::{ExecOutput, Interactive, JobEnd, Piped, TerminalSize};
pub use spec::{Health, Kind, Log, Mount, Spec};
pub use supervisor::{ContainerRow, Supervisor};
