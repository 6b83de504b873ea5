//! What images a deploy may name. Pure.
//!
//! Our own tags look like names of Docker Hub, and an engine takes an image's id for a
//! name: by either a developer of one app would run another app's image, with the
//! source and whatever was built into it. So a reference is one that could be pulled,
//! and under this installation's tags it is the app's own.
//! A Dockerfile is held to the same wherever it names an image. What an image pulled
//! from a registry carries in ONBUILD is not looked at.

use std::collections::HashMap;

/// This installation's tags, and the app that asks.
#[derive(Clone, Debug)]
pub struct Own {
    /// What all our tags begin with: `fh-` and the beginning of the installation's id.
    pub prefix: String,
    /// The app's name.
    pub app: String,
}

/// The longest name a registry takes.
const LONGEST_NAME: usize = 255;

impl Own {
    /// Whether this app may deploy the image `reference`.
    ///
    /// # Errors
    /// A sentence: it is no reference, an image's id, or another app's.
    pub fn allows(&self, reference: &str) -> Result<(), String> {
        well_formed(reference)?;
        self.not_foreign(reference)
    }

    fn not_foreign(&self, reference: &str) -> Result<(), String> {
        let name = short(reference).to_ascii_lowercase();
        let Some(rest) = name.strip_prefix(&format!("{}/", self.prefix)) else {
            return Ok(());
        };
        match rest.split([':', '@']).next() == Some(self.app.as_str()) {
            true => Ok(()),
            false => Err(format!(
                "{reference} is an image that this box made for another app: deploy one of {}'s own, or one from a registry",
                self.app
            )),
        }
    }

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
        let mut args: HashMap<String, String> = HashMap::new();
        let mut stages: Vec<String> = Vec::new();
        for line in &lines {
            let mut words = line.split_whitespace();
            let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
            match instruction.as_str() {
                // Only those before the first FROM count for one.
                "ARG" if stages.is_empty() => {
                    for word in words {
                        if let Some((name, value)) = word.split_once('=') {
                            let value = expanded(unquoted(value), &args, escape)?;
                            args.insert(name.to_owned(), value);
                        }
                    }
                }
                "FROM" => {
                    let rest: Vec<&str> = words.filter(|w| !w.starts_with("--")).collect();
                    let image = expanded(
                        unquoted(rest.first().copied().unwrap_or_default()),
                        &args,
                        escape,
                    )?;
                    self.base(&image, &stages)?;
                    // A stage without a name is one by its number.
                    let named = rest.get(2).copied().unwrap_or_default();
                    stages.push(named.to_ascii_lowercase());
                }
                "COPY" | "ADD" | "RUN" | "ONBUILD" => {
                    for from in line.split_whitespace().filter_map(from_of) {
                        self.base(unquoted(from), &stages)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The image a stage begins with, or that something is copied from.
    fn base(&self, image: &str, stages: &[String]) -> Result<(), String> {
        let stage = image.to_ascii_lowercase();
        let is_stage = stages.contains(&stage) || stage.parse::<usize>().is_ok();
        if image.is_empty() || stage == "scratch" || is_stage {
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

/// Whether the image the engine has under `reference` really goes by that name: an
/// engine also finds one by the beginning of its id.
pub fn goes_by(tags: &[String], reference: &str) -> bool {
    let whole = |reference: &str| {
        let name = short(reference).to_owned();
        match name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'))
        {
            true => name,
            false => format!("{name}:latest"),
        }
    };
    reference.contains('@') || tags.iter().any(|tag| whole(tag) == whole(reference))
}

/// Without what Docker Hub's names may leave out.
fn short(reference: &str) -> &str {
    let name = ["docker.io/", "index.docker.io/", "registry-1.docker.io/"]
        .iter()
        .find_map(|hub| reference.strip_prefix(hub))
        .unwrap_or(reference);
    name.strip_prefix("library/").unwrap_or(name)
}

fn is_id(reference: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
    hex(digits) && (digits.len() == 12 || digits.len() == 64 || reference.starts_with("sha256:"))
}

fn id_refused(reference: &str) -> String {
    let shown: String = reference.chars().take(80).collect();
    format!(
        "\"{shown}\" is the id of an image, which could be any app's: name the image and its tag, such as registry.example.com/team/app:1.2"
    )
}

/// Whether `reference` can be pulled: `[registry/]name[:tag][@digest]`, as registries have it.
fn well_formed(reference: &str) -> Result<(), String> {
    if is_id(reference) {
        return Err(id_refused(reference));
    }
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            (Some(host), path)
        }
        _ => (None, name),
    };
    let good = name.len() <= LONGEST_NAME
        && host.is_none_or(is_host)
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    if good {
        return Ok(());
    }
    let shown: String = reference.chars().take(80).collect();
    let why = match path.bytes().any(|b| b.is_ascii_uppercase()) {
        true => ", and a name has no capital letters",
        false => "",
    };
    Err(format!(
        "\"{shown}\" is no image reference: write it like registry.example.com/team/app:1.2{why}"
    ))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let named = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(label),
    };
    named && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Small letters and digits, joined by `.`, `_`, `__` or hyphens.
fn is_component(part: &str) -> bool {
    let joint = |b: u8| b"._-".contains(&b);
    let bytes = part.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    let inside = part
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'));
    inside && ends.is_some_and(|(first, last)| !joint(*first) && !joint(*last))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|b| word(*b))
        && bytes.iter().all(|b| word(*b) || b".-".contains(b))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(kind, hex)| {
        let known = kind
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b));
        !kind.is_empty() && known && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
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

/// `$A`, `${A}`, `${A:-else}` and `${A:+then}` put in, as a FROM has them.
fn expanded(text: &str, args: &HashMap<String, String>, escape: char) -> Result<String, String> {
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
            out.push_str(&braced_value(&braced[..end], text, args, escape)?);
            rest = &braced[end + 1..];
        } else {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            out.push_str(args.get(&name).map_or("", String::as_str));
            rest = &rest[name.len()..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn braced_value(
    inner: &str,
    text: &str,
    args: &HashMap<String, String>,
    escape: char,
) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
    let (name, how) = inner.split_at(end);
    let value = args.get(name).map(String::as_str);
    let given = value.filter(|v| !v.is_empty());
    Ok(match how.split_at_checked(2) {
        _ if how.is_empty() => value.unwrap_or_default().to_owned(),
        Some((":-", other)) => match given {
            Some(value) => value.to_owned(),
            None => expanded(other, args, escape)?,
        },
        Some((":+", then)) => match given {
            Some(_) => expanded(then, args, escape)?,
            None => String::new(),
        },
        _ if how.starts_with('-') => match value {
            Some(value) => value.to_owned(),
            None => expanded(&how[1..], args, escape)?,
        },
        _ if how.starts_with('+') => match value {
            Some(_) => expanded(&how[1..], args, escape)?,
            None => String::new(),
        },
        _ => return Err(unreadable(text)),
    })
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
    format!(
        "FROM {text} in the Dockerfile names its image in a way that cannot be checked here: write it plainly, or with ${{NAME}} and ${{NAME:-default}} alone"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> Own {
        Own {
            prefix: "fh-abcdef".into(),
            app: "shop".into(),
        }
    }

    #[test]
    fn a4_an_image_of_another_app_is_not_deployed() {
        for good in [
            "nginx",
            "nginx:1.27",
            "fh-abcdef/shop:d3",
            "fh-000000/blog:d3",
            "ghcr.io/a/b:1",
            "127.0.0.1:5000/tasks:1",
            "[::1]:5000/a",
            "localhost/a__b/c-d.e",
            "r.test/a@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(shop().allows(good), Ok(()), "{good}");
        }
        for other in [
            "fh-abcdef/blog:d3",
            "fh-abcdef/blog",
            "docker.io/fh-abcdef/blog:d3",
            "index.docker.io/fh-abcdef/blog:d3",
            "fh-abcdef/shop2:d1",
            "fh-abcdef/shop/blog:d1",
        ] {
            let error = shop().allows(other).unwrap_err();
            assert!(error.contains("for another app"), "{other}: {error}");
        }
    }

    #[test]
    fn a4_an_images_id_is_no_name() {
        let long = "a".repeat(64);
        for id in [
            "0123456789ab",
            &long,
            &format!("sha256:{long}"),
            "sha256:0123",
        ] {
            let error = shop().allows(id).unwrap_err();
            assert!(error.contains("is the id of an image"), "{id}: {error}");
        }
        // An engine finds an image by any beginning of its id; that is not its name.
        let tags = ["fh-abcdef/blog:d3".to_owned(), "nginx:latest".to_owned()];
        assert!(!goes_by(&tags, "cafe"));
        assert!(goes_by(&tags, "nginx") && goes_by(&tags, "docker.io/library/nginx:latest"));
        assert!(!goes_by(&tags, "nginx:1"));
        assert!(goes_by(&["a.test:5000/b:latest".into()], "a.test:5000/b"));
    }

    #[test]
    fn a8_what_is_no_reference_is_told_at_once() {
        for bad in [
            "",
            "UPPER CASE",
            "a b",
            "Shop",
            "a//b",
            "-a",
            "a:",
            "a:b:c",
            "a@sha256:1",
            "../a",
            "https://r.test/a",
            "r.test:99999/a",
            "a..b",
            "a___b",
            "r.test/",
        ] {
            let error = shop().allows(bad).unwrap_err();
            assert!(error.contains("is no image reference"), "{bad}: {error}");
        }
        let capital = shop().allows("r.test/Team/app").unwrap_err();
        assert!(
            capital.ends_with("a name has no capital letters"),
            "{capital}"
        );
    }

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
            "ARG A=x\nFROM ${A:+fh-abc}def/blog:d3",
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
        for id in ["FROM scratch\nCOPY --from=0123456789ab / /", "FROM cafe"] {
            let error = shop().allows_dockerfile(id).unwrap_err();
            assert!(error.contains("the id of an image"), "{error}");
        }
        let clever = shop().allows_dockerfile("ARG A=xfh\nFROM ${A#x}-abcdef/blog");
        assert!(clever.unwrap_err().contains("write it plainly"));
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
