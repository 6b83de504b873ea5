//! The leg to a target: HTTP/1.1 written and read by hand, in the task of the request it serves; or HTTP/2 (`h2c`).
//!
//! What comes from an upstream is read strictly: an answer whose end could be understood in two ways is no answer.
//! A connection goes back to the pool only after an answer that ended where it said, with nothing behind it.
mod answer_body;
mod answer_head;
mod chunked;
mod connection;
#[cfg(freehold_fuzz)]
pub(super) mod fuzz;
pub(super) mod h2c;
mod pace;
mod pool;
mod request_body;
mod send;
mod timer;
mod turns;

pub(super) use answer_body::{AnswerBody, BodyFailure};
pub(super) use answer_head::AnswerHead;
pub(super) use connection::{Connection, connect};
pub(super) use pool::{Pool, told_timeout};
pub(super) use request_body::{BodySource, Coding, RequestBody};
pub(super) use send::{SendFailure, send};
pub(super) use timer::Timer;
pub(super) use turns::{PATIENCE, Turn, Turns};
