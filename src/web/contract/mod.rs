//! What every operation of the API keeps to, said once and read from the handlers' own types.
//!
//! `describe` learns from a handler's arguments and answer what it takes and gives; a
//! handler with a type that says nothing of itself does not compile as a row of the
//! table. `document` writes that down as OpenAPI, `bounds` refuses what it does not
//! name, `tags` and `rate` are layers around handlers, which know nothing of them.

mod bounds;
mod describe;
mod document;
mod rate;
mod tags;
mod turns;

pub use bounds::refuse_unknown;
pub use describe::{Described, Operation, Schemas};
pub use document::{Again, Compared, again, compared, document, tagged};
pub use rate::{Rates, count};
pub use tags::{Shown, refuse_condition, tag, unless_changed};
pub use turns::{Turns, in_turn, thing};
