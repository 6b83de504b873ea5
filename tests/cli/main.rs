//! A7: the command line as scripts and people meet it, against the real daemon without an engine.

mod asked;
mod doctor;
mod events;
mod exits;
mod golden;
mod page;
mod shells;
mod typed;
mod words;

#[path = "../support/documented.rs"]
mod documented;
#[path = "../support/quiet.rs"]
mod quiet;
#[path = "../support/served.rs"]
mod served;
#[path = "../support/terminal.rs"]
mod terminal;
