//! `.dockerignore`: which files of a folder stay out of a build.
//!
//! The rules are the engine's own: a pattern matches a path or any folder above
//! it, `**` stands for any number of folders, `!` takes a path back in, the
//! last matching line decides.

/// The patterns of one file.
#[derive(Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    takes_back: bool,
    parts: Vec<String>,
}

/// More patterns than this are left unread.
const MOST: usize = 2_000;

impl Ignore {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Self {
        let patterns = text
            .trim_start_matches('\u{feff}')
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::trim)
            .filter_map(|line| {
                let (takes_back, line) = match line.strip_prefix('!') {
                    Some(rest) => (true, rest.trim()),
                    None => (false, line),
                };
                let parts: Vec<String> = line
                    .split('/')
                    .filter(|part| !part.is_empty() && *part != ".")
                    .map(str::to_owned)
                    .collect();
                (!parts.is_empty()).then_some(Pattern { takes_back, parts })
            })
            .take(MOST)
            .collect();
        Self { patterns }
    }

    /// Whether `path` (its parts from the context's root) stays out.
    pub fn leaves_out(&self, path: &[&str]) -> bool {
        let mut out = false;
        for pattern in &self.patterns {
            if pattern.takes_back == out && pattern.covers(path) {
                out = !pattern.takes_back;
            }
        }
        out
    }

    /// Whether something below a folder that is left out may be taken back.
    pub(super) fn may_take_back(&self) -> bool {
        self.patterns.iter().any(|p| p.takes_back)
    }
}

impl Pattern {
    /// Whether it matches the path or a folder above it.
    fn covers(&self, path: &[&str]) -> bool {
        (1..=path.len()).any(|end| match_parts(&self.parts, &path[..end]))
    }
}

/// `**` for any number of names, each other part for one.
fn match_parts(pattern: &[String], path: &[&str]) -> bool {
    matches(
        path.len(),
        |at| pattern.get(at).is_some_and(|part| part == "**"),
        |at, name| {
            let part = pattern.get(at)?;
            match_name(part.as_bytes(), path[name].as_bytes()).then_some(at + 1)
        },
        pattern.len(),
    )
}

/// `*`, `?`, `[a-z]`, `[^a]` and `\x` within one name.
fn match_name(pattern: &[u8], name: &[u8]) -> bool {
    matches(
        name.len(),
        |at| pattern.get(at) == Some(&b'*'),
        |at, letter| {
            let c = name[letter];
            let (first, rest) = pattern.get(at..)?.split_first()?;
            match (first, rest.first()) {
                (b'?', _) => Some(at + 1),
                (b'[', _) => {
                    let (set, negated, after) = class(rest)?;
                    let within = set.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    (within != negated).then_some(pattern.len() - after.len())
                }
                (b'\\', Some(literal)) => (*literal == c).then_some(at + 2),
                (literal, _) => (*literal == c).then_some(at + 1),
            }
        },
        pattern.len(),
    )
}

/// Whether a pattern of `end` places matches `length` things: `is_star` says at which place any number of
/// them may stand, `one` where the pattern goes on after it took one at a place. A star that takes more is
/// only ever the last one met, so a pattern of nothing but stars costs no more than another.
fn matches(
    length: usize,
    is_star: impl Fn(usize) -> bool,
    one: impl Fn(usize, usize) -> Option<usize>,
    end: usize,
) -> bool {
    let (mut at, mut thing) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if is_star(at) {
            at += 1;
            star = Some((at, thing));
            continue;
        }
        if thing == length && at == end {
            return true;
        }
        let next = (thing < length).then(|| one(at, thing)).flatten();
        (at, thing) = match (next, star) {
            (Some(next), _) => (next, thing + 1),
            (None, Some((after, from))) if from < length => {
                star = Some((after, from + 1));
                (after, from + 1)
            }
            _ => return false,
        };
    }
}

type Class<'a> = (Vec<(u8, u8)>, bool, &'a [u8]);

fn class(mut rest: &[u8]) -> Option<Class<'_>> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut set = Vec::new();
    loop {
        match rest {
            [b']', after @ ..] if !set.is_empty() => return Some((set, negated, after)),
            [low, b'-', high, after @ ..] if *high != b']' => {
                set.push((*low, *high));
                rest = after;
            }
            [c, after @ ..] => {
                set.push((*c, *c));
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(rules: &str, path: &str) -> bool {
        Ignore::parse(rules).leaves_out(&path.split('/').collect::<Vec<_>>())
    }

    #[test]
    fn f4_patterns_match_as_the_engine_does() {
        for (rules, path, expected) in [
            ("node_modules", "node_modules/a/b.js", true),
            ("node_modules", "sub/node_modules", false),
            ("**/node_modules", "sub/node_modules/x", true),
            ("**/node_modules", "node_modules/x", true),
            ("/target/", "target/debug", true),
            ("*.log", "a.log", true),
            ("*.log", "sub/a.log", false),
            ("**/*.log", "sub/a.log", true),
            ("*/temp*", "a/temporary", true),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("[a-c].txt", "b.txt", true),
            ("[^a-c].txt", "b.txt", false),
            ("*\n!keep.md", "keep.md", false),
            ("*\n!keep.md", "other", true),
            ("*\n!src/**\nsrc/secret", "src/a/b", false),
            ("*\n!src/**\nsrc/secret", "src/secret", true),
            ("# note\n\n  docs  ", "docs/a", true),
            (".", "a", false),
            ("a/../b", "a", false),
            ("a*b*c", "aXbXbYc", true),
            ("a*b*c", "aXbXbY", false),
            ("a/**/b/**/c", "a/x/b/b/y/c", true),
            ("a/**/b/**/c", "a/x/y/c", false),
            ("**", "a/b", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*[", "a[", false),
        ] {
            assert_eq!(out(rules, path), expected, "{rules:?} {path}");
        }
    }

    /// Tried with every way to share the name among the stars, this took seconds.
    #[test]
    fn f4_a_pattern_of_stars_costs_no_more_than_another() {
        let begun = std::time::Instant::now();
        let stars = format!("{}b", "*".repeat(60));
        let name = "a".repeat(200);
        assert!(!out(&stars, &name));
        let folders = format!("{}b", "**/".repeat(60));
        let path = vec!["a"; 100].join("/");
        assert!(!out(&folders, &path));
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }
}
