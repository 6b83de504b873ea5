//! Completions in the shells themselves, and manual pages that the manual's own tools find nothing wrong with.

use std::process::Command;

use super::typed::BINARY;

fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output().unwrap();
    let said = [&out.stdout[..], &out.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(out.status.success(), "{program} {arguments:?}: {said}");
    said
}

fn script(folder: &tempfile::TempDir, shell: &str) -> String {
    let path = folder.path().join(shell);
    std::fs::write(&path, run(BINARY, &["completions", shell])).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a7_bash_completes_verbs_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let path = script(&folder, "bash");
    // As bash calls it: the words so far, which of them, the one before.
    let complete = |words: &str, last: usize| {
        let typed = format!(
            "source {path}; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _freehold freehold \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        run("bash", &["--norc", "-c", &typed])
    };
    let verbs = complete("freehold ''", 1);
    for verb in ["status", "deploy", "app", "doctor", "boxes", "completions"] {
        assert!(verbs.lines().any(|l| l == verb), "{verb}: {verbs}");
    }
    assert_eq!(complete("freehold dep", 1).trim(), "deploy\ndeploys");
    let below = complete("freehold app ''", 2);
    assert!(
        below.contains("create") && below.contains("webhook"),
        "{below}"
    );
    let options = complete("freehold deploy --", 2);
    assert!(
        options.contains("--image") && options.contains("--json"),
        "{options}"
    );
    assert_eq!(complete("freehold completions f", 2).trim(), "fish");
}

#[test]
fn a7_zsh_and_fish_read_their_completions() {
    let folder = tempfile::tempdir().unwrap();
    run("zsh", &["--no-rcs", "-n", &script(&folder, "zsh")]);
    let fish = script(&folder, "fish");
    run("fish", &["--no-config", "--no-execute", &fish]);
    let typed = format!("source {fish}; complete --do-complete 'freehold back'");
    let said = run("fish", &["--no-config", "-c", &typed]);
    assert!(said.starts_with("backup"), "{said}");
}

#[test]
fn a7_every_verb_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let said = run(BINARY, &["man", dir]);
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert!(said.contains(&files.len().to_string()), "{said}");
    for page in ["freehold.1", "freehold-app-create.1", "freehold-doctor.1"] {
        assert!(files.iter().any(|f| f == page), "{page}: {files:?}");
    }
    for file in &files {
        let path = format!("{dir}/{file}");
        let lint = run("mandoc", &["-T", "lint", "-W", "error", &path]);
        assert_eq!(lint, "", "{file}");
    }
    let shown = run(
        "mandoc",
        &["-T", "utf8", &format!("{dir}/freehold-deploy.1")],
    );
    let plain: String = shown.replace('\u{8}', "");
    assert!(
        plain.contains("EXAMPLES") || plain.contains("Examples"),
        "{plain}"
    );
    // Without a folder the first page is printed.
    let first = std::fs::read_to_string(format!("{dir}/freehold.1")).unwrap();
    assert_eq!(run(BINARY, &["man"]).trim(), first.trim());
}
