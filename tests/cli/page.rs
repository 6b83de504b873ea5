//! `docs/cli.md`, made from the tree of verbs and the golden files.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use freehold::cli::output::EXIT_CODES;
use serde_json::Value;

use super::golden;

const HEAD: &str = "\
# The command line

`freehold` is the daemon and its command line in one program. On the box it talks to the daemon's socket (root and the
group `freehold` may use it); from elsewhere to a box of [`freehold login`](#freehold-login), or to `FREEHOLD_HOST` with
`FREEHOLD_TOKEN`. This page is made from the program's own help; `freehold man DIR` writes the same as manual pages, and
`freehold completions SHELL` prints what bash, zsh and fish read.

## For programs

`--json` prints one JSON value on standard output, the same as the API's; verbs that stream (`logs`, `run`, `exec`,
`db psql`, `events --follow`) print one a line. Fields are added to, not changed; times are unix milliseconds in fields that
end in `_ms`. A failure is a JSON object on standard error: `type`, `title`, `detail`, `kind`, `exit`, and `remedy` where there
is one. Tables, colour and progress are for terminals alone: in a pipe text is plain and never cut. `NO_COLOR` and
`--color auto|always|never` are honoured.

What ends data, somebody's way in or a secret that is in use asks for the name to be typed; where nobody can type, it is
refused unless `--yes` is given.

";

fn page() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| exit code | |\n|---|---|\n");
    for (code, what) in EXIT_CODES {
        writeln!(text, "| {code} | {what} |").unwrap();
    }
    text.push_str("\n`run`, `exec` and `db psql` end with the exit code of what they ran.\n");
    let mut tree = freehold::cli::command();
    tree.build();
    text.push_str("\n## For every verb\n\n");
    let global: Vec<&Arg> = tree.get_arguments().filter(|a| a.is_global_set()).collect();
    options(&mut text, &global);
    for verb in tree.get_subcommands().filter(|c| c.get_name() != "help") {
        section(&mut text, &[verb.get_name()], verb);
    }
    text
}

fn section(text: &mut String, path: &[&str], verb: &Command) {
    let name = path.join(" ");
    let marks = if path.len() == 1 { "##" } else { "###" };
    writeln!(text, "\n{marks} freehold {name}\n").unwrap();
    let about = verb.get_long_about().or(verb.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let mut paragraphs = about.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    writeln!(text, "{first}.").unwrap();
    for paragraph in paragraphs {
        writeln!(text, "\n{}", paragraph.trim()).unwrap();
    }
    let acts = !verb.is_subcommand_required_set();
    if acts {
        let usage = verb.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace("freehold-", "");
        writeln!(text, "\n```\n{}\n```", usage.trim()).unwrap();
        let own: Vec<&Arg> = verb
            .get_arguments()
            .filter(|a| !a.is_global_set() && !a.is_hide_set())
            .filter(|a| !matches!(a.get_action(), ArgAction::Help | ArgAction::Version))
            .collect();
        if !own.is_empty() {
            text.push('\n');
            options(text, &own);
        }
    }
    let after = verb.get_after_help().map(ToString::to_string);
    let after = after.unwrap_or_default();
    let (before, examples) = after.split_once("Examples:\n").unwrap_or(("", &after));
    if !before.trim().is_empty() {
        writeln!(text, "\n```\n{}\n```", before.trim_end()).unwrap();
    }
    if acts && !examples.is_empty() {
        let lines: Vec<&str> = examples.lines().map(|l| l.trim_start()).collect();
        writeln!(text, "\n```sh\n{}\n```", lines.join("\n")).unwrap();
    }
    if acts {
        fields(text, &name);
    }
    for below in verb.get_subcommands().filter(|c| c.get_name() != "help") {
        section(text, &[path, &[below.get_name()]].concat(), below);
    }
}

fn options(text: &mut String, all: &[&Arg]) {
    for argument in all {
        let value = argument.get_value_names().map(|names| {
            let names: Vec<String> = names.iter().map(|n| format!("{n}")).collect();
            names.join(" ")
        });
        let takes = argument.get_action().takes_values();
        let value = value.filter(|_| takes).unwrap_or_default();
        let mut how = match (argument.get_short(), argument.get_long()) {
            (Some(short), Some(long)) => format!("-{short}, --{long}"),
            (Some(short), None) => format!("-{short}"),
            (None, Some(long)) => format!("--{long}"),
            (None, None) => value.clone(),
        };
        if !argument.is_positional() && !value.is_empty() {
            how.push_str(&format!(" {value}"));
        }
        let help = argument.get_help().map(ToString::to_string);
        let mut more = String::new();
        let defaults: Vec<_> = argument
            .get_default_values()
            .iter()
            .map(|v| v.to_string_lossy().into_owned())
            .collect();
        if takes && !defaults.is_empty() && !defaults.concat().is_empty() {
            more.push_str(&format!(" (default `{}`)", defaults.join(" ")));
        }
        if let Some(name) = argument.get_env() {
            more.push_str(&format!(" (or `{}`)", name.to_string_lossy()));
        }
        writeln!(text, "- `{how}`: {}{more}", help.unwrap_or_default()).unwrap();
    }
}

/// What `--json` prints, by the golden file of the verb.
fn fields(text: &mut String, verb: &str) {
    let path = golden::folder().join(format!("{}.json", verb.replace(' ', "-")));
    let Ok(kept) = std::fs::read_to_string(path) else {
        if let Some(said) = AS_WORDS.iter().find(|(v, _)| *v == verb) {
            writeln!(text, "\n`--json`: {}", said.1).unwrap();
            return;
        }
        panic!(
            "`freehold {verb} --json` is documented nowhere: give it a golden file or a line in AS_WORDS"
        );
    };
    let json: Value = serde_json::from_str(&kept).unwrap();
    let (what, object) = match &json {
        Value::Array(all) => ("a list, each with", all.first().unwrap_or(&Value::Null)),
        other => ("an object with", other),
    };
    let names: Vec<String> = object
        .as_object()
        .map(|fields| fields.keys().map(|k| format!("`{k}`")).collect())
        .unwrap_or_default();
    let beside = BESIDE.iter().find(|(v, _)| *v == verb);
    let beside = beside.map_or(String::new(), |(_, more)| format!("; {more}"));
    writeln!(text, "\n`--json`: {what} {}{beside}.", names.join(", ")).unwrap();
}

/// What `--json` prints in another case than the golden file's.
pub const BESIDE: &[(&str, &str)] = &[(
    "env",
    "with `--values` (a reveal, which is audited) others: `name`, `value`, `set_ms`",
)];

/// What `--json` prints of verbs that need an engine, or print by the line.
pub const AS_WORDS: &[(&str, &str)] = &[
    ("serve", "the log as lines of JSON on standard error."),
    (
        "top",
        "an object with `version`, `attention`, `machine`, `engine`, `apps`, `databases`, `certificates`, `trust`, `dashboard`, as the API's /overview answers it.",
    ),
    (
        "doctor",
        "an object with `state`, `checked_ms`, `took_ms`, `checks`; of each check `area`, `what`, `state` (`ok`, `warn`, `fail`), `seen`, `why`, `remedy`.",
    ),
    (
        "reload",
        "an object with `state`, `began_ms`, `ended_ms`, `why`, `version`, `pid`.",
    ),
    (
        "check incidents",
        "a list, each with `id`, `check`, `name`, `url`, `opened_ms`, `closed_ms`, `stage`, `why`.",
    ),
    (
        "jobs",
        "a list, each with `id`, `kind`, `what`, `state` (`queued`, `running`, `done`, `failed`, `cancelled`), `subject`, `app`, `resource`, `deploy`, `cancellable`, `attempts`, `created_ms`, `started_ms`, `finished_ms`, `error`.",
    ),
    ("job show", "an object with the fields of `freehold jobs`."),
    (
        "job follow",
        "an object with the fields of `freehold jobs`, once the work is over.",
    ),
    (
        "job cancel",
        "an object with the fields of `freehold jobs`.",
    ),
    (
        "events",
        "a list, each with `id`, `at_ms`, `kind`, `level`, `subject`, `message`, `data`; with `--follow` one such object a line.",
    ),
    (
        "releases",
        "a list, each with `number`, `image`, `commit`, `title`, `created_ms`, `live_ms`, `kept`, `live`, `unreadable`.",
    ),
    (
        "deliveries",
        "a list, each with `at_ms`, `host`, `delivery`, `event`, `status`, `reason`, `deploy`.",
    ),
    (
        "metrics",
        "an object with `from_ms`, `step_s` and, each a list with a value a slot, `cpu`, `memory_used`, `swap_used`, `disk_used`, `load`, `received`, `sent`; of an app with `from_ms`, `step_s`, the lists `rate`, `p95_ms`, `error_share`, and `requests`, `server_errors`, `p95_ms_whole`.",
    ),
    (
        "audit",
        "a list, each with `id`, `at_ms`, `who`, `address`, `request`, `action`, `subject`, `state`, `status`, `detail`, `ended_ms`, `before`, `after`.",
    ),
    (
        "db url",
        "an object with `env_name` and `url`, the password in it.",
    ),
    ("app rm", "an object with `app`, `volumes`."),
    ("app stop", "an object with `changed`, `deploy`."),
    (
        "app start",
        "the deploy, as `freehold deploy` prints it; `changed` and `deploy` where nothing was to be done.",
    ),
    ("app restart", "the deploy, as `freehold deploy` prints it."),
    ("rollback", "the deploy, as `freehold deploy` prints it."),
    (
        "scale",
        "the deploy, as `freehold deploy` prints it; `changed` and `deploy` where it needs none.",
    ),
    ("cancel", "the deploy, as `freehold deploy` prints it."),
    (
        "logs",
        "a line of JSON for each line: `at_ms`, `container`, `process`, `text`.",
    ),
    ("env import", "as `freehold env set`."),
    (
        "run",
        "a line of JSON for what it writes, with `stream` (`out` or `error`) and `text`; the last with `exit`.",
    ),
    ("exec", "as `freehold run`."),
    ("db rm", "an object with `database`."),
    (
        "db attach",
        "an object with `app`, `role`, `env_name`, `state`, `reason`, `changed`, `deploy`.",
    ),
    ("db detach", "an object with `changed`, `deploy`."),
    ("db psql", "as `freehold run`."),
    ("user change", "the user, as `freehold user list`."),
    ("target rm", "an object with `target`, `forgot`."),
    (
        "backup now",
        "a list of backups, as `freehold backup list`.",
    ),
    ("backup verify", "the backup, as `freehold backup show`."),
    (
        "backup restore",
        "the restore, as `freehold backup restores` lists it.",
    ),
    (
        "backup confirm",
        "the restore, as `freehold backup restores` lists it.",
    ),
    (
        "backup download",
        "an object with `backup`, `file`, `sha256`.",
    ),
    ("login", "an object with `box`, `apps`."),
    ("completions", "an object with `shell`, `script`."),
    (
        "man",
        "an object with `files`; with `page` where no folder is given.",
    ),
];

#[test]
fn a7_the_page_of_the_command_line_is_made_from_it() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    if std::env::var_os("FREEHOLD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept, page,
        "run FREEHOLD_WRITE_DOCS=1 cargo test --test cli, twice when golden files changed too"
    );
}
