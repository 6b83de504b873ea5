//! The load rig: an open-loop generator that accounts for every request, whatever became of it.
//!
//! `schedule` says when a request is due, `load` has it sent then, `ask` sends it once over what `door` holds and compares
//! every byte, `streams` keeps others open, `goodbyes` sees how connections of HTTP/2 are ended, `ledger` notes all of it, `report` adds up and names the first failure with
//! what the edge's access log (`edge_log`) says of it. The other end is `tests/rig_app`. Nothing here retries, reconnects
//! or forgives; what may be forgiven (an unsafe request in flight on a replica that is killed) each test says itself.

pub mod ask;
pub mod door;
pub mod edge_log;
pub mod failure;
pub mod goodbyes;
pub mod ledger;
pub mod load;
pub mod report;
pub mod scale;
pub mod schedule;
pub mod streams;

#[path = "../../rig_app/src/frames.rs"]
pub mod frames;
#[path = "../../rig_app/src/pattern.rs"]
pub mod pattern;
