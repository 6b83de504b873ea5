//! An app's pages, a tab each.

pub mod act;
pub mod actions;
pub mod activity;
pub mod deploy;
pub mod deploy_log;
pub mod deploying;
pub mod deploys;
pub mod domains;
pub mod env;
pub mod head;
pub mod logs;
pub mod new;
pub mod overview;
pub mod policies;
pub mod run;
pub mod settings;
pub mod upload;
pub mod webhook;
