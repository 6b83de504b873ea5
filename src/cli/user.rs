//! `freehold user`: the setup link, made on the box.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Global;
use super::client::Client;
use super::output::{self, Fail};

/// The owner and sign-in
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo freehold user reset      print a new one-time setup link"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a one-time link by which the owner's password is set
    Reset,
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, arguments: Arguments) -> Result<(), Fail> {
    match arguments.verb {
        Verb::Reset => {
            let made: Value = client
                .send(http::Method::POST, "/api/v1/setup-link", &Value::Null)
                .await?;
            if global.json {
                output::json(&made);
            } else {
                let text = |key: &str| {
                    made.get(key)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                output::line(format!("{}{}", text("address"), text("path")));
                output::line("The link works once, for a day.");
            }
            Ok(())
        }
    }
}
