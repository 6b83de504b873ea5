//! A long list a piece at a time: `?limit=` and `?after=`, the same on every list.
//!
//! A cursor names the last thing that was told, not a position: what is added or
//! taken out meanwhile neither repeats nor hides anything else. Lists are in the order
//! of names ([`Names`]) or of falling numbers ([`Page`]). Those that are kept whole are
//! cut here; those of the database are read from a number downwards.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::Failure;
use crate::db::Slice;
use crate::wire::listing::Listing;
use crate::wire::problem::ProblemKind;

/// What one answer holds when nobody says.
pub const USUAL: u32 = 50;
/// What one answer holds at most.
pub const MOST: u32 = 200;

/// Which piece of a list in the order of falling numbers is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    limit: u32,
    before: Option<i64>,
}

/// Which piece of a list in the order of its names is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    limit: u32,
    after: Option<String>,
}

/// Which piece of a list in the order of its names is wanted: all of it unless a piece is asked for.
/// Such a list is short, is changed at its own address, and so is tagged as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole(Names);

/// A query's `limit` and `after`.
fn read(query: &str, usual: u32) -> Result<(u32, Option<String>), Failure> {
    let invalid = |text: String| Failure::new(ProblemKind::Invalid, text);
    let (mut limit, mut after) = (usual, None);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=MOST).contains(n))
                    .ok_or_else(|| invalid(format!("limit is a number from 1 to {MOST}")))?;
            }
            "after" => {
                if value.is_empty() || value.chars().count() > LONGEST {
                    return Err(invalid(NO_CURSOR.into()));
                }
                after = Some(value.into_owned());
            }
            _ => {}
        }
    }
    Ok((limit, after))
}

/// The longest cursor, in characters.
pub const LONGEST: usize = 400;

const NO_CURSOR: &str = "after is what an earlier answer said as next";

fn room(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl Names {
    /// Reads a query.
    ///
    /// # Errors
    /// Which of its parameters is none.
    pub fn parse(query: &str) -> Result<Self, Failure> {
        let (limit, after) = read(query, USUAL)?;
        Ok(Self { limit, after })
    }

    /// The piece of a list that is whole.
    pub fn of<T>(&self, mut all: Vec<T>, name: impl Fn(&T) -> &str) -> Listing<T> {
        all.sort_by(|a, b| name(a).cmp(name(b)));
        if let Some(after) = &self.after {
            all.retain(|one| name(one) > after.as_str());
        }
        let more = all.len() > room(self.limit);
        all.truncate(room(self.limit));
        let last = all.last().filter(|_| more);
        let next = last.map(|one| name(one).to_owned());
        Listing { items: all, next }
    }
}

impl Whole {
    /// Reads a query.
    ///
    /// # Errors
    /// Which of its parameters is none.
    pub fn parse(query: &str) -> Result<Self, Failure> {
        let (limit, after) = read(query, u32::MAX)?;
        Ok(Self(Names { limit, after }))
    }

    /// The list, or the piece of it.
    pub fn of<T>(&self, all: Vec<T>, name: impl Fn(&T) -> &str) -> Listing<T> {
        self.0.of(all, name)
    }
}

impl Page {
    /// Reads a query.
    ///
    /// # Errors
    /// Which of its parameters is none.
    pub fn parse(query: &str) -> Result<Self, Failure> {
        let (limit, after) = read(query, USUAL)?;
        let number = |text: String| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            let number = text.parse().ok().filter(|_| digits);
            number.ok_or_else(|| Failure::new(ProblemKind::Invalid, NO_CURSOR))
        };
        Ok(Self {
            limit,
            before: after.map(number).transpose()?,
        })
    }

    /// What a page of the dashboard shows from `cursor` on, or from the beginning when it is empty.
    ///
    /// # Errors
    /// That it is no cursor.
    pub fn of_cursor(cursor: &str) -> Result<Self, Failure> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !cursor.is_empty() {
            query.append_pair("after", cursor);
        }
        Self::parse(&query.finish())
    }

    /// What to read from the database: one row more than is told, to know whether there is one.
    pub fn slice(&self, state: Option<String>) -> Slice {
        Slice {
            before: self.before,
            state,
            limit: self.limit + 1,
        }
    }

    /// Rows read by [`Self::slice`], as they are answered.
    pub fn of_rows<R, T>(
        &self,
        mut rows: Vec<R>,
        number: impl Fn(&R) -> i64,
        told: impl FnMut(R) -> T,
    ) -> Listing<T> {
        let more = rows.len() > room(self.limit);
        rows.truncate(room(self.limit));
        let last = rows.last().map(&number).filter(|_| more);
        Listing {
            items: rows.into_iter().map(told).collect(),
            next: last.map(|number| number.to_string()),
        }
    }

    /// The piece of a list that is whole.
    pub fn of<T>(&self, mut all: Vec<T>, number: impl Fn(&T) -> i64) -> Listing<T> {
        all.sort_by_key(|one| std::cmp::Reverse(number(one)));
        if let Some(before) = self.before {
            all.retain(|one| number(one) < before);
        }
        self.of_rows(all, number, |one| one)
    }
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

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Whole {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(limit: u32, after: Option<&str>) -> String {
        let after = after.map(|a| format!("&after={a}")).unwrap_or_default();
        format!("limit={limit}{after}")
    }

    /// All pieces one after another, with `change` made to the list after each.
    fn walk(mut all: Vec<i64>, mut change: impl FnMut(&mut Vec<i64>)) -> Vec<i64> {
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = Page::parse(&query(2, after.as_deref())).unwrap();
            let listing = page.of(all.clone(), |n| *n);
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
            let names = Names::parse(&query(1, after)).unwrap();
            names.of(all.to_vec(), |n| n)
        };
        let first = names(None, &["b", "c"]);
        assert_eq!(first.items, ["b"]);
        let rest = names(first.next.as_deref(), &["a", "c"]);
        assert_eq!((rest.items, rest.next), (vec!["c"], None));
    }

    #[test]
    fn a1_a_list_that_is_tagged_is_whole_unless_a_piece_is_asked_for() {
        let all: Vec<String> = (0..500).map(|n| format!("{n:03}")).collect();
        let of = |query: &str| Whole::parse(query).unwrap().of(all.clone(), |n| n);
        let whole = of("");
        assert_eq!((whole.items.len(), whole.next), (500, None));
        let piece = of("limit=2&after=100");
        assert_eq!(piece.items, ["101", "102"]);
        assert_eq!(piece.next.as_deref(), Some("102"));
        assert!(Whole::parse("limit=0").is_err());
    }

    #[test]
    fn a1_a_limit_or_cursor_that_is_none_is_refused() {
        for query in ["limit=0", "limit=201", "limit=x", "limit=", "after="] {
            assert!(Page::parse(query).is_err(), "{query}");
            assert!(Names::parse(query).is_err(), "{query}");
        }
        for query in ["after=x", "after=-1", "after=9223372036854775808"] {
            assert!(Page::parse(query).is_err(), "{query}");
        }
    }
}
