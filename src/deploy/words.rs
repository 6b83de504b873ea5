//! A command line as people write it, split into words without a shell.

/// Splits at spaces; `'…'`, `"…"` and `\` quote as they do in a shell. Nothing
/// is expanded.
///
/// # Errors
/// A sentence when a quote is not closed or nothing is left.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => into.push(c),
                        None => return Err("a ' is not closed".into()),
                    }
                }
            }
            '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => into.push(c),
                            Some(c) => into.extend(['\\', c]),
                            None => return Err("a \" is not closed".into()),
                        },
                        Some(c) => into.push(c),
                        None => return Err("a \" is not closed".into()),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("it ends with a \\".into()),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() {
        return Err("it is empty".into());
    }
    Ok(words)
}

/// What a command needs a shell for, if anything: it would be passed on as it stands.
pub fn wants_shell(words: &[String]) -> Option<&str> {
    words
        .iter()
        .map(String::as_str)
        .find(|w| matches!(*w, "&&" | "||" | "|" | ";" | ">" | ">>" | "<" | "&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn f4_a_command_is_split_as_a_person_means_it() {
        for (text, wanted) in [
            ("npm run  migrate", &["npm", "run", "migrate"][..]),
            ("sh -c 'a && b'", &["sh", "-c", "a && b"]),
            (r#"a "b \"c\"" d\ e ''"#, &["a", "b \"c\"", "d e", ""]),
            ("x --a=\"1 2\"", &["x", "--a=1 2"]),
            ("echo $HOME", &["echo", "$HOME"]),
        ] {
            assert_eq!(split(text).unwrap(), wanted, "{text}");
        }
        for bad in ["", "  ", "'a", "\"a", "a\\"] {
            assert!(split(bad).is_err(), "{bad}");
        }
        let words = split("migrate && seed").unwrap();
        assert_eq!(wants_shell(&words), Some("&&"));
        assert_eq!(wants_shell(&split("sh -c 'a && b'").unwrap()), None);
    }

    proptest! {
        #[test]
        fn f4_quoted_words_come_back_whole(words in proptest::collection::vec("[^']*", 1..5)) {
            let text: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
            prop_assert_eq!(split(&text.join(" ")).unwrap(), words);
        }
    }
}
