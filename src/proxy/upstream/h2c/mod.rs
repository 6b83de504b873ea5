//! The leg to a target that speaks HTTP/2 without TLS (RFC 9113, 3.3): its connections shared, a stream for each request.
//!
//! A stream is moved by the task of the request it serves; only the frames of a connection have a task of their own.
//! Streams are counted here, within what the target allows, so that none waits inside a connection that is full. Windows
//! are sized so that an answer nobody reads holds up no other on its connection.
mod answer;
mod ask;
mod connections;
mod frames;
mod upload;

pub(in crate::proxy) use ask::ask;
pub(in crate::proxy) use connections::{Connections, MOST, OF_SOURCE, Slot};
#[cfg(freehold_fuzz)]
pub(in crate::proxy) use frames::AnswerFrames;
pub(in crate::proxy) use upload::Progress;
