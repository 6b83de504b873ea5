//! The way on from the end of a list to what is older, and back to its beginning: links, which need no
//! script. What they carry is the API's own cursor.

use askama::Template;
use askama::filters::HtmlSafe;

/// The links; nothing where all of the list is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Template)]
#[template(path = "parts/older.html")]
pub struct Older {
    /// "deploys".
    what: &'static str,
    /// What the rest is told at; empty at the end.
    next: String,
    /// What the beginning is told at; empty at the beginning.
    newest: String,
}

impl HtmlSafe for Older {}

impl Older {
    /// Of the list at `path` that was asked for from `after` on (empty from its beginning) and said
    /// `next`. `name` is what its cursor is called in the query, which may hold what else is asked for.
    pub fn of(
        (path, name): (&str, &str),
        what: &'static str,
        after: &str,
        next: Option<String>,
    ) -> Self {
        let (page, place) = path.split_once('#').unwrap_or((path, ""));
        let place = match place {
            "" => String::new(),
            place => format!("#{place}"),
        };
        let next = next.map(|next| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair(name, &next);
            let joint = if page.contains('?') { '&' } else { '?' };
            format!("{page}{joint}{}{place}", query.finish())
        });
        Self {
            what,
            next: next.unwrap_or_default(),
            newest: match after {
                "" => String::new(),
                _ => path.to_owned(),
            },
        }
    }

    /// Whether what is told is the list's beginning.
    pub fn is_first(&self) -> bool {
        self.newest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_list_leads_on_and_back_and_says_nothing_when_it_is_whole() {
        let list = ("/databases/main#backups", "after");
        let of = |after, next: Option<&str>| {
            Older::of(list, "backups", after, next.map(str::to_owned)).to_string()
        };
        assert_eq!(of("", None), "");
        let first = of("", Some("7"));
        let next = "<a class=\"button\" href=\"/databases/main?after=7#backups\" rel=\"next\">";
        assert!(first.contains(next) && !first.contains("Newest"), "{first}");
        let last = of("7", None);
        assert!(last.contains("href=\"/databases/main#backups\""), "{last}");
        assert!(!last.contains("rel=\"next\""), "{last}");
        let list = ("/activity?level=error", "after");
        let found = Older::of(list, "activity", "9", Some("7".to_owned()));
        assert_eq!(found.next, "/activity?level=error&after=7");
        assert_eq!(found.newest, "/activity?level=error");
    }
}
