//! What docs/cli.md says of a verb's `--json`, held against what was printed. The page is made from the program's own tree
//! and held by tests/cli; here it is read as who uses it reads it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// What the page says behind `--json` of a verb.
fn words(verb: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let page = std::fs::read_to_string(path).unwrap();
    let heading = format!("freehold {verb}");
    let is_own =
        |line: &str| line.starts_with('#') && line.trim_start_matches(['#', ' ']) == heading;
    let mut lines = page.lines().skip_while(|line| !is_own(line));
    assert!(lines.next().is_some(), "docs/cli.md has no {verb}");
    let mut own = lines.take_while(|line| !line.starts_with("##"));
    let said = own.find_map(|line| line.strip_prefix("`--json`: "));
    said.unwrap_or_else(|| panic!("docs/cli.md does not say what {verb} --json prints"))
        .to_owned()
}

/// The fields that words name: what stands in backticks, but for options, and for what is said of their values.
fn named(words: &str) -> BTreeSet<String> {
    let mut depth = 0;
    let outside = words.chars().filter(|c| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    });
    let outside: String = outside.collect();
    let odd = outside.split('`').skip(1).step_by(2);
    let fields = odd.filter(|name| !name.starts_with("--"));
    fields.map(str::to_owned).collect()
}

/// What a verb may print: a clause tells the fields of one case, or that they are as another verb's.
fn meant(verb: &str) -> Vec<BTreeSet<String>> {
    let words = words(verb);
    let of_clause = |clause: &str| {
        let names = named(clause);
        let other = names.iter().find_map(|name| name.strip_prefix("freehold "));
        match other {
            Some(other) => meant(other),
            None => vec![names],
        }
    };
    words.split(';').flat_map(of_clause).collect()
}

/// What is wrong with `json`, a value that the verb printed: its fields, of a list those of each, are not those of the page.
pub fn differs(verb: &str, json: &Value) -> Option<String> {
    let all = match json {
        Value::Array(all) if all.is_empty() => return Some(format!("{verb} lists nothing")),
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let meant = meant(verb);
    all.iter().find_map(|one| {
        let Some(fields) = one.as_object() else {
            return Some(format!("{verb} printed no object: {one}"));
        };
        let told: BTreeSet<String> = fields.keys().cloned().collect();
        let known = meant.contains(&told);
        (!known).then(|| format!("{verb} printed {told:?}, docs/cli.md knows {meant:?}"))
    })
}

/// All that a verb printed with `--json`, a value or one a line: each is as the page says.
pub fn held(verb: &str, printed: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(printed).into_iter();
    let values: Vec<Value> = values
        .collect::<Result<_, _>>()
        .unwrap_or_else(|e| panic!("{verb}: {e}\n{printed}"));
    assert!(!values.is_empty(), "{verb} printed nothing");
    for value in &values {
        if let Some(wrong) = differs(verb, value) {
            panic!("{wrong}");
        }
    }
    values
}
