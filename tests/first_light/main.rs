//! From an empty box to an app live on HTTPS with a database that is backed up: every point of the first release, in
//! order, on one box, with the verbs and URLs a person has.
//!
//! Steps run one after another and build on each other, so this is a program of its own instead of cargo's harness:
//!
//!     cargo test --features crash-points --test first_light -- f4      the steps of F4, and those they build on
//!
//! A step that fails does not stop the others. The servers around the box are real; `tests/rig` puts them up.

#[path = "../support/authenticator.rs"]
mod authenticator;
#[path = "../support/mod.rs"]
mod support;

mod app;
mod steps;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use world::World;

/// A point of the release: its name begins with the id of the point.
pub struct Step {
    name: &'static str,
    /// Whether later steps build on it, so that it runs whatever is asked for.
    ground: bool,
    run: fn(&mut World),
}

/// Names a step after its function.
#[macro_export]
macro_rules! steps {
    ($($(#[$ground:ident])? $module:ident::$name:ident),* $(,)?) => {
        vec![$($crate::Step {
            name: stringify!($name),
            ground: stringify!($($ground)?).len() > 0,
            run: $module::$name,
        }),*]
    };
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let chosen: Vec<Step> = steps::all()
        .into_iter()
        .filter(|s| {
            s.ground || wanted.is_empty() || wanted.iter().any(|w| s.name.contains(w.as_str()))
        })
        .collect();
    println!("\nrunning {} steps", chosen.len());
    let mut world = World::new();
    let mut failed = Vec::new();
    for step in &chosen {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (step.run)(&mut world)));
        let seconds = begun.elapsed().as_secs_f32();
        if outcome.is_ok() {
            println!("test {} ... ok ({seconds:.1} s)", step.name);
        } else {
            println!("test {} ... FAILED ({seconds:.1} s)", step.name);
            failed.push(step.name);
        }
    }
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
        println!("\nthe daemon's last words:\n{}", world.fh.log_tail());
    }
    drop(world);
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    let good = chosen.len() - failed.len();
    println!(
        "\ntest result: {word}. {good} passed; {} failed",
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
