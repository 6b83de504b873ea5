//! Names the cfg under which `src/proxy/claims.rs` takes loom's atomics, and writes its saboteurs: the same file with one
//! protection taken out. A saboteur whose place is not found any more stops the build.

use std::path::Path;

const CLAIMS: &str = "../../src/proxy/claims.rs";

const SABOTEURS: &[(&str, &str, &str)] = &[
    (
        "without_the_look_after_counting",
        "if before & RETIRING == 0 {",
        "if before & RETIRING <= RETIRING {",
    ),
    (
        "asking_before_counting",
        "let before = self.word.fetch_add(1, SeqCst);\n",
        "let before = self.word.load(SeqCst);\n self.word.fetch_add(1, SeqCst);\n",
    ),
    (
        "keeping_a_refused_count",
        "        self.give_back();\n        false\n",
        "        false\n",
    ),
    (
        "looking_before_listening",
        "            let released = self.released.notified();\n            if self.word.load(SeqCst) == RETIRING {\n                return;\n            }\n",
        "            if self.word.load(SeqCst) == RETIRING {\n                return;\n            }\n            let released = self.released.notified();\n",
    ),
    (
        "counting_after_the_look_at_the_cap",
        "match self.word.compare_exchange(word, word + 1, SeqCst, SeqCst) {",
        "match Ok::<u64, u64>(self.word.fetch_add(1, SeqCst)) {",
    ),
    (
        "a_cap_that_hides_the_retirement",
        "while word < cap.min(COUNT) {",
        "while word & COUNT < cap.min(COUNT) {",
    ),
    (
        "telling_nobody_of_the_last_release",
        "if self.word.fetch_sub(1, SeqCst) == RETIRING | 1 {",
        "if self.word.fetch_sub(1, SeqCst) == 0 {",
    ),
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(freehold_loom)");
    println!("cargo::rustc-cfg=freehold_loom");
    println!("cargo::rerun-if-changed={CLAIMS}");
    let text = std::fs::read_to_string(CLAIMS).unwrap();
    // What is included into a module has no doc of its own.
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let out = std::env::var("OUT_DIR").unwrap();
    for (name, from, to) in SABOTEURS {
        assert_eq!(
            text.matches(from).count(),
            1,
            "{name}: {CLAIMS} has changed"
        );
        let file = Path::new(&out).join(format!("{name}.rs"));
        std::fs::write(file, text.replace(from, to)).unwrap();
    }
}
