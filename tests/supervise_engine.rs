//! The engine's adapter against a real engine (`FREEHOLD_TEST_ENGINE`).
//!
//! Every object made here carries a prefix and a label of its own and is
//! removed again; nothing is pruned.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freehold::docker::{
    BuildError, BuildRequest, Builder, Chunk, ContainerEvent, Engine, LogCap, LogQuery,
    NewContainer, NewExec, Phase, pack_context,
};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

fn host() -> String {
    std::env::var("FREEHOLD_TEST_ENGINE")
        .expect("FREEHOLD_TEST_ENGINE is not set: run tests/run, or source tests/rig/env")
}

async fn engine() -> Engine {
    let engine = Engine::connect(&host()).unwrap();
    engine.negotiate().await.unwrap();
    engine
}

fn name(of: &str) -> String {
    format!("fhtest-{of}-{}", std::process::id())
}

fn busybox(of: &str, command: &[&str]) -> NewContainer {
    NewContainer {
        name: name(of),
        image: "busybox:latest".into(),
        labels: HashMap::from([("fhtest".to_owned(), name(of))]),
        command: Some(command.iter().map(|w| (*w).to_owned()).collect()),
        log: Some(LogCap {
            size: 10 << 20,
            files: 3,
        }),
        ..NewContainer::default()
    }
}

/// Removes its container when the test ends, however it ends.
struct Gone(Engine, String);
impl Drop for Gone {
    fn drop(&mut self) {
        let (engine, name) = (self.0.clone(), self.1.clone());
        std::thread::spawn(move || {
            tokio::runtime::Runtime::new()
                .unwrap()
                .block_on(engine.remove_container(&name))
        })
        .join()
        .unwrap()
        .unwrap();
    }
}

#[tokio::test]
async fn f9_a_container_has_its_limits_and_its_environment_byte_for_byte() {
    let engine = engine().await;
    let awkward = "a$b \"c\" 'd'\n=e\\ ü`x`%";
    let mut new = busybox("limits", &["sleep", "600"]);
    new.env = BTreeMap::from([("AWKWARD".to_owned(), awkward.to_owned())]);
    new.memory_bytes = Some(64 << 20);
    new.nano_cpus = Some(500_000_000);
    new.pids = Some(50);
    new.drop_capabilities = vec!["NET_RAW".into(), "MKNOD".into()];
    new.no_new_privileges = true;
    new.tmpfs = BTreeMap::from([("/scratch".to_owned(), 1 << 20)]);
    let _gone = Gone(engine.clone(), new.name.clone());
    let id = engine.create_container(&new).await.unwrap();
    engine.start_container(&id).await.unwrap();
    let seen = engine.inspect_container(&id).await.unwrap();
    assert_eq!(seen.phase, Phase::Running);
    assert!(seen.started_ms.unwrap() > 1_700_000_000_000);
    let run = |argv: &'static [&'static str]| {
        let engine = engine.clone();
        let id = id.clone();
        async move {
            let new = NewExec {
                argv: argv.iter().map(|w| (*w).to_owned()).collect(),
                ..NewExec::default()
            };
            let (exec, mut attached) = engine.exec(&id, &new).await.unwrap();
            let mut out = Vec::new();
            while let Some(chunk) = attached.output.next().await {
                out.extend_from_slice(chunk.unwrap().bytes());
            }
            (out, engine.exec_exit_code(&exec).await.unwrap())
        }
    };
    let (out, code) = run(&["cat", "/proc/1/environ"]).await;
    let wanted = format!("AWKWARD={awkward}");
    assert!(out.split(|b| *b == 0).any(|pair| pair == wanted.as_bytes()));
    assert_eq!(code, 0);
    let (status, _) = run(&["cat", "/proc/self/status"]).await;
    let status = String::from_utf8(status).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let caps = status.lines().find(|l| l.starts_with("CapBnd:")).unwrap();
    let caps = u64::from_str_radix(caps.split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_eq!(caps & (1 << 13), 0, "NET_RAW");
    assert_eq!(caps & (1 << 27), 0, "MKNOD");
    let (_, code) = run(&["no-such-program"]).await;
    assert!(code == 126 || code == 127, "{code}");
    let inspected: serde_json::Value = serde_json::from_slice(
        &std::process::Command::new("curl")
            .args(["-s", "--unix-socket", host().trim_start_matches("unix://")])
            .arg(format!("http://d/containers/{id}/json"))
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    let config = &inspected["HostConfig"];
    assert_eq!(config["Memory"], 64 << 20);
    assert_eq!(config["MemorySwap"], 64 << 20);
    assert_eq!(config["PidsLimit"], 50);
    assert_eq!(config["LogConfig"]["Config"]["max-size"], "10485760");
    assert_eq!(config["LogConfig"]["Config"]["max-file"], "3");
    engine
        .stop_container(&id, Duration::from_secs(1))
        .await
        .unwrap();
    let seen = engine.inspect_container(&id).await.unwrap();
    assert_eq!((seen.phase, seen.exit_code), (Phase::Exited, 137));
}

#[tokio::test]
async fn f4_log_lines_follow_and_exit_codes_come_through() {
    let engine = engine().await;
    let new = busybox(
        "logs",
        &[
            "sh",
            "-c",
            // Long enough for whoever listens to events to be heard by the engine before its end.
            "echo one; echo two >&2; sleep 5; echo three; exit 3",
        ],
    );
    let _gone = Gone(engine.clone(), new.name.clone());
    let id = engine.create_container(&new).await.unwrap();
    let mut events = engine.container_events(&format!("fhtest={}", new.name));
    let heard = tokio::spawn(async move {
        while let Some(Ok(event)) = events.next().await {
            if let ContainerEvent::Died(code) = event.what {
                return code;
            }
        }
        -1
    });
    engine.start_container(&id).await.unwrap();
    let follow = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let lines: Vec<_> = engine.logs(&id, follow).map(Result::unwrap).collect().await;
    let mut texts: Vec<&str> = lines.iter().map(|l| l.text.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["one", "three", "two"]);
    assert!(lines.iter().all(|l| l.at_ms > 0));
    let code = engine
        .wait_container(&id, Duration::from_secs(120))
        .await
        .unwrap();
    assert_eq!(code, 3);
    let heard = tokio::time::timeout(Duration::from_secs(60), heard);
    let heard = heard.await.expect("its end was not heard of");
    assert_eq!(heard.unwrap(), 3);
    let tail = LogQuery {
        tail: Some(1),
        ..LogQuery::default()
    };
    let last: Vec<_> = engine.logs(&id, tail).collect().await;
    assert_eq!(last.len(), 1);
}

#[tokio::test]
async fn f6_attached_output_is_whole_and_input_reaches_its_end() {
    let engine = engine().await;
    let mut new = busybox(
        "pipe",
        &["sh", "-c", "cat | md5sum; head -c 3000000 /dev/zero"],
    );
    new.log = None;
    new.open_stdin = true;
    let _gone = Gone(engine.clone(), new.name.clone());
    let id = engine.create_container(&new).await.unwrap();
    let mut attached = engine.attach(&id, true, false).await.unwrap();
    engine.start_container(&id).await.unwrap();
    use tokio::io::AsyncWriteExt;
    attached.input.write_all(b"hello").await.unwrap();
    attached.input.shutdown().await.unwrap();
    let mut bytes = 0;
    let mut head = Vec::new();
    while let Some(chunk) = attached.output.next().await {
        let Chunk::Out(chunk) = chunk.unwrap() else {
            continue;
        };
        bytes += chunk.len();
        if head.len() < 40 {
            head.extend_from_slice(&chunk);
        }
    }
    assert!(head.starts_with(b"5d41402abc4b2a76b9719d911017c592"));
    assert_eq!(bytes, 36 + 3_000_000);
}

/// What the steps of these builds may take together.
const BUILD_MEMORY: u64 = 3 << 30;

fn request(context: &std::path::Path, tag: &str) -> BuildRequest {
    BuildRequest {
        id: freehold::base::secret::random_id(25).unwrap(),
        instead_of: None,
        context: context.to_owned(),
        dockerfile: "Dockerfile".into(),
        tag: tag.into(),
        labels: BTreeMap::from([("fhtest".to_owned(), tag.to_owned())]),
        args: BTreeMap::new(),
        target: None,
        no_cache: true,
        credentials: Vec::new(),
        memory_bytes: Some(BUILD_MEMORY),
        cpu_shares: Some(256),
        cpus: None,
        cgroup_parent: None,
        // The engine may have others' builds to do at the same time.
        deadline: Duration::from_secs(300),
        builder: None,
    }
}

async fn build(
    engine: &Engine,
    dockerfile: &str,
    tag: &str,
    change: impl FnOnce(&mut BuildRequest),
    cancel: CancellationToken,
) -> (Result<String, BuildError>, Vec<(Duration, String)>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("app")).unwrap();
    std::fs::write(folder.path().join("app/Dockerfile"), dockerfile).unwrap();
    let tar = folder.path().join("context.tar");
    pack_context(
        folder.path().join("app"),
        "Dockerfile".into(),
        tar.clone(),
        1 << 20,
    )
    .await
    .unwrap();
    let mut request = request(&tar, tag);
    change(&mut request);
    let begun = Instant::now();
    let mut lines = Vec::new();
    let built = engine
        .build(
            &request,
            |line| lines.push((begun.elapsed(), line.to_owned())),
            cancel,
        )
        .await;
    (built, lines)
}

fn at(lines: &[(Duration, String)], part: &str) -> Duration {
    lines
        .iter()
        .find(|(_, l)| l.contains(part) && !l.contains("RUN"))
        .unwrap_or_else(|| panic!("{part} in {lines:#?}"))
        .0
}

#[tokio::test]
async fn f4_a_line_printed_before_a_slow_step_ends_is_seen_before() {
    let engine = engine().await;
    let tag = name("build-ok");
    let dockerfile = "FROM busybox:latest\nRUN echo early && sleep 10 && echo late\n";
    let (built, lines) = build(&engine, dockerfile, &tag, |_| (), CancellationToken::new()).await;
    let id = built.unwrap_or_else(|e| panic!("{e}: {lines:#?}"));
    let gap = at(&lines, " late").saturating_sub(at(&lines, " early"));
    assert!(gap > Duration::from_secs(1), "{gap:?} {lines:#?}");
    let image = engine.inspect_image(&tag).await.unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.labels.get("fhtest"), Some(&tag));
    assert_eq!(
        engine
            .list_images(&[format!("fhtest={tag}")])
            .await
            .unwrap()
            .len(),
        1
    );
    engine.remove_image(&tag).await.unwrap();
}

/// A build whose caller died is begun again before the engine has noticed: the step that runs then
/// says to the second what it prints.
#[tokio::test]
async fn f8_a_build_begun_again_tells_all_its_steps_print() {
    let engine = engine().await;
    let tag = name("build-again");
    // The word is made by the command, so that no cache and no other line has it. After a COPY, a
    // step of two builds at once is one step, and its output the first one's alone.
    let dockerfile = format!(
        "FROM busybox:latest\nCOPY . /app\nRUN : {tag} && sleep 5 && echo after-$((6*7))\n"
    );
    let never = CancellationToken::new();
    let cached = |r: &mut BuildRequest| r.no_cache = false;
    let first = build(
        &engine,
        &dockerfile,
        &tag,
        |r| {
            cached(r);
            r.id.clone_from(&tag);
        },
        never.clone(),
    );
    let second = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let again = |r: &mut BuildRequest| {
            cached(r);
            r.instead_of = Some(tag.clone());
        };
        build(&engine, &dockerfile, &tag, again, never.clone()).await
    };
    // The dead caller's connection is seen as closed only when the second has begun.
    let first = tokio::time::timeout(Duration::from_secs(3), first);
    let (first, (built, lines)) = tokio::join!(first, second);
    drop(first);
    built.unwrap_or_else(|e| panic!("{e}: {lines:#?}"));
    at(&lines, "after-42");
    engine.remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn f4_a_classic_builder_does_as_well() {
    let engine = engine().await;
    let tag = name("build-classic");
    let dockerfile = "FROM busybox:latest\nRUN echo early\n";
    let (built, lines) = build(
        &engine,
        dockerfile,
        &tag,
        |r| r.builder = Some(Builder::Classic),
        CancellationToken::new(),
    )
    .await;
    built.unwrap_or_else(|e| panic!("{e}: {lines:#?}"));
    at(&lines, "early");
    engine.remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn f4_dockerfile_errors_are_told_in_the_builders_words() {
    let engine = engine().await;
    for (dockerfile, part) in [
        ("FORM busybox\n", "FORM"),
        ("FROM busybox:latest\nRUN echo why >&2; exit 7\n", "7"),
        ("FROM fhtest/no-such-image:1\n", "no-such-image"),
    ] {
        let (built, lines) = build(
            &engine,
            dockerfile,
            &name("build-bad"),
            |_| (),
            CancellationToken::new(),
        )
        .await;
        let error = built.unwrap_err();
        assert!(matches!(error, BuildError::Failed { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error} {lines:#?}");
    }
}

/// The folders in `/proc` of processes that sleep for so long.
fn sleepers(seconds: &str) -> Vec<PathBuf> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|process| {
            std::fs::read(process.join("cmdline"))
                .is_ok_and(|c| c == format!("sleep\0{seconds}\0").as_bytes())
        })
        .collect()
}

/// Builds a step that says `words` and then sleeps, has `look` look at its process, and cancels the build.
async fn look_at_a_step<T: Send + 'static>(
    engine: &Engine,
    words: &str,
    seconds: &'static str,
    look: impl Fn(&Path) -> T + Send + 'static,
) -> (Option<T>, Vec<(Duration, String)>) {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let looker = tokio::spawn(async move {
        let begun = Instant::now();
        let mut seen = None;
        while seen.is_none() && begun.elapsed() < Duration::from_secs(240) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            seen = sleepers(seconds).first().map(|process| look(process));
        }
        stop.cancel();
        seen
    });
    let dockerfile = format!("FROM busybox:latest\nRUN {words}; sleep {seconds}\n");
    let tag = name(&format!("build-{seconds}"));
    let (built, lines) = build(engine, &dockerfile, &tag, |_| (), cancel).await;
    let seen = looker.await.unwrap();
    assert!(
        matches!(built, Err(BuildError::Cancelled)),
        "{built:?} {lines:#?}"
    );
    (seen, lines)
}

#[tokio::test]
async fn f4_a_cancelled_build_is_dead_when_it_says_so() {
    let engine = engine().await;
    let (seen, lines) = look_at_a_step(&engine, "true", "4321", |_| ()).await;
    assert!(seen.is_some(), "the step never ran: {lines:#?}");
    assert!(sleepers("4321").is_empty(), "the step outlived its cancel");
}

/// The lowest memory limit of a process's group and those above it, on either hierarchy.
fn memory_limit(process: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(process.join("cgroup")).ok()?;
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (mark, root, file) = match unified {
        true => ("0::/", "/sys/fs/cgroup", "memory.max"),
        false => (
            ":memory:/",
            "/sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
        ),
    };
    let line = groups.lines().find(|l| l.contains(mark))?;
    let group = Path::new(root).join(line.split_once(mark)?.1);
    let above = group.ancestors().take_while(|at| at.starts_with(root));
    above
        .filter_map(|at| std::fs::read_to_string(at.join(file)).ok())
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

/// All builds of the machine share one group, so another one beside this may set a cap of its own meanwhile, and again
/// and again where other tests deploy; what is asked for must be what a step gets when nobody does.
#[tokio::test]
async fn f9_build_steps_have_the_memory_limit_that_is_wanted() {
    let engine = engine().await;
    let inside = "grep hierarchical_memory_limit /sys/fs/cgroup/memory/memory.stat || true";
    let mut tried = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(300) {
        let (limit, lines) = look_at_a_step(&engine, inside, "4322", memory_limit).await;
        // From inside only the older hierarchy tells; there both views must agree.
        let said = lines.iter().find_map(|(_, l)| {
            let (_, rest) = l.split_once("hierarchical_memory_limit ")?;
            rest.trim().parse::<u64>().ok()
        });
        if limit == Some(Some(BUILD_MEMORY)) && said.is_none_or(|s| s == BUILD_MEMORY) {
            return;
        }
        tried.push((limit, said, lines));
    }
    panic!("no step was capped at {BUILD_MEMORY} bytes: {tried:#?}");
}

#[tokio::test]
async fn f9_disk_usage_is_read() {
    let engine = engine().await;
    // It looks for one at a time, and refuses others meanwhile: every deploy of another test looks, too.
    let begun = Instant::now();
    let usage = loop {
        match engine.disk_usage().await {
            Ok(usage) => break usage,
            Err(error) => assert!(
                error.to_string().contains("already running")
                    && begun.elapsed() < Duration::from_secs(120),
                "{error}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(usage.images > 0);
}
