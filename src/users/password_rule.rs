//! Which passwords are taken: long enough, and none that is guessed first.
//!
//! No rule on kinds of characters: those make people write `Password1!`. What is
//! refused is what guessing begins with: passwords many people use, with a few
//! digits or signs around them or letters swapped for them; what repeats itself
//! or counts on; one's own name.

use super::UserError;
use crate::base::secret::Secret;

/// One a line, lower case; lines with # say where they are from.
const COMMON: &str = include_str!("common_passwords.txt");
const SHORTEST: usize = 10;
const LONGEST: usize = 512;
/// Characters around a common password that make no other of it.
const DRESSING: usize = 6;

const SHORT: &str = "the password is too short: use at least 10 characters, such as four words";
const LONG: &str = "the password is too long: use at most 512 bytes";
const GUESSED: &str = "the password is among those that are tried first, or close to one: use at least 10 characters that nobody else would think of, such as four words";
const PATTERN: &str = "the password repeats itself or counts on, which is tried first: use at least 10 characters, such as four words";
const OWN: &str = "the password is made of your name or the box's, which is tried first: use at least 10 characters, such as four words";

/// That `password` is taken for somebody of whom `names` are known: their own, the box's.
pub(super) fn rule(password: &Secret, names: &[&str]) -> Result<(), UserError> {
    let text = password.expose();
    let refused = |why| Err(UserError::PasswordRule(why));
    if text.chars().count() < SHORTEST {
        return refused(SHORT);
    }
    if text.len() > LONGEST {
        return refused(LONG);
    }
    let text = text.to_lowercase();
    if forms(&text).iter().any(|form| is_common(form)) {
        return refused(GUESSED);
    }
    if is_pattern(&text) {
        return refused(PATTERN);
    }
    if is_own(&text, names) {
        return refused(OWN);
    }
    Ok(())
}

fn is_common(text: &str) -> bool {
    text.len() >= 4 && COMMON.lines().any(|line| line == text)
}

/// What a password is when it is undressed: without digits and signs around it, with letters for
/// the signs that stand for them, and once instead of twice.
fn forms(text: &str) -> Vec<String> {
    let bare = text.trim_matches(|c: char| !c.is_alphabetic());
    let mut forms = vec![text.to_owned()];
    if text.chars().count() - bare.chars().count() <= DRESSING {
        forms.push(bare.to_owned());
    }
    let tail = text.trim_end_matches(|c: char| !c.is_alphanumeric());
    forms.push(tail.to_owned());
    let mut letters = Vec::new();
    for form in &forms {
        for one in ['i', 'l'] {
            letters.push(form.chars().map(|c| letter(c, one)).collect::<String>());
        }
    }
    // "p4ssw0rd2024": the year is dressing, the rest is not.
    let undressed: Vec<String> = letters
        .iter()
        .chain(&forms)
        .filter_map(|form| unit(form).map(str::to_owned))
        .collect();
    let stem = text.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation());
    if text.len() - stem.len() <= DRESSING {
        for one in ['i', 'l'] {
            letters.push(stem.chars().map(|c| letter(c, one)).collect());
        }
    }
    forms.extend(letters);
    forms.extend(undressed);
    forms
}

fn letter(sign: char, one: char) -> char {
    match sign {
        '@' | '4' => 'a',
        '0' => 'o',
        '3' => 'e',
        '1' | '!' | '|' => one,
        '$' | '5' => 's',
        '7' | '+' => 't',
        other => other,
    }
}

/// The shortest text that `text` repeats, if it repeats one.
fn unit(text: &str) -> Option<&str> {
    (1..=text.len() / 2)
        .filter(|length| text.len().is_multiple_of(*length) && text.is_char_boundary(*length))
        .map(|length| text.split_at(length).0)
        .find(|unit| unit.repeat(text.len() / unit.len()) == text)
}

fn is_pattern(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    let mut kinds = letters.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let counts = |by: i64| {
        letters.windows(2).all(|pair| {
            let (a, b) = (i64::from(u32::from(pair[0])), i64::from(u32::from(pair[1])));
            // After 9 comes 0.
            b - a == by || (b - a == -9 * by && pair.iter().all(char::is_ascii_digit))
        })
    };
    kinds.len() < 4
        || unit(text).is_some_and(|unit| unit.chars().count() <= 4)
        || counts(1)
        || counts(-1)
}

fn is_own(text: &str, names: &[&str]) -> bool {
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let mut words: Vec<&str> = lower
        .iter()
        .flat_map(|name| {
            let parts = name.split(|c: char| !c.is_alphanumeric());
            std::iter::once(name.as_str()).chain(parts)
        })
        .filter(|word| word.chars().count() >= 3)
        .collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut left = text.to_owned();
    for word in &words {
        left = left.replace(word, "");
    }
    left.len() < text.len() && left.chars().filter(|c| c.is_alphanumeric()).count() < DRESSING
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(password: &str) -> Option<&'static str> {
        let names = ["ana.lopez@example.com", "panel.example.com", "freehold"];
        match rule(&Secret::new(password), &names) {
            Ok(()) => None,
            Err(UserError::PasswordRule(why)) => Some(why),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a2_what_is_tried_first_is_refused() {
        for (password, why) in [
            ("short", SHORT),
            ("ninechars", SHORT),
            ("qwertyuiop", GUESSED),
            ("password123", GUESSED),
            ("Password2024!", GUESSED),
            ("P@ssw0rd2024", GUESSED),
            ("!!iloveyou!!", GUESSED),
            ("1qaz2wsx3edc", GUESSED),
            ("dragondragon", GUESSED),
            ("monkey123456", GUESSED),
            ("aaaaaaaaaaaa", PATTERN),
            ("xyxyxyxyxyxy", PATTERN),
            ("abcdefghijkl", PATTERN),
            ("zyxwvutsrqpo", PATTERN),
            ("78901234567890", PATTERN),
            ("analopez2024", OWN),
            ("panel.example.com", OWN),
            ("Freehold-2026", OWN),
            ("ana.lopez@example.com1", OWN),
        ] {
            assert_eq!(verdict(password), Some(why), "{password}");
        }
        assert_eq!(verdict(&"long ".repeat(103)), Some(LONG));
    }

    #[test]
    fn a2_what_is_not_is_taken() {
        for password in [
            "four words are enough",
            "correct horse battery",
            "another four words",
            "ana has four words",
            "7hK-93bq-Xv02",
            "94837261050love84637281",
            "le pré est vert",
            "サクラサク さくら咲く",
            "freehold runs my whole shop",
        ] {
            assert_eq!(verdict(password), None, "{password}");
        }
    }

    #[test]
    fn a2_the_list_is_small_and_says_where_it_is_from() {
        assert!(COMMON.len() < 100_000 && COMMON.lines().count() > 5_000);
        assert!(COMMON.contains("MIT licence"));
    }
}
