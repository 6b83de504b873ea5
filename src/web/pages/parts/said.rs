//! A sentence with commands in it: what stands between backticks becomes code. It begins with a
//! capital, unless it begins with a name.

use std::fmt::{self, Display, Formatter};

use askama::filters::HtmlSafe;

/// Words that errors begin with; whatever else is in lower case there is a name.
const BEGINNINGS: [&str; 15] = [
    "a", "an", "another", "how", "it", "line", "no", "nobody", "nothing", "only", "that", "the",
    "there", "this", "what",
];

/// The sentence, escaped.
pub struct Said<'a>(&'a str);

/// `text` for a page.
pub fn said(text: &str) -> Said<'_> {
    Said(text)
}

impl HtmlSafe for Said<'_> {}

impl Display for Said<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let word = rest.split(' ').next().unwrap_or_default();
        if let (true, Some(first)) = (BEGINNINGS.contains(&word), word.chars().next()) {
            write!(f, "{}", first.to_uppercase())?;
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
        while let Some((before, after)) = rest.split_once('`') {
            let Some((code, after)) = after.split_once('`') else {
                break;
            };
            escape(f, before)?;
            f.write_str("<code>")?;
            escape(f, code)?;
            f.write_str("</code>")?;
            rest = after;
        }
        escape(f, rest)
    }
}

fn escape(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '&' => f.write_str("&#38;")?,
            '<' => f.write_str("&#60;")?,
            '>' => f.write_str("&#62;")?,
            '"' => f.write_str("&#34;")?,
            '\'' => f.write_str("&#39;")?,
            c => write!(f, "{c}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn f10_commands_in_a_sentence_are_code_and_nothing_is_markup() {
        assert_eq!(
            said("Run `freehold doctor <x>` & see").to_string(),
            "Run <code>freehold doctor &#60;x&#62;</code> &#38; see"
        );
        assert_eq!(said("x ` b").to_string(), "x ` b");
        assert_eq!(said("there is none").to_string(), "There is none");
        assert_eq!(said("shop is made").to_string(), "shop is made");
        assert_eq!(
            said("`<script>`").to_string(),
            "<code>&#60;script&#62;</code>"
        );
    }
}
