//! `freehold man`: the manual, a page a verb, made from the same tree as `--help`.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use serde_json::json;

use super::Global;
use super::output::{self, Fail};

/// Manual pages
///
/// Without a folder the page freehold(1) is printed; with one, all pages are written there, one for every verb:
/// freehold.1, freehold-app.1, freehold-app-create.1 and so on. install.sh does this for the box.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold man | man -l -\n  sudo freehold man /usr/local/share/man/man1     # then: man freehold-deploy"
)]
pub struct Arguments {
    /// The folder to write all pages to
    dir: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// That a page cannot be written.
pub fn run(global: &Global, given: &Arguments) -> Result<(), Fail> {
    let mut tree = super::command().disable_help_subcommand(true);
    tree.build();
    let pages = pages(&tree)?;
    let Some(dir) = &given.dir else {
        let first = pages.into_iter().next().map(|(_, page)| page);
        let page = first.unwrap_or_default();
        output::either(global.json, &json!({ "page": page }), || {
            output::line(page.trim_end());
        });
        return Ok(());
    };
    std::fs::create_dir_all(dir).map_err(|e| unwritten(dir, &e))?;
    let mut files = Vec::new();
    for (name, page) in &pages {
        let file = dir.join(name);
        std::fs::write(&file, page).map_err(|e| unwritten(&file, &e))?;
        files.push(file);
    }
    output::either(global.json, &json!({ "files": files }), || {
        output::line(format!("{} pages are in {}.", files.len(), dir.display()));
    });
    Ok(())
}

fn unwritten(path: &Path, error: &std::io::Error) -> Fail {
    Fail::usage(format!("{} cannot be written: {error}", path.display()))
}

/// File name and text of every page, the verb above before those below it.
fn pages(command: &Command) -> Result<Vec<(String, String)>, Fail> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .replace(' ', "-");
    let mut text = Vec::new();
    Man::new(command.clone())
        .title(name.to_uppercase())
        .manual("Freehold")
        .source(format!("Freehold {}", env!("CARGO_PKG_VERSION")))
        .render(&mut text)
        .map_err(|e| Fail::internal(format!("the page of {name} was not made: {e}")))?;
    let mut all = vec![(
        format!("{name}.1"),
        String::from_utf8_lossy(&text).into_owned(),
    )];
    for below in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        all.extend(pages(below)?);
    }
    Ok(all)
}
