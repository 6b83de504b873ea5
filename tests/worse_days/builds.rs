//! A build that takes all the processor it can get: it has what the settings give it, seen from inside, and an app beside it
//! answers as before.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::served_box::{APP, ServedBox, folder};
use crate::support::freehold::words;
use crate::support::load::Load;
use crate::support::process::{run, signal};
use crate::support::until::{secs, until};

/// Processors a build may have: less than it would have of any machine that others use, too.
const CPUS: f64 = 0.1;
/// Seconds in which a step computes with four processes.
const COMPUTES: u32 = 3;
/// Requests a second, and for how long a round lasts.
const RATE: u32 = 100;
const LOAD: Duration = Duration::from_secs(2);
/// Rounds with the build and as many without, of which the middle ones count.
const ROUNDS: usize = 3;
/// The best of so many counts: what others do on this machine makes some bad, and a build that is not held down all.
const TRIES: usize = 8;
/// The same where others' builds, which share one group with this one, may set what this test has lifted.
const LIFTS: usize = 10;
/// Below this twice the control run is no finding: as long as one turn of a processor that two others wait for.
const FLOOR: Duration = Duration::from_millis(20);
/// What a build may have for each part that an app has: its weight is a fifth of an app's, and schedulers are not exact.
const MOST: f64 = 0.45;
/// The share is measured until both together had so much of the processors (ticks), or for so long.
const SHARED: (u64, Duration) = (300, Duration::from_secs(20));

/// Four processes that compute for `seconds`; the processor time they had, by the wall's.
fn computing(seconds: u32) -> String {
    format!(
        r#"
import multiprocessing, os, time
def compute(end):
    while time.monotonic() < end:
        pass
    return time.process_time()
if __name__ == "__main__":
    begun = time.monotonic()
    with multiprocessing.Pool(4) as pool:
        used = sum(pool.map(compute, [begun + {seconds}] * 4, 1))
    print("used %.3f processors" % (used / (time.monotonic() - begun)), flush=True)
"#
    )
}

/// A folder whose build computes; `mark` makes its step another one than those before, which are in the build's cache.
fn computes(on: &ServedBox, seconds: u32, mark: &str) -> String {
    let script = computing(seconds);
    let dockerfile = format!(
        "FROM python:3.13-slim\nCOPY compute.py /\nRUN python -u /compute.py {mark}-{}\n",
        on.fh.installation()
    );
    folder(
        &on.fh,
        mark,
        &[("Dockerfile", &dockerfile), ("compute.py", &script)],
    )
}

fn used(said: &str) -> f64 {
    let line = said
        .lines()
        .rfind(|l| l.contains(" processors") && l.contains("used "));
    let line = line.unwrap_or_else(|| panic!("the step did not say what it used: {said}"));
    let number = line.split("used ").nth(1).unwrap().split(' ').next();
    number.unwrap().parse().unwrap()
}

#[test]
fn n7_a_build_step_has_the_processor_time_it_may_have() {
    let _turn = crate::alone();
    let on = ServedBox::start(&format!("[build]\nfree_disk = \"1M\"\ncpus = {CPUS}\n"));
    let used = |mark: &str| {
        let folder = computes(&on, COMPUTES, mark);
        used(&words(&on.fh.try_cli(&["deploy", &folder, "--app", APP])))
    };
    // A whole period may pass before the first is counted, and both ends of the measure are late.
    let most = CPUS * 1.5;
    // All builds of the machine share one group: another one beside this may set a cap of its own meanwhile.
    let mut tried = Vec::new();
    while tried.last().is_none_or(|used| *used > most) {
        assert!(
            tried.len() < LIFTS,
            "steps had {tried:?} processors of {CPUS}"
        );
        tried.push(used(&format!("capped-{}", tried.len())));
    }
    println!("four processes of a step had {tried:?} processors, and may have {CPUS}");
    // Without the cap the same step has more, where the machine has it to give.
    on.fh.configure("[build]\nfree_disk = \"1M\"\n");
    on.fh.restart();
    let mut without = vec![used("without")];
    while without.last().is_none_or(|used| *used <= most) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap();
        let load: f64 = load.split(' ').next().unwrap().parse().unwrap();
        let cores = std::thread::available_parallelism().unwrap().get() as f64;
        if without.len() >= TRIES {
            assert!(load > 4.0 * cores, "steps without a cap had {without:?}");
            println!("with a load of {load} nobody has more than the cap gives");
            break;
        }
        without.push(used(&format!("without-{}", without.len())));
    }
    println!("without the cap it had {without:?}");
}

/// A build that computes, as long as it lives.
struct Busy<'a> {
    on: &'a ServedBox,
    build: Child,
    processes: Vec<u32>,
}

impl<'a> Busy<'a> {
    fn begin(on: &'a ServedBox, mark: &str) -> Self {
        let folder = computes(on, 600, mark);
        let mut deploy = on.fh.command(&["deploy", &folder, "--app", APP]);
        let build = deploy.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let build = build.unwrap();
        // The first and its four.
        let mark = format!("{mark}-{}", on.fh.installation());
        let processes = processes_of(&mark, 5);
        Self {
            on,
            build,
            processes,
        }
    }

    /// Lets them compute, or stand still.
    fn go(&self, on: bool) {
        for pid in &self.processes {
            signal(*pid, if on { "CONT" } else { "STOP" });
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.go(true);
        self.on.fh.try_cli(&["cancel", APP]);
        self.build.wait().ok();
    }
}

/// The processes whose last argument is `mark`, once there are so many of them.
fn processes_of(mark: &str, count: usize) -> Vec<u32> {
    let end = format!("\0{mark}\0");
    until(&format!("{count} processes of {mark}"), secs(120), || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let marked = all.filter(|process| {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            // The step's shell and the client have it within a longer one.
            line.starts_with(b"python\0") && line.ends_with(end.as_bytes())
        });
        let pids = marked.filter_map(|process| process.file_name().to_str()?.parse().ok());
        let pids: Vec<u32> = pids.collect();
        let is_all = pids.len() == count;
        is_all.then(|| pids.clone()).ok_or(format!("{pids:?}"))
    })
}

/// Processor time that they have had, in ticks.
fn had(processes: &[u32]) -> u64 {
    let one = |pid: &u32| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let times = fields.split(' ').skip(11).take(2);
        times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    };
    processes.iter().map(one).sum()
}

/// The time within which 99 of 100 answers came while `LOAD` lasts.
fn p99(on: &ServedBox) -> Duration {
    let load = Load::start(on.edge(), "https://shop.localhost/", RATE, |body| {
        body == "fine"
    });
    let begun = Instant::now();
    while begun.elapsed() < LOAD {
        std::thread::sleep(Duration::from_millis(50));
    }
    let report = load.finish();
    // One that is late is what is measured.
    let wrong = report.failures.keys().any(|why| why != "late");
    assert!(!wrong, "{:#?}", report.failures);
    let mut took = report.took;
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// The middle p99s of rounds in which the build stands still and in which it computes, one after the other.
fn alone_and_beside(on: &ServedBox, busy: &Busy) -> [Duration; 2] {
    let mut rounds = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for (computes, of) in [false, true].into_iter().zip(&mut rounds) {
            busy.go(computes);
            of.push(p99(on));
        }
    }
    rounds.map(|mut all| {
        all.sort_unstable();
        all[ROUNDS / 2]
    })
}

/// What the build has of the processors for each part that as many processes in the app's container have, which compute, too.
fn share_of(on: &ServedBox, busy: &Busy, mark: &str) -> f64 {
    let id = on.fh.installation();
    let mark = format!("{mark}-{id}");
    let mut list = Command::new("docker");
    let label = format!("label=freehold.installation={id}");
    list.args(["ps", "-q", "--filter", &label, "--filter"]);
    let container = run(list.arg("label=freehold.kind=replica"));
    let mut exec = Command::new("docker");
    exec.args(["exec", "-d", container.trim()]);
    run(exec.args(["python", "-u", "-c", &computing(600), &mark]));
    let app = processes_of(&mark, 5);
    busy.go(true);
    let begun = Instant::now();
    let before = [had(&busy.processes), had(&app)];
    let [build, of_app] = loop {
        std::thread::sleep(Duration::from_millis(100));
        let after = [had(&busy.processes), had(&app)];
        let had = [0, 1].map(|n| after[n] - before[n]);
        if had[0] + had[1] > SHARED.0 || begun.elapsed() > SHARED.1 {
            break had;
        }
    };
    app.iter().for_each(|pid| signal(*pid, "KILL"));
    println!("{mark}: {build} ticks of the build's for {of_app} of the app's");
    build as f64 / of_app.max(1) as f64
}

/// How long the app's answers take is measured beside a build by the settings that every box has, and what the build's processes
/// have beside an app that computes as well: a fifth. With the build's weight lifted to the app's own the same look finds that
/// they have as much.
#[test]
fn n7_an_app_answers_as_before_while_a_build_computes() {
    let _turn = crate::alone();
    let on = ServedBox::start("[build]\nfree_disk = \"1M\"\n");
    let busy = Busy::begin(&on, "busy");
    let mut tried = Vec::new();
    loop {
        let [alone, beside] = alone_and_beside(&on, &busy);
        println!("p99 at {RATE}/s: {alone:?} alone, {beside:?} beside a build with four processes");
        tried.push((alone, beside));
        if beside <= (alone * 2).max(FLOOR) {
            break;
        }
        assert!(tried.len() < TRIES, "p99 without and beside: {tried:?}");
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores > 4 {
        println!("four processes leave room on {cores} processors: nobody's share is seen");
        return;
    }
    let capped = |n: usize| share_of(&on, &busy, &format!("beside-{n}"));
    let shares: Vec<f64> = (0..TRIES).map(capped).take_while(|s| *s > MOST).collect();
    assert!(shares.len() < TRIES, "with its cap: {shares:?}");
    drop(busy);

    on.fh
        .configure("[build]\nfree_disk = \"1M\"\ncpu_weight = 100\n");
    on.fh.restart();
    let lifted = |n: usize| {
        let busy = Busy::begin(&on, &format!("lifted-{n}"));
        share_of(&on, &busy, &format!("beside-lifted-{n}"))
    };
    let shares: Vec<f64> = (0..LIFTS).map(lifted).take_while(|s| *s <= MOST).collect();
    assert!(shares.len() < LIFTS, "without its cap: {shares:?}");
}
