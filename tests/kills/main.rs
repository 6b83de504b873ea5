//! kill -9 of the daemon at every line of what people do to an app: rollback, other variables, more or fewer replicas, a
//! folder of files, removal. One verb, and the daemon dies at each of its lines in turn, so that each of its starts has
//! to take up what the line before left; in the end it is as if it had never died. The same around the states of the jobs
//! that do it (`jobs`). And kills at random under load, with a list of all that was acknowledged: a few here, many in
//! `tests/soak`.
//!
//! First light kills at the lines of a deploy from git, `deploy_engine` at the ends of deploys.
#![cfg(feature = "crash-points")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod by_hand;
mod bystander;
mod changes;
mod jobs;
mod ledger;
mod place;
mod releases;
mod soak;
mod verbs;
