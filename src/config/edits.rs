//! What differs between two readings of the settings files, setting by setting.

use std::collections::{BTreeMap, BTreeSet};

use super::load::Sources;

/// A setting that is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// As the file has it: `acme.email`, `routes.d/shop.toml: route.0.host`.
    pub setting: String,
    /// What it said before; none where it said nothing.
    pub was: Option<String>,
    /// What it says now.
    pub became: Option<String>,
}

/// What `new` says otherwise than `old`.
pub(super) fn edits(old: &Sources, new: &Sources) -> Vec<Edit> {
    let (old, new) = (flat(old), flat(new));
    let settings: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    settings
        .into_iter()
        .filter(|setting| old.get(*setting) != new.get(*setting))
        .map(|setting| Edit {
            setting: setting.clone(),
            was: old.get(setting).map(|value| told(setting, value)),
            became: new.get(setting).map(|value| told(setting, value)),
        })
        .collect()
}

/// What may be told of a value: of a password only that it is there.
fn told(setting: &str, value: &str) -> String {
    let key = setting.rsplit('.').next().unwrap_or_default();
    match key {
        "password" | "verifier" => "[secret]".to_owned(),
        _ => value.to_owned(),
    }
}

fn flat(sources: &Sources) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (file, text) in sources.texts() {
        // What cannot be read is refused before anybody asks what differs.
        if let Ok(table) = text.parse::<toml::Table>() {
            take(&mut all, &file, &toml::Value::Table(table));
        }
    }
    all
}

fn take(all: &mut BTreeMap<String, String>, name: &str, value: &toml::Value) {
    let below = |key: &str| match name.is_empty() || name.ends_with(": ") {
        true => format!("{name}{key}"),
        false => format!("{name}.{key}"),
    };
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                take(all, &below(key), value);
            }
        }
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            for (at, value) in list.iter().enumerate() {
                take(all, &below(&at.to_string()), value);
            }
        }
        toml::Value::String(text) => {
            all.insert(name.to_owned(), text.clone());
        }
        other => {
            all.insert(name.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(main: &str, route: Option<&str>) -> Sources {
        let folder = tempfile::tempdir().unwrap();
        let (file, routes_d) = (
            folder.path().join("config.toml"),
            folder.path().join("routes.d"),
        );
        std::fs::create_dir(&routes_d).unwrap();
        std::fs::write(&file, main).unwrap();
        if let Some(route) = route {
            std::fs::write(routes_d.join("a.toml"), route).unwrap();
        }
        Sources::read(&file, &routes_d).unwrap()
    }

    #[test]
    fn a5_an_edit_of_the_settings_is_told_setting_by_setting() {
        let old = read("[acme]\nemail = \"a@b.test\"\n[hold]\nrequests = 7\n", None);
        let route = "[[route]]\nhost = \"a.test\"\nupstream = \"http://127.0.0.1:1\"\n";
        let new = read("# a comment\n[hold]\nrequests = 8\n", Some(route));
        let edit = |setting: &str, was: Option<&str>, became: Option<&str>| Edit {
            setting: setting.into(),
            was: was.map(str::to_owned),
            became: became.map(str::to_owned),
        };
        assert_eq!(
            edits(&old, &new),
            [
                edit("acme.email", Some("a@b.test"), None),
                edit("hold.requests", Some("7"), Some("8")),
                edit("routes.d/a.toml: route.0.host", None, Some("a.test")),
                edit(
                    "routes.d/a.toml: route.0.upstream",
                    None,
                    Some("http://127.0.0.1:1")
                ),
            ]
        );
        assert!(edits(&new, &new).is_empty());
    }

    #[test]
    fn e6_of_a_password_it_is_told_that_it_changed_and_no_more() {
        let route = |password: &str| {
            let text = format!(
                "[[route]]\nhost = \"a.test\"\nbasic_auth = {{ users = [{{ name = \"ana\", password = \"{password}\" }}] }}\n"
            );
            read(&text, None)
        };
        let told = edits(&route("hunter2"), &route("hunter3"));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].setting, "route.0.basic_auth.users.0.password");
        assert!(!format!("{told:?}").contains("hunter"), "{told:?}");
    }
}
