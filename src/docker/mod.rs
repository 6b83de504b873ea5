//! The container engine, as Freehold sees it: the one place that names `bollard`.
//!
//! Invariants: every call has its own timeout; every answer is turned into our
//! own types; a stream that breaks off is an error, never a short success.
//! No policy lives here: what should run, how often to retry and what to
//! remove is decided by `supervise`, `deploy` and `backup`.

mod build;
mod cache;
mod cap;
mod container;
mod context;
mod engine;
mod error;
mod events;
mod exec;
mod facts;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod hijack;
mod ignore;
mod image;
mod logs;
mod network;
mod progress;
mod stream;
mod usage;
mod volume;
mod wire;

pub use build::{BuildError, BuildRequest, Builder};
pub use cache::CacheRecord;
pub use container::{Inspected, Listed, LogCap, NewContainer, Phase, Restart, VolumeMount};
pub use context::{Packed, pack_context};
pub use engine::{Engine, EngineVersion};
pub use error::EngineError;
pub use events::{ContainerEvent, EngineEvent, EventStream};
pub use exec::NewExec;
pub use facts::EngineFacts;
pub use hijack::Attached;
pub use ignore::Ignore;
pub use image::{Credentials, Image};
pub use logs::LogQuery;
pub use network::Network;
pub use stream::{Chunk, ChunkStream, Input, LineStream, LogLine};
pub use usage::DiskUsage;
pub use volume::Volume;
