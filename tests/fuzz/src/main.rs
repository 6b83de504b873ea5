//! One binary for every target of `freehold::fuzz`; `FREEHOLD_FUZZ` names the one to drive.
//!
//! Built by tests/fuzz/run alone, which adds the cfg and the coverage; without them there is nothing to drive.
#![cfg_attr(freehold_fuzz, no_main)]

#[cfg(freehold_fuzz)]
mod driven {
    use std::sync::OnceLock;

    use freehold::fuzz::{SHORT, TARGETS, Target};

    fn target() -> Target {
        static CHOSEN: OnceLock<Target> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let wanted = std::env::var("FREEHOLD_FUZZ").unwrap_or_default();
            let mut all = TARGETS.iter().chain(SHORT);
            let found = all.find(|(name, _)| *name == wanted);
            found.map(|(_, target)| *target).unwrap_or_else(|| {
                // The list, for tests/fuzz/run, with the part of the time that each gets.
                TARGETS.iter().for_each(|(name, _)| println!("{name} 1"));
                SHORT.iter().for_each(|(name, _)| println!("{name} 3"));
                std::process::exit(if wanted.is_empty() { 0 } else { 2 });
            })
        })
    }

    libfuzzer_sys::fuzz_target!(
        init: {
            target();
        },
        |data: &[u8]| target()(data)
    );
}

#[cfg(not(freehold_fuzz))]
fn main() {
    eprintln!("built without its cfg: use tests/fuzz/run");
    std::process::exit(2);
}
