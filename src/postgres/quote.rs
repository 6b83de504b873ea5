//! Values in SQL, connection strings and URLs, so that none can become more than a value.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986's unreserved characters stay.
const URL_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The longest name Postgres keeps; it cuts longer ones, so they are never given.
pub const LONGEST_NAME: usize = 63;

/// An SQL identifier. NUL cannot stand in SQL at all and is left out.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// An SQL string, safe whatever `standard_conforming_strings` says.
pub fn literal(value: &str) -> String {
    let value = value.replace('\0', "").replace('\'', "''");
    if value.contains('\\') {
        format!("E'{}'", value.replace('\\', "\\\\"))
    } else {
        format!("'{value}'")
    }
}

/// libpq's `dbname='…'`, for `--dbname`, which would take a bare name with an
/// equals sign in it for a connection string.
pub fn dbname(name: &str) -> String {
    format!(
        "dbname='{}'",
        name.replace('\\', "\\\\").replace('\'', "\\'")
    )
}

/// `postgres://role:password@host:5432/database`.
pub fn url(role: &str, password: &str, host: &str, database: &str) -> String {
    let part = |text: &str| utf8_percent_encode(text, URL_PART).to_string();
    format!(
        "postgres://{}:{}@{host}:5432/{}",
        part(role),
        part(password),
        part(database)
    )
}

/// `base` with `suffix`, cut in the middle so that Postgres keeps all of it.
pub fn derived(base: &str, suffix: &str) -> String {
    let mut keep = LONGEST_NAME.saturating_sub(suffix.len()).min(base.len());
    while !base.is_char_boundary(keep) {
        keep -= 1;
    }
    let (head, _) = base.split_at(keep);
    format!("{head}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn f3_names_cannot_end_their_quotes() {
        assert_eq!(
            ident("a\"; DROP DATABASE x; --"),
            "\"a\"\"; DROP DATABASE x; --\""
        );
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(dbname("host=evil"), "dbname='host=evil'");
        assert_eq!(dbname("a'b\\c"), "dbname='a\\'b\\\\c'");
    }

    #[test]
    fn f3_the_url_survives_any_password() {
        let text = url("tasks", "p@ss/w:rd#?%", "main.db", "my app");
        let parsed = url::Url::parse(&text).unwrap();
        assert_eq!(parsed.host_str(), Some("main.db"));
        assert_eq!(parsed.port(), Some(5432));
        assert_eq!(parsed.path(), "/my%20app");
        let password = percent_encoding::percent_decode_str(parsed.password().unwrap());
        assert_eq!(password.decode_utf8().unwrap(), "p@ss/w:rd#?%");
    }

    #[test]
    fn f6_derived_names_fit() {
        assert_eq!(derived("tasks", "_restore_7"), "tasks_restore_7");
        let long = derived(&"ä".repeat(40), "_before_12345");
        assert!(long.len() <= LONGEST_NAME && long.ends_with("_before_12345"));
    }

    proptest! {
        #[test]
        fn f3_a_quoted_identifier_has_only_paired_quotes_inside(name in "\\PC{0,40}") {
            let quoted = ident(&name);
            let inside = &quoted[1..quoted.len() - 1];
            prop_assert_eq!(inside.replace("\"\"", "").matches('"').count(), 0);
        }

        #[test]
        fn f3_a_quoted_string_has_only_paired_quotes_inside(value in "\\PC{0,40}") {
            let quoted = literal(&value);
            let start = quoted.find('\'').unwrap();
            let inside = &quoted[start + 1..quoted.len() - 1];
            prop_assert_eq!(inside.replace("''", "").matches('\'').count(), 0);
        }
    }
}
