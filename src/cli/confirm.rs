//! The question before anything that ends data: the name has to be typed.
//!
//! On a terminal it is asked for; where nobody can type, `--yes` says it, or nothing happens.

use std::io::IsTerminal;

use super::output::{self, Fail};

/// Lets the caller go on once `name` was typed, or `yes` was given.
///
/// `what` is a sentence without its end: what will be gone.
///
/// # Errors
/// That the name was not typed, or nobody is there to type it: exit 2, and nothing was changed.
pub fn confirm(what: &str, name: &str, yes: bool) -> Result<(), Fail> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Fail::usage(format!(
            "{what}, and nobody is here to confirm it, so nothing was changed: give --yes to do it without asking"
        )));
    }
    let typed = output::ask(&format!("{what}. Type {name} to go on: "));
    match typed.trim() == name {
        true => Ok(()),
        false => Err(Fail::usage(format!(
            "\"{name}\" was not typed, so nothing was changed"
        ))),
    }
}
