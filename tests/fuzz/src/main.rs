//! One binary for every target of `freehold::fuzz`; `FREEHOLD_FUZZ` names the one to drive.
//!
//! Built by tests/fuzz/run alone, which adds the cfg and the coverage; without them there is nothing to drive.
#![cfg_attr(freehold_fuzz, no_main)]

#[cfg(freehold_fuzz)]
mod driven {
    use std::sync::OnceLock;

    use freehold::fuzz::{TARGETS, Target};

    fn target() -> Target {
        static CHOSEN: OnceLock<Target> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let wanted = std::env::var("FREEHOLD_FUZZ").unwrap_or_default();
            let found = TARGETS.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, target)| *target).unwrap_or_else(|| {
                // The list, for tests/fuzz/run.
                TARGETS.iter().for_each(|(name, _)| println!("{name}"));
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
