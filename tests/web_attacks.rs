//! A6 and A4: what an attacker tries on dashboard and API, tried on the real daemon; with a real browser where it is the
//! browser that protects. The daemon runs without an engine: what is denied must be denied whatever else works.
//!
//! Where two things protect, each is switched off in turn by giving the attacker the other: the attack must still fail,
//! and with both given it must succeed, or the test shows nothing.

mod support;

#[path = "support/forms.rs"]
mod forms;
#[path = "support/quiet.rs"]
mod quiet;

#[path = "web_attacks/world.rs"]
mod world;

#[path = "web_attacks/denied.rs"]
mod denied;
#[path = "web_attacks/folders.rs"]
mod folders;
#[path = "web_attacks/forged.rs"]
mod forged;
#[path = "web_attacks/injected.rs"]
mod injected;
#[path = "web_attacks/oversized.rs"]
mod oversized;
#[path = "web_attacks/redirected.rs"]
mod redirected;
#[path = "web_attacks/sessions.rs"]
mod sessions;
