//! What the domains ask of each other, each port in a file named after who asks.

pub mod backup;
mod checks;
pub mod deploy;
pub mod doctor;
pub mod monitor;
mod switching;
