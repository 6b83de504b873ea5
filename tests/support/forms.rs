//! What a form carries besides its fields: the token of the page it stands on, and before there is a session the cookie
//! of the browser.

/// The token of the forms of this page.
pub fn token(page: &str) -> &str {
    let (_, rest) = page
        .split_once("name=\"form-token\" value=\"")
        .unwrap_or_else(|| panic!("no form on this page: {page}"));
    rest.split('"').next().unwrap()
}

#[allow(dead_code)]
/// The cookie of that name that this answer sets.
pub fn cookie<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = answer.split_once(&format!("{name}="))?;
    rest.split([';', '\r', '\n']).next()
}

#[allow(dead_code)]
/// The cookie of a browser nobody signed in with.
pub const VISITOR: &str = "__Host-freehold-visitor";
