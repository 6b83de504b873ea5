//! Against real repositories on this disk; `file` is allowed only here.

use super::*;
use std::process::Command;

fn git(folder: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "user.name=t", "-c", "user.email=t@t.test", "-C"])
        .arg(folder)
        .args(args)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

struct Place {
    folder: tempfile::TempDir,
    git: Git,
    remote: Remote,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    git(&work, &["init", "-q", "-b", "main"]);
    std::fs::write(work.join("Dockerfile"), "FROM scratch\n").unwrap();
    std::fs::write(work.join(".gitattributes"), "Dockerfile export-ignore\n").unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "-q", "-m", "First: it's \"quoted\""]);
    let mut handle = Git::new(&folder.path().join("scratch"), None).unwrap();
    handle.protocols = "file";
    let remote = Remote {
        url: GitUrl::parse(&format!("file://{}", work.display())).unwrap(),
        credentials: Credentials::None,
    };
    Place {
        folder,
        git: handle,
        remote,
    }
}

fn main() -> Branch {
    Branch::parse("main").unwrap()
}

#[tokio::test]
async fn f4_exactly_one_commit_is_fetched_and_its_whole_tree_taken() {
    let p = place();
    let work = p.folder.path().join("work");
    let first = CommitId::parse(&git(&work, &["rev-parse", "HEAD"])).unwrap();
    assert_eq!(p.git.head(&p.remote, &main()).await.unwrap(), first);
    std::fs::write(work.join("later"), "x").unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "-q", "-m", "Second"]);

    let repo = p.folder.path().join("repos/7");
    let limit = Duration::from_secs(60);
    p.git
        .fetch(&repo, &p.remote, &first, &main(), limit)
        .await
        .unwrap();
    p.git
        .fetch(&repo, &p.remote, &first, &main(), limit)
        .await
        .unwrap();
    assert_eq!(
        p.git.info(&repo, &first).await.unwrap().title,
        "First: it's \"quoted\""
    );
    let to = p.folder.path().join("tree.tar");
    let bytes = p.git.archive(&repo, &first, &to).await.unwrap();
    assert_eq!(bytes, std::fs::metadata(&to).unwrap().len());
    let mut names: Vec<String> = tar::Archive::new(std::fs::File::open(&to).unwrap())
        .entries()
        .unwrap()
        .map(|e| e.unwrap().path().unwrap().display().to_string())
        .filter(|n| !n.contains("pax_global"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [".gitattributes", "Dockerfile"],
        "not trimmed, not the later commit"
    );
}

#[tokio::test]
async fn f4_what_is_not_there_is_told_apart() {
    let p = place();
    let repo = p.folder.path().join("repos/7");
    let gone = CommitId::parse(&"1".repeat(40)).unwrap();
    let limit = Duration::from_secs(60);
    let error = p
        .git
        .fetch(&repo, &p.remote, &gone, &main(), limit)
        .await
        .unwrap_err();
    assert!(matches!(error, GitError::NoCommit { .. }), "{error}");
    let nope = Branch::parse("nope").unwrap();
    let error = p.git.head(&p.remote, &nope).await.unwrap_err();
    assert!(matches!(error, GitError::NoBranch { .. }), "{error}");
    let absent = Remote {
        url: GitUrl::parse("file:///nonexistent/x").unwrap(),
        credentials: Credentials::None,
    };
    let error = p.git.head(&absent, &main()).await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn f4_other_protocols_and_hooks_have_no_way_in() {
    let mut p = place();
    p.git.protocols = "https:ssh";
    let error = p.git.head(&p.remote, &main()).await.unwrap_err();
    assert!(error.to_string().contains("not allowed"), "{error}");
    let call = p.git.call(ASK);
    let arguments = format!("{:?}", run::arguments(&call));
    assert!(arguments.contains("core.hooksPath=/dev/null"));
}

#[tokio::test]
async fn f4_an_unreachable_host_is_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let git = Git::new(folder.path(), None).unwrap();
    let remote = Remote {
        url: GitUrl::parse("https://127.0.0.1:9/shop.git").unwrap(),
        credentials: Credentials::Token(Secret::new("hunter2")),
    };
    let error = git.head(&remote, &main()).await.unwrap_err();
    assert!(matches!(error, GitError::Unreachable { .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"));
    let arguments = {
        let mut call = git.call(ASK);
        git.authorize(&mut call, &remote).unwrap();
        format!("{:?}", run::arguments(&call))
    };
    assert!(!arguments.contains("hunter2") && !arguments.contains("Basic"));
}

#[tokio::test]
async fn f4_a_repository_of_many_fetches_is_packed_to_what_the_last_one_needs() {
    let p = place();
    let work = p.folder.path().join("work");
    let repo = p.folder.path().join("repos/7");
    let limit = Duration::from_secs(60);
    let mut commits = Vec::new();
    for n in 0..52 {
        std::fs::write(work.join("page"), format!("{n}")).unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "More"]);
        let commit = CommitId::parse(&git(&work, &["rev-parse", "HEAD"])).unwrap();
        p.git
            .fetch(&repo, &p.remote, &commit, &main(), limit)
            .await
            .unwrap();
        // A large fetch is a pack of its own.
        git(&repo, &["repack", "-q", "-d"]);
        assert_eq!(p.git.tidy(&repo).await.unwrap(), n == 50, "{n}");
        commits.push(commit);
    }
    let count = p.git.count(&repo).await.unwrap();
    assert!(count.packs <= 2 && count.loose == 0, "{count:?}");
    assert!(!p.git.has(&repo, &commits[0]).await, "an old one is kept");
    let to = p.folder.path().join("tree.tar");
    p.git.archive(&repo, &commits[51], &to).await.unwrap();
    // One that went is fetched as if for the first time.
    p.git
        .fetch(&repo, &p.remote, &commits[0], &main(), limit)
        .await
        .unwrap();
    p.git.archive(&repo, &commits[0], &to).await.unwrap();

    // What fetches that were cut off left goes, and a packing that was killed is no lock.
    for n in 0..6 {
        std::fs::write(repo.join(format!("objects/pack/tmp_pack_{n}")), "x").unwrap();
    }
    std::fs::write(repo.join("gc.pid"), "1 elsewhere").unwrap();
    assert!(p.git.tidy(&repo).await.unwrap());
    assert_eq!(p.git.count(&repo).await.unwrap().garbage, 0);
    assert!(!p.git.tidy(&p.folder.path().join("none")).await.unwrap());
}
