//! The tree of verbs, walked: every verb is explained, has examples that parse, and prints for programs.

use clap::{ArgAction, Command};

use super::command;

/// Every verb that does something, with its words: `["app", "create"]`.
pub(super) fn verbs() -> Vec<(Vec<String>, Command)> {
    fn walk(path: &[String], command: &Command, found: &mut Vec<(Vec<String>, Command)>) {
        if !command.is_subcommand_required_set() && !path.is_empty() {
            found.push((path.to_vec(), command.clone()));
        }
        for below in command.get_subcommands() {
            if below.get_name() != "help" {
                let path = [path, &[below.get_name().to_owned()]].concat();
                walk(&path, below, found);
            }
        }
    }
    let mut tree = command();
    tree.build();
    let mut found = Vec::new();
    walk(&[], &tree, &mut found);
    found
}

/// The lines under "Examples:", without their comments.
pub(super) fn examples(command: &Command) -> Vec<String> {
    let text = command.get_after_help().map(ToString::to_string);
    let text = text.unwrap_or_default();
    let Some((_, below)) = text.split_once("Examples:\n") else {
        return Vec::new();
    };
    below
        .lines()
        .map(|l| l.split_once("  #").map_or(l, |(typed, _)| typed).trim())
        .map(str::to_owned)
        .collect()
}

/// A line as a shell takes it apart: words, quotes, one level of pipes and redirects.
fn words(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote) = (None::<String>, None);
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | ' ') => {
                if let (Some(w), Some(last)) = (word.take(), commands.last_mut()) {
                    last.push(w);
                }
                if c == '|' {
                    commands.push(Vec::new());
                }
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "an open quote: {line}");
    commands
}

/// What follows `freehold` in the example, as far as it is the command's own.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.trim_start_matches("source <(").trim_end_matches(')');
    words(line).into_iter().find_map(|command| {
        let at = command.iter().position(|w| w == "freehold")?;
        let before = &command[..at];
        assert!(
            before.iter().all(|w| w == "sudo" || w.contains('=')),
            "{line}"
        );
        let own = &command[at..];
        let end = own.iter().position(|w| w == "<" || w == ">");
        Some(own[..end.unwrap_or(own.len())].to_vec())
    })
}

#[test]
fn a7_every_verb_has_two_examples_and_each_parses() {
    let mut wrong = Vec::new();
    for (path, verb) in verbs() {
        let name = path.join(" ");
        let all = examples(&verb);
        if all.len() < 2 {
            wrong.push(format!("{name} has {} examples", all.len()));
        }
        let mut own = 0;
        for example in all {
            let Some(arguments) = arguments(&example) else {
                wrong.push(format!("{name}: no freehold in {example:?}"));
                continue;
            };
            match command().try_get_matches_from(&arguments) {
                Ok(matches) => {
                    let (mut at, mut reached) = (&matches, Vec::new());
                    while let Some((verb, below)) = at.subcommand() {
                        reached.push(verb.to_owned());
                        at = below;
                    }
                    own += usize::from(reached == path);
                }
                Err(error) => wrong.push(format!("{name}: {example}: {error}")),
            }
        }
        // `login` may show what comes after it; its own come first.
        if own < 2 {
            wrong.push(format!("{name} has {own} examples of its own"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a7_every_verb_and_option_is_explained_and_takes_json() {
    let mut wrong = Vec::new();
    for (path, verb) in verbs() {
        let name = path.join(" ");
        let about = verb
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        if about.is_empty() || about.ends_with('.') || about.contains('\n') {
            wrong.push(format!("{name} is explained as {about:?}"));
        }
        if !verb.get_arguments().any(|a| a.get_id() == "json") {
            wrong.push(format!("{name} takes no --json"));
        }
        for argument in verb.get_arguments() {
            let automatic = matches!(
                argument.get_action(),
                ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
            );
            let help = argument.get_help().map(ToString::to_string);
            if !automatic && help.is_none_or(|h| h.is_empty()) {
                wrong.push(format!("{name}: {} is not explained", argument.get_id()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What ends data is only asked for through `confirm`, and each such verb has `--yes`.
#[test]
fn a7_every_verb_that_ends_something_asks() {
    let all = verbs();
    let asks = |path: &str| {
        let path: Vec<&str> = path.split(' ').collect();
        let (_, verb) = all.iter().find(|(p, _)| *p == path).unwrap();
        verb.get_arguments().any(|a| a.get_id() == "yes")
    };
    for destructive in [
        "app rm",
        "db rm",
        "target rm",
        "backup restore",
        "backup confirm",
        "user rm",
        "token rm",
        "check rm",
        "domain rm",
        "env unset",
        "db detach",
    ] {
        assert!(asks(destructive), "{destructive} has no --yes");
    }
    // A verb called rm is one of them.
    for (path, verb) in &all {
        if path.last().is_some_and(|last| last == "rm") {
            assert!(
                verb.get_arguments().any(|a| a.get_id() == "yes"),
                "{path:?}"
            );
        }
    }
}

#[test]
fn a7_the_tree_is_sound() {
    command().debug_assert();
}

/// What is told between backticks: `freehold …` in what the program says, the reference of errors, the README.
fn told() -> Vec<(String, String)> {
    fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false => found.push(path),
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("docs/errors.md")];
    walk(&root.join("src"), &mut files);
    let mut told = Vec::new();
    for file in files {
        let source = file.extension().is_some_and(|e| e == "rs");
        if !source && file.extension().is_none_or(|e| e != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        // Tests say what is wrong on purpose.
        let text = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        if file.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        // A sentence goes on over the end of a line.
        let mut whole = String::new();
        for line in text.lines() {
            let line = match source {
                true => line.trim_start(),
                // What is typed in the first column of the table of errors is the mistake.
                false => line.strip_prefix("| ").map_or(line, |row| {
                    row.split_once(" | ").map_or(row, |(_, rest)| rest)
                }),
            };
            if source && line.starts_with("//") {
                continue;
            }
            whole.push_str(line.strip_suffix('\\').unwrap_or(line));
            if !line.ends_with('\\') {
                whole.push('\n');
            }
        }
        for line in whole.lines() {
            let odd = line.split('`').skip(1).step_by(2);
            let typed = odd.map(|t| t.trim_start_matches("sudo "));
            let typed = typed.filter(|t| t.starts_with("freehold "));
            told.extend(typed.map(|t| (file.display().to_string(), t.to_owned())));
        }
    }
    told
}

/// Whether the command line knows what is told: the verb and the flags, whatever stands for names.
fn is_known(typed: &str) -> Result<(), String> {
    use clap::error::ErrorKind;
    let typed = typed.split(" < ").next().unwrap_or_default();
    let stands_for = |word: &str| {
        let shouted = word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase());
        shouted || word.contains('{')
    };
    let mut words: Vec<&str> = Vec::new();
    for word in typed.split_whitespace().filter(|w| *w != "…") {
        words.push(if stands_for(word) { "1" } else { word });
    }
    // A flag that is named alone wants a value.
    for more in [&[][..], &["1"]] {
        let tried = command().try_get_matches_from(words.iter().chain(more));
        let Err(error) = tried else { return Ok(()) };
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return Ok(()),
            ErrorKind::InvalidValue if more.is_empty() => {}
            _ => return Err(error.to_string()),
        }
    }
    Ok(())
}

#[test]
fn a7_whatever_is_told_to_be_typed_can_be() {
    assert!(is_known("freehold db rm {0} --confirm {0}").is_err());
    assert!(is_known("freehold db remove NAME").is_err());
    assert!(is_known("freehold app set NAME --git").is_ok());
    let told = told();
    assert!(told.len() > 100, "{}", told.len());
    let wrong: Vec<String> = told
        .iter()
        .filter_map(|(file, typed)| {
            let why = is_known(typed).err()?;
            let why = why.lines().next().unwrap_or_default().to_owned();
            Some(format!("{file}: `{typed}`: {why}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
