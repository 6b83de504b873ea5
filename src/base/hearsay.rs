//! Hearsay: what somebody else said, as one line that can be shown, to a person at a terminal too.
//!
//! Whoever answers in somebody's place may say as much as fits, and write to the terminal of whoever reads it.

/// The first `most` characters of it on one line: blanks of every kind are one space, and what a terminal obeys is left out.
pub fn one_line(said: &str, most: usize) -> String {
    let words = said.split(|c: char| c.is_whitespace());
    let mut line = String::new();
    for word in words {
        let mut shown = word.chars().filter(|c| !c.is_control()).peekable();
        if shown.peek().is_some() && !line.is_empty() {
            line.push(' ');
        }
        line.extend(shown);
    }
    match line.char_indices().nth(most) {
        Some((end, _)) => line[..end].trim_end().to_owned(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e3_what_a_stranger_said_is_one_line_that_no_terminal_obeys() {
        for (said, most, shown) in [
            ("", 9, ""),
            ("  a\r\n\tb \u{a0} c ", 9, "a b c"),
            ("\u{1b}[2Jgone\u{9b}31m \u{7} \u{0}x", 20, "[2Jgone31m x"),
            ("äöü and more", 4, "äöü"),
            ("abc def", 5, "abc d"),
            ("abc", 3, "abc"),
        ] {
            assert_eq!(one_line(said, most), shown, "{said:?}");
        }
    }
}
