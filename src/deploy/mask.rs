//! Keeps an app's secrets out of its logs.

use crate::base::secret::Secret;

/// The values that are hidden, longest first.
#[derive(Clone, Default)]
pub struct Mask(Vec<(Secret, String)>);

/// Shorter values are words such as `true` or `3000`, not secrets.
const SHORTEST: usize = 6;
/// Longer ones that are no secrets either, and would make a log unreadable.
const PLAIN: &[&str] = &[
    "production",
    "development",
    "staging",
    "localhost",
    "disabled",
    "enabled",
];

impl Mask {
    /// Hides each value behind the name it is known by.
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Self {
        let mut all = Vec::new();
        for (name, value) in values {
            for line in value.expose().lines() {
                let line = line.trim();
                if line.len() >= SHORTEST && !PLAIN.contains(&line.to_ascii_lowercase().as_str()) {
                    all.push((Secret::new(line), format!("[{name}]")));
                }
            }
        }
        all.sort_by_key(|(value, _)| std::cmp::Reverse(value.expose().len()));
        Self(all)
    }

    /// The line without secrets.
    pub fn apply(&self, line: &str) -> String {
        let mut text = line.to_owned();
        for (value, name) in &self.0 {
            if text.contains(value.expose()) {
                text = text.replace(value.expose(), name);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_secrets_do_not_reach_the_log() {
        let values = [
            ("API_KEY", Secret::new("hunter2-long")),
            ("HALF", Secret::new("hunter2")),
            ("CERT", Secret::new("-----BEGIN\nabcdefgh\n")),
            ("MODE", Secret::new("production")),
            ("N", Secret::new("3000")),
        ];
        let mask = Mask::new(values.iter().map(|(n, v)| (*n, v)));
        assert_eq!(mask.apply("key=hunter2-long"), "key=[API_KEY]");
        assert_eq!(mask.apply("x hunter2."), "x [HALF].");
        assert_eq!(mask.apply("abcdefgh"), "[CERT]");
        assert_eq!(mask.apply("production on 3000"), "production on 3000");
    }
}
