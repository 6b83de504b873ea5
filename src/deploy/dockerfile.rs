//! What images a Dockerfile names, each held to what an app may deploy (`image_name`). Pure.
//!
//! What it says is told as the builder tells it, as far as that goes plainly; where it does not, the line is refused.
//! What an image pulled from a registry carries in ONBUILD is not looked at: it names no image of another app, because
//! nobody can guess the end of a tag of ours.

use std::collections::HashMap;

use super::image_name::{Own, id_refused, is_id, short};

impl Own {
    /// Whether this app's Dockerfile may be built: every image it names is held to the
    /// same as one that is deployed.
    ///
    /// # Errors
    /// A sentence with the image or line that is not allowed.
    pub fn allows_dockerfile(&self, text: &str) -> Result<(), String> {
        let escape = match directive(text, "escape") {
            Some(escape) if escape == "`" => '`',
            _ => '\\',
        };
        let named = directive(text, "syntax").filter(|syntax| !is_dockers_own(syntax));
        // The engine looks for the same in a file of JSON, which is no Dockerfile of Docker's own.
        let json = text
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with('{');
        if let Some(syntax) = named.or_else(|| json.then(|| "another program".to_owned())) {
            return Err(format!(
                "the Dockerfile asks to be read by {syntax} (# syntax=), a program that could reach other apps' images: only Docker's own, docker/dockerfile, is run here"
            ));
        }
        let lines = lines(text, escape);
        self.plain(&lines.join("\n"))?;
        let mut args = Args::new();
        let mut stages: Vec<String> = Vec::new();
        for line in &lines {
            let mut words = line.split_whitespace();
            let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
            match instruction.as_str() {
                // Only those before the first FROM count for one.
                "ARG" if stages.is_empty() => {
                    for word in words {
                        if let Some((name, value)) = word.split_once('=') {
                            // One that cannot be told is no fault until a FROM uses it.
                            let value = expanded(unquoted(value), &args, escape, 0);
                            args.insert(name.to_owned(), value.ok());
                        }
                    }
                }
                "FROM" => {
                    let rest: Vec<&str> = words.filter(|w| !w.starts_with("--")).collect();
                    let image = expanded(
                        unquoted(rest.first().copied().unwrap_or_default()),
                        &args,
                        escape,
                        0,
                    )?;
                    // A number is a stage to copy from, and never one to begin with.
                    self.base(&image, stages.contains(&image.to_ascii_lowercase()))?;
                    // A stage without a name is one by its number.
                    let named = rest.get(2).copied().unwrap_or_default();
                    stages.push(named.to_ascii_lowercase());
                }
                "COPY" | "ADD" | "RUN" | "ONBUILD" => {
                    for from in line.split_whitespace().filter_map(from_of) {
                        let from = unquoted(from);
                        let by_number = from.parse::<usize>().is_ok_and(|n| n < stages.len());
                        let by_name = stages.contains(&from.to_ascii_lowercase());
                        self.base(from, by_number || by_name)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The image a stage begins with, or that something is copied from.
    fn base(&self, image: &str, is_stage: bool) -> Result<(), String> {
        if image.is_empty() || image.eq_ignore_ascii_case("scratch") || is_stage {
            return Ok(());
        }
        // The classic builder takes any beginning of an id; a tag says that it is a name.
        if is_id(image) || image.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(id_refused(image));
        }
        self.not_foreign(image)
    }

    /// No tag of ours but the app's own, wherever it stands.
    fn plain(&self, text: &str) -> Result<(), String> {
        let text = text.to_ascii_lowercase();
        let begin = format!("{}/", self.prefix);
        let mut rest = text.as_str();
        while let Some(at) = rest.find(&begin) {
            let found = &rest[at..];
            let ends = |c: char| !(c.is_ascii_alphanumeric() || "._-/:@".contains(c));
            let reference = found.split(ends).next().unwrap_or(found);
            self.not_foreign(reference)?;
            rest = &rest[at + begin.len()..];
        }
        Ok(())
    }
}

/// A `# name=value` at the top of a Dockerfile.
fn directive(text: &str, name: &str) -> Option<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (at, line) in text.lines().enumerate() {
        // The engine lets an interpreter's line come first.
        if at == 0 && line.starts_with("#!") {
            continue;
        }
        let line = line.trim();
        let comment = line.strip_prefix('#').or_else(|| line.strip_prefix("//"))?;
        if let Some((key, value)) = comment.split_once('=')
            && key.trim().eq_ignore_ascii_case(name)
        {
            let value = value.trim().trim_matches(['"', '\'']);
            return value.split_whitespace().next().map(str::to_owned);
        }
    }
    None
}

fn is_dockers_own(syntax: &str) -> bool {
    let name = short(syntax).split([':', '@']).next().unwrap_or_default();
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

/// The instructions, each on one line, without comments.
fn lines(text: &str, escape: char) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = String::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.lines() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        match line.trim_end().strip_suffix(escape) {
            Some(more) => open.push_str(more),
            None => {
                open.push_str(line);
                all.push(std::mem::take(&mut open).trim().to_owned());
            }
        }
    }
    all.push(open.trim().to_owned());
    all.retain(|line| !line.is_empty());
    all
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// `x` of `--from=x` and of `from=x` in a `--mount`.
fn from_of(word: &str) -> Option<&str> {
    if let Some(from) = word.strip_prefix("--from=") {
        return Some(from);
    }
    let mount = word.strip_prefix("--mount=")?;
    unquoted(mount)
        .split(',')
        .find_map(|part| part.strip_prefix("from="))
}

/// What the ARGs before the first FROM say; nothing for a value that cannot be told here.
type Args = HashMap<String, Option<String>>;

/// The builder's own ARGs, whose values it knows and we do not.
const AUTOMATIC: [&str; 11] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETOSVERSION",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "BUILDOSVERSION",
];
/// Defaults within defaults that are followed.
const DEEPEST: u32 = 8;
/// The longest a value becomes: one that doubles with each ARG would fill the memory.
const LONGEST_VALUE: usize = 4_096;

/// `$A`, `${A}`, `${A:-else}` and `${A-else}` put in, as a FROM has them.
fn expanded(text: &str, args: &Args, escape: char, depth: u32) -> Result<String, String> {
    if depth > DEEPEST || text.len() > LONGEST_VALUE {
        return Err(unreadable(text));
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', escape, '"', '\'']) {
        out.push_str(&rest[..at]);
        let here = &rest[at..];
        rest = &here[1..];
        if !here.starts_with('$') {
            // Quotes fall away, and so does what takes the meaning from a letter.
            continue;
        }
        if let Some(braced) = rest.strip_prefix('{') {
            let end = closing(braced).ok_or_else(|| unreadable(text))?;
            out.push_str(&braced_value(&braced[..end], text, (args, escape), depth)?);
            rest = &braced[end + 1..];
        } else {
            let name: String = rest.chars().take_while(|c| is_of_name(*c)).collect();
            out.push_str(given(&name, text, args)?.unwrap_or_default());
            rest = &rest[name.len()..];
        }
        if out.len() > LONGEST_VALUE {
            return Err(unreadable(text));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The value of an ARG, if it has one.
fn given<'a>(name: &str, text: &str, args: &'a Args) -> Result<Option<&'a str>, String> {
    match args.get(name) {
        Some(Some(value)) => Ok(Some(value)),
        Some(None) => Err(unreadable(text)),
        None => Ok(None),
    }
}

fn braced_value(
    inner: &str,
    text: &str,
    (args, escape): (&Args, char),
    depth: u32,
) -> Result<String, String> {
    let end = inner.find(|c| !is_of_name(c)).unwrap_or(inner.len());
    let (name, how) = inner.split_at(end);
    let value = given(name, text, args)?;
    if how.is_empty() {
        return Ok(value.unwrap_or_default().to_owned());
    }
    // Set by the builder, perhaps to nothing: which way it goes is not known here.
    if AUTOMATIC.contains(&name) {
        return Err(unreadable(text));
    }
    let (value, other) = match how.strip_prefix(":-") {
        Some(other) => (value.filter(|v| !v.is_empty()), other),
        None => (
            value,
            how.strip_prefix('-').ok_or_else(|| unreadable(text))?,
        ),
    };
    match value {
        Some(value) => Ok(value.to_owned()),
        None => expanded(other, args, escape, depth + 1),
    }
}

/// Where the brace that was opened closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unreadable(text: &str) -> String {
    let shown: String = text.chars().take(80).collect();
    format!(
        "FROM {shown} in the Dockerfile names its image in a way that cannot be checked here: write it plainly, or with ${{NAME}} and ${{NAME:-default}} alone"
    )
}

#[cfg(test)]
mod tests {
    use crate::deploy::image_name::tests::shop;

    #[test]
    fn a4_a_dockerfile_takes_nothing_of_another_app() {
        let good = "\u{feff}# syntax=docker/dockerfile:1\nARG BASE=python:3.13\nARG V\nFROM --platform=$BUILDPLATFORM ${BASE}-slim AS build\n\
                    FROM fh-abcdef/shop:d3\nCOPY --from=build /a /b\nCOPY --from=0 /a /b\nCOPY --from=nginx:1 / /\n\
                    RUN --mount=type=cache,target=/x,from=build make\nFROM ${V:-alpine:3}\nFROM scratch\n";
        assert_eq!(shop().allows_dockerfile(good), Ok(()));
        for bad in [
            "FROM fh-abcdef/blog:d3",
            "from docker.io/fh-abcdef/blog:d3 as x",
            "ARG A=fh-abc\nARG B=\"def/blog\"\nFROM ${A}$B:d3",
            "ARG A=fh-abcdef\nFROM ${A}/blog:d3",
            "FROM ${NONE:-fh-abc}def/blog:d3",
            "FROM fh-abc\\\ndef/blog:d3",
            "# escape=`\nFROM fh-abc`\n# a comment\ndef/blog:d3",
            "FROM \"fh-abc\"def/blog:d3",
            "FROM scratch\nCOPY --from=fh-abcdef/blog:d3 / /",
            "FROM alpine\nRUN --mount=type=bind,from=fh-abcdef/blog:d3,target=/x cp -r /x /y",
            "FROM alpine\nONBUILD COPY --from=fh-abcdef/blog:d3 / /",
        ] {
            let error = shop().allows_dockerfile(bad).unwrap_err();
            assert!(error.contains("for another app"), "{bad}: {error}");
        }
        for id in [
            "FROM scratch\nCOPY --from=0123456789ab / /",
            "FROM cafe",
            "FROM 47",
            "FROM scratch\nCOPY --from=47 / /",
        ] {
            let error = shop().allows_dockerfile(id).unwrap_err();
            assert!(error.contains("the id of an image"), "{error}");
        }
        let doubled: String = ('b'..='z')
            .map(|c| {
                let before = char::from(c as u8 - 1);
                format!("ARG {c}={}\n", format!("${{{before}}}").repeat(9))
            })
            .collect();
        let nested = format!("FROM {}x", "${a:-".repeat(40_000));
        for clever in [
            "ARG A=xfh\nFROM ${A#x}-abcdef/blog",
            "ARG A=x\nFROM ${A:+fh-abc}def/blog:d3",
            // The builder has these set, whatever we know of them.
            "FROM ${TARGETARCH:+fh-abcdef}/blog:d3",
            "FROM fh-abcdef${TARGETVARIANT-zz}/blog:d3",
            &format!("ARG a=0123456789\n{doubled}FROM $z"),
            &nested,
        ] {
            let error = shop().allows_dockerfile(clever).unwrap_err();
            assert!(
                error.contains("write it plainly") && error.len() < 400,
                "{error}"
            );
        }
        // What no FROM uses is no fault.
        let unused = format!("ARG a=0123456789\n{doubled}ARG Q=${{a:+b}}\nFROM alpine:3");
        assert_eq!(shop().allows_dockerfile(&unused), Ok(()));
        for syntax in [
            "# syntax=evil.test/reader",
            "#syntax = evil/docker/dockerfile:1",
            "// syntax=evil",
            "{\"syntax\": \"evil\"}",
        ] {
            let error = shop()
                .allows_dockerfile(&format!("{syntax}\nFROM a"))
                .unwrap_err();
            assert!(error.contains("# syntax="), "{error}");
        }
    }
}
