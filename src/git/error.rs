//! What git's failures mean, in sentences.

use std::time::Duration;

use super::names::GitUrl;
use crate::base::hearsay::one_line;

/// Why git did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The server cannot be reached.
    #[error(
        "the repository {url} cannot be reached ({why}): check the address and that this box can reach that host"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// In git's words.
        why: String,
    },
    /// The server's certificate is not trusted.
    #[error(
        "the certificate of the repository {url} is not trusted ({why}): for a private git host name its root under [git] ca_file in the config"
    )]
    Certificate {
        /// The address.
        url: String,
        /// In git's words.
        why: String,
    },
    /// The server wants other credentials.
    #[error(
        "the repository {url} refused access: it is private or does not exist; give a token (https) or a deploy key (ssh) with `freehold app create --git-token` or on the app's page"
    )]
    Refused {
        /// The address.
        url: String,
    },
    /// No repository there.
    #[error(
        "there is no repository at {url}: check the address (a private one also answers so without a token)"
    )]
    NotFound {
        /// The address.
        url: String,
    },
    /// The branch is not there.
    #[error("the repository {url} has no branch \"{branch}\": push it, or set the app's branch")]
    NoBranch {
        /// The address.
        url: String,
        /// The branch.
        branch: String,
    },
    /// The commit is not there.
    #[error(
        "the commit {commit} is not in {url} any more: it was probably replaced by a forced push; push again"
    )]
    NoCommit {
        /// The address.
        url: String,
        /// The commit.
        commit: String,
    },
    /// The server does not hand out a commit by its id.
    #[error("the server does not hand out a commit by its id")]
    NotHandedOut,
    /// It took too long.
    #[error("git did not finish within {} s and was stopped: is the git host slow or the repository very large?", .0.as_secs())]
    TimedOut(Duration),
    /// The tree is too large.
    #[error("the repository's tree is larger than {} MB, so it was not taken", .0 >> 20)]
    TooLarge(u64),
    /// Git is not installed.
    #[error("git is not installed on this box: install it with `apt-get install git`")]
    NotInstalled,
    /// The disk or a process failed.
    #[error("git could not work on this box: {0}")]
    Local(String),
    /// Something else, in git's words.
    #[error("git failed: {0}")]
    Other(String),
}

/// The longest of git's own words that are told.
const WORDS: usize = 300;

/// Reads git's complaint (in the C locale), in which the server's own words may stand.
pub(super) fn explain(stderr: &str, url: Option<&GitUrl>) -> GitError {
    let lower = stderr.to_ascii_lowercase();
    let after = |words: &str| {
        let found = lower.split(words).nth(1);
        let word = found.and_then(|rest| rest.split_whitespace().next());
        one_line(word.unwrap_or("asked for"), WORDS)
    };
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    let said = last_words(stderr);
    let Some(url) = url.map(ToString::to_string) else {
        if has(&["no space left"]) {
            return GitError::Local("no space is left on the disk".into());
        }
        return GitError::Other(said);
    };
    if has(&["no space left"]) {
        GitError::Local("no space is left on the disk".into())
    } else if has(&["unadvertised object"]) {
        GitError::NotHandedOut
    } else if has(&["not our ref", "unable to find remote helper for 'sha"]) {
        GitError::NoCommit {
            url,
            commit: after("not our ref "),
        }
    } else if has(&["couldn't find remote ref"]) {
        GitError::NoBranch {
            url,
            branch: after("remote ref ")
                .trim_start_matches("refs/heads/")
                .to_owned(),
        }
    } else if has(&[
        "certificate",
        "unable to get local issuer",
        "host key verification failed",
    ]) {
        GitError::Certificate { url, why: said }
    } else if has(&[
        "authentication failed",
        "could not read username",
        "could not read password",
        "permission denied",
        "access denied",
        "terminal prompts disabled",
        "returned error: 401",
        "returned error: 403",
    ]) {
        GitError::Refused { url }
    } else if has(&[
        "not found",
        "does not appear to be a git repository",
        "returned error: 404",
    ]) {
        GitError::NotFound { url }
    } else if has(&[
        "could not resolve",
        "failed to connect",
        "couldn't connect",
        "connection refused",
        "timed out",
        "timeout",
        "network is unreachable",
        "no route to host",
        "connection reset",
        "early eof",
        "operation too slow",
        "returned error: 5",
        "could not read from remote repository",
        "unable to access",
    ]) {
        GitError::Unreachable { url, why: said }
    } else {
        GitError::Other(said)
    }
}

/// The last telling line, without git's prefixes.
fn last_words(stderr: &str) -> String {
    let line = stderr
        .lines()
        .rev()
        .map(str::trim)
        .find(|l| l.starts_with("fatal:") || l.starts_with("error:"))
        .or_else(|| stderr.lines().map(str::trim).rfind(|l| !l.is_empty()))
        .unwrap_or("it gave no reason");
    let told = line
        .trim_start_matches("fatal:")
        .trim_start_matches("error:")
        .trim();
    // The address stands in our own sentence.
    let told = match told.strip_prefix("unable to access '") {
        Some(rest) => rest.split_once("': ").map_or(told, |(_, why)| why),
        None => told,
    };
    one_line(told, WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e3_a_servers_words_are_told_without_what_a_terminal_obeys() {
        let url = GitUrl::parse("https://git.test/shop.git").unwrap();
        let long = "x".repeat(5_000);
        for said in [
            "fatal: remote error: \u{1b}[2J\u{9b}1mno\r\n".to_owned(),
            format!("fatal: remote error: upload-pack: not our ref \u{1b}{long}"),
            format!("fatal: couldn't find remote ref \u{7}{long}"),
        ] {
            for url in [Some(&url), None] {
                let told = explain(&said, url).to_string();
                assert!(told.len() < 700, "{told}");
                assert!(!told.contains(char::is_control), "{told:?}");
            }
        }
    }

    #[test]
    fn f4_each_failure_gets_a_sentence_with_a_remedy() {
        let url = GitUrl::parse("https://git.test/shop.git").unwrap();
        let cases: [(&str, &str); 8] = [
            (
                "fatal: unable to access 'https://git.test/shop.git/': Could not resolve host: git.test",
                "cannot be reached (Could not resolve host: git.test):",
            ),
            (
                "fatal: unable to access 'https://git.test/shop.git/': server certificate verification failed. CAfile: none",
                "[git] ca_file",
            ),
            (
                "fatal: could not read Username for 'https://git.test': terminal prompts disabled",
                "refused access",
            ),
            (
                "remote: Repository not found.\nfatal: repository 'https://git.test/shop.git/' not found",
                "no repository at",
            ),
            (
                "fatal: couldn't find remote ref refs/heads/nope",
                "no branch \"nope\"",
            ),
            (
                "fatal: remote error: upload-pack: not our ref 1234567890123456789012345678901234567890",
                "commit 1234567890",
            ),
            (
                "error: Server does not allow request for unadvertised object 12",
                "by its id",
            ),
            (
                "fatal: write error: No space left on device",
                "no space is left",
            ),
        ];
        for (said, wanted) in cases {
            let text = explain(said, Some(&url)).to_string();
            assert!(text.contains(wanted), "{said} became {text}");
        }
    }
}
