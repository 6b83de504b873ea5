//! A8: no operation that changes something is left out of the table. Each unsafe route and each verb of the command line
//! has a row that gives it something bad, or stands here with the reason why nothing bad can be given.

use std::collections::BTreeSet;

use clap::Command;
use freehold::web::table as routes;

use crate::rows::table;

/// Unsafe routes without a row, and why.
const ROUTES_WITHOUT: &[(&str, &[&str])] = &[
    (
        "takes nothing: whoever sends it is signed out",
        &["POST /sign-out"],
    ),
    (
        "takes nothing: where nothing waits to be confirmed, nothing happens",
        &["POST /api/v1/doctor/confirm"],
    ),
];

/// Verbs without a row, and why.
const VERBS_WITHOUT: &[(&str, &[&str])] = &[
    (
        "is the daemon: what is wrong with its configuration is told by the tests of src/config, and one that is absent \
         is the defaults, on which no test may start",
        &["serve"],
    ),
    (
        "takes nothing: what it tells the daemon, the daemon has told it before",
        &["reload"],
    ),
    (
        "changes nothing and takes no name, only choices that are refused as every choice is",
        &[
            "audit",
            "backup list",
            "backup restores",
            "check incidents",
            "events",
            "jobs",
        ],
    ),
    (
        "takes nothing but whether all is well, and changes nothing else",
        &["doctor"],
    ),
    (
        "changes nothing and takes nothing",
        &[
            "boxes",
            "check list",
            "db list",
            "status",
            "target list",
            "token list",
            "top",
            "user list",
        ],
    ),
];

/// The route of these that a request meets: of those with as many parts the one that leaves the fewest open.
fn met(method: &str, path: &str, all: &BTreeSet<String>) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |route: &&String| {
        let (of, pattern) = route.split_once(' ').unwrap();
        let open = |part: &str| part.starts_with('{');
        of == method
            && pattern.split('/').count() == path.split('/').count()
            && pattern
                .split('/')
                .zip(path.split('/'))
                .all(|(a, b)| open(a) || a == b)
    };
    all.iter()
        .filter(fits)
        .min_by_key(|r| r.matches('{').count())
        .cloned()
}

/// The verb that these words call: `app create shop` is `app create`.
fn verb(tree: &Command, args: &[String]) -> String {
    let mut at = tree;
    let mut path = Vec::new();
    for word in args {
        if let Some(below) = at.find_subcommand(word) {
            path.push(below.get_name());
            at = below;
        }
    }
    path.join(" ")
}

/// Every verb that does something by itself.
fn verbs(tree: &Command, path: &[&str], all: &mut BTreeSet<String>) {
    for below in tree.get_subcommands().filter(|c| c.get_name() != "help") {
        let path = [path, &[below.get_name()]].concat();
        if !below.is_subcommand_required_set() {
            all.insert(path.join(" "));
        }
        verbs(below, &path, all);
    }
}

/// What is wrong with a list of excuses: of `all`, those neither given something bad nor excused, and the other way round.
fn judged(
    all: &BTreeSet<String>,
    given: &BTreeSet<String>,
    without: &[(&str, &[&str])],
) -> Vec<String> {
    let excused: BTreeSet<String> = without
        .iter()
        .flat_map(|(_, all)| all.iter().map(|one| (*one).to_owned()))
        .collect();
    let known: BTreeSet<String> = given.union(&excused).cloned().collect();
    let mut wrong: Vec<String> = all
        .difference(&known)
        .map(|one| format!("{one}: no row gives it something bad"))
        .collect();
    wrong.extend(
        excused
            .difference(all)
            .map(|one| format!("{one}: excused, and not there")),
    );
    wrong.extend(
        given
            .intersection(&excused)
            .map(|one| format!("{one}: excused, and has a row")),
    );
    wrong
}

fn unsafe_routes() -> BTreeSet<String> {
    routes()
        .into_iter()
        .filter(|r| !matches!(r.method.as_str(), "GET" | "HEAD" | "OPTIONS"))
        .map(|r| format!("{} {}", r.method, r.path))
        .collect()
}

/// A row without `next` prepares others: it gives nothing bad.
fn given_to_routes(all: &BTreeSet<String>) -> BTreeSet<String> {
    let table = table::table();
    let pages = table
        .page
        .iter()
        .filter(|r| !r.next.is_empty())
        .filter_map(|r| met("POST", &r.path, all));
    let api = table
        .api
        .iter()
        .filter(|r| !r.next.is_empty())
        .filter_map(|r| met(&r.method, &r.path, all));
    let mut given: BTreeSet<String> = pages.chain(api).collect();
    if !table.hook.is_empty() {
        given.insert("POST /hooks/{app}".into());
    }
    given
}

#[test]
fn a8_every_operation_that_changes_something_has_a_bad_input_or_a_reason() {
    let all = unsafe_routes();
    let mut wrong = judged(&all, &given_to_routes(&all), ROUTES_WITHOUT);

    let mut tree = freehold::cli::command();
    tree.build();
    let mut all = BTreeSet::new();
    verbs(&tree, &[], &mut all);
    let table = table::table();
    let cli = table.cli.iter().filter(|r| !r.next.is_empty());
    let given: BTreeSet<String> = cli
        .map(|r| &r.args)
        .chain(table.target.iter().map(|r| &r.args))
        .map(|args| verb(&tree, args))
        .filter(|verb| all.contains(verb))
        .collect();
    wrong.extend(judged(&all, &given, VERBS_WITHOUT));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The saboteur: a route that nobody gave a row is found, one that has rows is not.
#[test]
fn a8_an_operation_without_a_row_is_found() {
    let mut all = unsafe_routes();
    all.insert("POST /api/v1/apps/{app}/forgotten".into());
    let wrong = judged(&all, &given_to_routes(&all), ROUTES_WITHOUT);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("/forgotten: no row"), "{wrong:?}");
    let upload = met("POST", "/api/v1/apps/shop/deploys/upload", &all);
    assert_eq!(
        upload.as_deref(),
        Some("POST /api/v1/apps/{app}/deploys/upload")
    );
}
