//! `freehold completions`: what a shell reads to complete verbs and options.

use clap::{Args, ValueEnum};
use clap_complete::Shell;
use serde_json::json;

use super::Global;
use super::output::{self, Fail};

/// Completions for a shell
///
/// install.sh puts them where bash, zsh and fish look. On a laptop, put them there once yourself.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  source <(freehold completions bash)                                   # this bash\n  freehold completions bash > ~/.local/share/bash-completion/completions/freehold\n  freehold completions zsh > ~/.zfunc/_freehold                         # with ~/.zfunc in fpath\n  freehold completions fish > ~/.config/fish/completions/freehold.fish"
)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: For,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

/// Runs the verb.
///
/// # Errors
/// Never, in this form; kept for the ways verbs are run.
pub fn run(global: &Global, given: &Arguments) -> Result<(), Fail> {
    let (shell, name) = match given.shell {
        For::Bash => (Shell::Bash, "bash"),
        For::Zsh => (Shell::Zsh, "zsh"),
        For::Fish => (Shell::Fish, "fish"),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "freehold", &mut script);
    let script = String::from_utf8_lossy(&script);
    output::either(
        global.json,
        &json!({ "shell": name, "script": script }),
        || output::line(script.trim_end()),
    );
    Ok(())
}
