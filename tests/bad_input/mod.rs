//! The table of bad inputs (`tests/bad_input.toml`) and what running it takes. Rows that need no engine are run by
//! `tests/bad_input.rs`, the others by `tests/bad_input_engine.rs`; `docs/errors.md` is made from all of them.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod ask;
pub mod census;
pub mod errors_page;
pub mod table;
