//! Deploys from end to end on a real database and real git, with an engine
//! that does as it is told.

mod counts;
mod crash;
mod deadlines;
mod engine;
mod flow;
mod git;
mod kept;
mod order;
mod reuse;
mod settings;
mod settle;
mod static_folder;
mod world;
