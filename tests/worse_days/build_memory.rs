//! A build step that takes memory until it has all it wants, or is killed: it has what the settings give to builds and no
//! more, by the limit that it reads where it runs and by how far it comes.

use std::process::Output;

use crate::served_box::{APP, ServedBox, folder};
use crate::support::freehold::words;

/// What builds may have, and what they may once that is lifted.
const MEMORY_MB: u64 = 192;
const LIFTED_MB: u64 = 1_024;
/// What the step takes: more than the one, and much less than the other.
const TAKES_MB: u64 = 384;
/// In so large pieces.
const PIECE_MB: u64 = 8;
/// Others' builds, which share one group with this one, may set what this test has set.
const TRIES: usize = 10;

/// Says the lowest limit of its group and of those above it, where the hierarchy shows that to who is inside (version 1),
/// and then takes memory.
fn taking() -> String {
    format!(
        r#"
stat = "/sys/fs/cgroup/memory/memory.stat"
try:
    lines = open(stat).read().split("\n")
except OSError as error:
    lines = []
    print("unseen:", error, flush=True)
for line in lines:
    if line.startswith("hierarchical_memory_limit "):
        print("limit", int(line.split()[1]) >> 20, "MB", flush=True)
held = []
while len(held) < {TAKES_MB} // {PIECE_MB}:
    held.append(b"x" * ({PIECE_MB} << 20))
    print("held", len(held) * {PIECE_MB}, "MB", flush=True)
"#
    )
}

/// What a build came to, by its own words.
#[derive(Debug)]
struct Build {
    /// MB that it read as its limit.
    limit: Option<u64>,
    /// MB that it held in the end.
    held: u64,
    exit: Option<i32>,
    said: String,
}

impl Build {
    fn of(out: &Output) -> Self {
        let said = words(out);
        // Each line of a step has its number and time in front.
        let last = |word: &str| {
            let mut numbers = said.lines().filter_map(|line| {
                let (_, rest) = line.split_once(word)?;
                rest.strip_suffix(" MB")?.parse::<u64>().ok()
            });
            numbers.next_back()
        };
        Self {
            limit: last("limit "),
            held: last("held ").unwrap_or(0),
            exit: out.status.code(),
            said,
        }
    }

    /// It read this limit, or was where it cannot be read from inside.
    fn read(&self, limit: u64) -> bool {
        match self.limit {
            Some(read) => read == limit,
            None => self.said.contains("unseen: "),
        }
    }

    /// It was killed below what builds may have, and whoever deployed was told why.
    fn is_capped(&self) -> bool {
        self.read(MEMORY_MB)
            && (1..MEMORY_MB).contains(&self.held)
            && self.exit == Some(6)
            && self.said.contains("more memory than builds may have")
    }

    /// It had all it wanted.
    fn is_lifted(&self) -> bool {
        self.read(LIFTED_MB) && self.held == TAKES_MB && self.exit == Some(0)
    }
}

fn settings(memory_mb: u64) -> String {
    format!("[build]\nfree_disk = \"1M\"\nmemory = \"{memory_mb}M\"\n")
}

/// Builds until one comes out as `wanted`.
fn until_built(on: &ServedBox, mark: &str, wanted: impl Fn(&Build) -> bool) -> Build {
    let mut tried = Vec::new();
    for n in 0..TRIES {
        // Another step than those before, which are in the build's cache.
        let mark = format!("{mark}-{n}");
        let dockerfile = format!(
            "FROM python:3.13-slim\nCOPY take.py server.py /\nRUN python -u /take.py {mark}-{}\n\
             CMD [\"python\", \"-u\", \"/server.py\"]\n",
            on.fh.installation()
        );
        let script = taking();
        let files = [
            ("Dockerfile", dockerfile.as_str()),
            ("take.py", &script),
            ("server.py", crate::served_box::SERVER),
        ];
        let folder = folder(&on.fh, &mark, &files);
        let built = Build::of(&on.fh.try_cli(&["deploy", &folder, "--app", APP]));
        println!(
            "{mark}: a limit of {:?} MB was read, {} MB were held, exit code {:?}",
            built.limit, built.held, built.exit
        );
        if wanted(&built) {
            return built;
        }
        tried.push(built);
    }
    panic!("no build of {mark} came out as it had to: {tried:#?}");
}

/// The limit is the one of the settings: with more there the same step has all it wants, and reads that.
#[test]
fn n7_a_build_step_has_the_memory_it_may_have() {
    let _turn = crate::alone();
    let on = ServedBox::start(&settings(MEMORY_MB));
    let daemon = on.fh.pid();
    let capped = until_built(&on, "capped", Build::is_capped);
    assert!(!capped.said.contains("is not capped"), "{}", capped.said);
    // Who eats it is the step alone.
    on.ask("/").unwrap();
    assert_eq!(on.fh.pid(), daemon);

    on.fh.configure(&settings(LIFTED_MB));
    on.fh.restart();
    let lifted = until_built(&on, "lifted", Build::is_lifted);
    assert!(!lifted.is_capped());
    on.until_served();
}
