//! A build that takes all the processor it can get: it has what the settings give it, seen from inside, and an app beside it
//! answers as before.

use std::time::{Duration, Instant};

use crate::served_box::{APP, ServedBox, folder};
use crate::support::freehold::words;
use crate::support::load::Load;
use crate::support::until::{secs, until};

/// Processors a build may have.
const CPUS: f64 = 0.5;
/// Seconds in which a step computes with four processes.
const COMPUTES: u32 = 3;
/// Requests a second, and for how long.
const RATE: u32 = 50;
const LOAD: Duration = Duration::from_secs(8);
/// A machine that others use has tails of its own; below this twice the control run is no finding.
const FLOOR: Duration = Duration::from_millis(250);

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
        "FROM python:3.13-slim\nCOPY compute.py /\nRUN echo {mark} {}; python -u /compute.py\n",
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
    let most = CPUS * 1.3;
    // All builds of the machine share one group: another one beside this may set a cap of its own meanwhile.
    let mut tried = Vec::new();
    while tried.last().is_none_or(|used| *used > most) {
        assert!(tried.len() < 5, "steps had {tried:?} processors of {CPUS}");
        tried.push(used(&format!("capped-{}", tried.len())));
    }
    println!("four processes of a step had {tried:?} processors, and may have {CPUS}");
    // Without the cap the same step has more, where the machine has it to give.
    on.fh.configure("[build]\nfree_disk = \"1M\"\n");
    on.fh.restart();
    let without = used("without");
    println!("without the cap it had {without}");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load: f64 = load.split(' ').next().unwrap().parse().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    if load < cores {
        assert!(without > most, "a step without a cap had {without}");
    }
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

#[test]
fn n7_an_app_answers_as_before_while_a_build_computes() {
    let _turn = crate::alone();
    let on = ServedBox::start("[build]\nfree_disk = \"1M\"\n");
    let alone = p99(&on);
    let folder = computes(&on, 60, "busy");
    let building = on
        .fh
        .command(&["deploy", &folder, "--app", APP])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the step to compute", secs(60), || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let compute = processes.filter(|process| {
            std::fs::read(process.path().join("cmdline"))
                .is_ok_and(|c| c == b"python\0-u\0/compute.py\0")
        });
        // The first and its four.
        let count = compute.count();
        (count >= 5).then_some(()).ok_or(count.to_string())
    });
    let beside = p99(&on);
    on.fh.cli(&["cancel", APP]);
    let _ended = building.wait_with_output().unwrap();
    println!("p99 at {RATE}/s: {alone:?} alone, {beside:?} beside a build with four processes");
    assert!(
        beside <= (alone * 2).max(FLOOR),
        "p99 {beside:?} beside a build, {alone:?} without"
    );
}
