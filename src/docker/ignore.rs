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

fn match_parts(pattern: &[String], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=path.len()).any(|skip| match_parts(rest, &path[skip..]))
        }
        Some((first, rest)) => match path.split_first() {
            None => false,
            Some((name, below)) => {
                match_name(first.as_bytes(), name.as_bytes()) && match_parts(rest, below)
            }
        },
    }
}

/// `*`, `?`, `[a-z]`, `[^a]` and `\x` within one name.
fn match_name(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skip| match_name(rest, &name[skip..])),
        Some((b'?', rest)) => !name.is_empty() && match_name(rest, &name[1..]),
        Some((b'[', rest)) => match (class(rest), name.split_first()) {
            (Some((set, negated, after)), Some((c, below))) => {
                set.iter().any(|(low, high)| low <= c && c <= high) != negated
                    && match_name(after, below)
            }
            _ => false,
        },
        Some((b'\\', rest)) if !rest.is_empty() => {
            name.first() == rest.first() && match_name(&rest[1..], &name[1..])
        }
        Some((c, rest)) => name.first() == Some(c) && match_name(rest, &name[1..]),
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
        ] {
            assert_eq!(out(rules, path), expected, "{rules:?} {path}");
        }
    }
}
