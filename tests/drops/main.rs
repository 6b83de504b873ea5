//! Nothing drops: what clients notice while an app is deployed, scaled, rolled back, and while its replicas die, under a
//! load of which every request is accounted for. A module a clause of the issue; figures go to `target/rig`.
//!
//! `tests/run` runs it short, `tests/soak` large (`FREEHOLD_SOAK=1`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/rig/mod.rs"]
mod rig;
#[path = "../support/mod.rs"]
mod support;

mod deaths;
mod n1_edge;
mod n1_liar;
mod n1_lies;
mod n2_deploys;
mod n3_engine;
mod n3_replicas;
mod n3_told;
mod n4_handover;
mod n4_held;
mod n4_listen;
mod n4_lives;
mod own_engine;
mod place;
