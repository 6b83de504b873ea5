//! The pieces pages are made of. Each renders itself and escapes what it is given.

pub mod badge;
pub mod field;
pub mod graph;
pub mod older;
pub mod over;
pub mod said;
pub mod strip;
pub mod when;

pub use badge::{Badge, Tone};
pub use field::Field;
pub use graph::{Graph, Spark};
pub use older::Older;
pub use over::Over;
pub use said::said;
pub use strip::Strip;
pub use when::When;
