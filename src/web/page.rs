//! A long list a piece at a time: `?limit=` and `?after=`, the same on every list.
//!
//! A cursor names the last thing that was told, not a position: what is added or
//! taken out meanwhile neither repeats nor hides anything else. Lists that are kept
//! whole are cut here; those of the database are read from a number downwards.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::Failure;
use crate::db::Slice;
use crate::wire::listing::Listing;
use crate::wire::problem::ProblemKind;

/// What one answer holds when nobody says.
pub const USUAL: u32 = 50;
/// What one answer holds at most.
pub const MOST: u32 = 200;

/// Which piece of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    limit: u32,
    after: Option<Cursor>,
}

/// The last thing that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cursor {
    Name(String),
    Number(i64),
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = String::from_utf8(bytes).ok()?;
        match plain.split_once(':')? {
            ("name", name) => Some(Self::Name(name.to_owned())),
            ("number", number) => number.parse().ok().map(Self::Number),
            _ => None,
        }
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(match self {
            Self::Name(name) => format!("name:{name}"),
            Self::Number(number) => format!("number:{number}"),
        })
    }
}

impl Page {
    /// Reads a query's `limit` and `after`.
    ///
    /// # Errors
    /// Which of them is none.
    pub fn parse(query: &str) -> Result<Self, Failure> {
        let invalid = |text: String| Failure::new(ProblemKind::Invalid, text);
        let mut page = Self {
            limit: USUAL,
            after: None,
        };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "limit" => {
                    let limit = value.parse().ok().filter(|n| (1..=MOST).contains(n));
                    page.limit = limit
                        .ok_or_else(|| invalid(format!("limit is a number from 1 to {MOST}")))?;
                }
                "after" => {
                    let cursor = Cursor::parse(&value).ok_or_else(|| {
                        invalid("after is what an earlier answer said as next".into())
                    })?;
                    page.after = Some(cursor);
                }
                _ => {}
            }
        }
        Ok(page)
    }

    /// What to read from the database: one row more than is told, to know whether there is one.
    ///
    /// # Errors
    /// That the cursor is another list's.
    pub fn slice(&self, state: Option<String>) -> Result<Slice, Failure> {
        Ok(Slice {
            before: self.number()?,
            state,
            limit: self.limit + 1,
        })
    }

    /// Rows read by [`Self::slice`], as they are answered.
    pub fn of_rows<R, T>(
        &self,
        mut rows: Vec<R>,
        number: impl Fn(&R) -> i64,
        told: impl FnMut(R) -> T,
    ) -> Listing<T> {
        let more = rows.len() > self.limit();
        rows.truncate(self.limit());
        let last = rows.last().map(&number).filter(|_| more);
        Listing {
            items: rows.into_iter().map(told).collect(),
            next: last.map(|number| Cursor::Number(number).text()),
        }
    }

    /// A list that is whole, in the order of its names.
    ///
    /// # Errors
    /// That the cursor is another list's.
    pub fn by_name<T>(
        &self,
        mut all: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<Listing<T>, Failure> {
        all.sort_by(|a, b| name(a).cmp(name(b)));
        match &self.after {
            None => {}
            Some(Cursor::Name(after)) => all.retain(|one| name(one) > after.as_str()),
            Some(Cursor::Number(_)) => return Err(foreign()),
        }
        let more = all.len() > self.limit();
        all.truncate(self.limit());
        let last = all.last().filter(|_| more);
        let next = last.map(|one| Cursor::Name(name(one).to_owned()).text());
        Ok(Listing { items: all, next })
    }

    /// A list that is whole, in the order of falling numbers.
    ///
    /// # Errors
    /// That the cursor is another list's.
    pub fn by_number<T>(
        &self,
        mut all: Vec<T>,
        number: impl Fn(&T) -> i64,
    ) -> Result<Listing<T>, Failure> {
        all.sort_by_key(|one| std::cmp::Reverse(number(one)));
        if let Some(before) = self.number()? {
            all.retain(|one| number(one) < before);
        }
        Ok(self.of_rows(all, number, |one| one))
    }

    fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    fn number(&self) -> Result<Option<i64>, Failure> {
        match &self.after {
            None => Ok(None),
            Some(Cursor::Number(number)) => Ok(Some(*number)),
            Some(Cursor::Name(_)) => Err(foreign()),
        }
    }
}

fn foreign() -> Failure {
    Failure::new(ProblemKind::Invalid, "this cursor is of another list")
}

/// Whether `text` has `wanted` in it, whatever their case; everything when nothing is wanted.
pub fn has(text: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|w| text.to_lowercase().contains(&w.to_lowercase()))
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: u32, after: Option<&str>) -> Page {
        let after = after.map(|a| format!("&after={a}")).unwrap_or_default();
        Page::parse(&format!("limit={limit}{after}")).unwrap()
    }

    /// All pieces one after another, with `change` made to the list after each.
    fn walk(mut all: Vec<i64>, mut change: impl FnMut(&mut Vec<i64>)) -> Vec<i64> {
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let listing = page(2, after.as_deref())
                .by_number(all.clone(), |n| *n)
                .unwrap();
            seen.extend(listing.items);
            change(&mut all);
            after = match listing.next {
                Some(next) => Some(next),
                None => return seen,
            };
        }
    }

    #[test]
    fn a1_pieces_of_a_list_make_the_list() {
        assert_eq!(walk((1..=7).collect(), |_| ()), [7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(walk(vec![], |_| ()), [0i64; 0]);
    }

    #[test]
    fn a1_what_comes_and_goes_meanwhile_neither_repeats_nor_hides_anything() {
        let mut newest = 7;
        let seen = walk((1..=7).collect(), |all| {
            newest += 1;
            all.push(newest);
            all.retain(|n| *n != 6);
        });
        assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
        let names = |after: Option<&str>, all: &[&'static str]| {
            page(1, after).by_name(all.to_vec(), |n| n).unwrap()
        };
        let first = names(None, &["b", "c"]);
        assert_eq!(first.items, ["b"]);
        let rest = names(first.next.as_deref(), &["a", "c"]);
        assert_eq!((rest.items, rest.next), (vec!["c"], None));
    }

    #[test]
    fn a1_a_limit_or_cursor_that_is_none_is_refused() {
        for query in [
            "limit=0",
            "limit=201",
            "limit=x",
            "after=!",
            "after=bmFt",
            "limit=",
        ] {
            assert!(Page::parse(query).is_err(), "{query}");
        }
        let names = page(1, None).by_name(vec!["a", "b"], |n| n).unwrap();
        assert!(page(1, names.next.as_deref()).slice(None).is_err());
    }
}
