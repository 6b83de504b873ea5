//! Fuzz target of what a container, or an upstream, answers its check with.

use super::health::fuzz::answer_in;

/// The first byte cuts the answer. Whether it is a good one does not depend on how it comes, and whatever it is becomes one
/// line of bounded length, without what a terminal obeys.
pub fn health_answer(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    let read = |piece: usize| {
        let answer = answer_in(bytes, piece);
        answer.unwrap_or_else(|| panic!("it waits for what is there"))
    };
    let (whole, cut) = (read(bytes.len().max(1)), read(usize::from(*piece).max(1)));
    assert_eq!(whole.is_ok(), cut.is_ok(), "{whole:?} {cut:?}");
    for answer in [whole, cut] {
        let (Ok(said) | Err(said)) = answer;
        assert!(!said.is_empty() && said.chars().count() < 500, "{said}");
        assert!(!said.contains(char::is_control), "{said:?}");
    }
}
