//! Fuzz target of the settings files.

use super::load::Sources;

/// The first line that says `---` parts `config.toml` from a file of `routes.d`. A mistake names a line that is there.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (main, routes) = text.split_once("\n---\n").unwrap_or((text, ""));
    let lines = main.split('\n').count().max(routes.split('\n').count());
    if let Err(error) = Sources::of_text(main, routes).parse() {
        assert!(
            error.line.is_none_or(|line| (1..=lines).contains(&line)),
            "{error}"
        );
        assert!(!error.what.is_empty() && !error.remedy.is_empty());
    }
}
