//! A5: edits of the settings files, which come by no request.

use std::time::Duration;

use super::World;

/// The settings files are edited by whoever may: the system knows who, the log what.
#[test]
fn a5_an_edit_of_the_settings_file_is_in_the_log() {
    let world = World::new();
    let file = world
        .daemon
        .socket("x")
        .ancestors()
        .nth(2)
        .unwrap()
        .join("config.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let edit = |more: &str| {
        let beside = file.with_extension("new");
        std::fs::write(&beside, format!("{before}\n{more}")).unwrap();
        std::fs::rename(&beside, &file).unwrap();
    };
    let until = |state: &str| {
        for _ in 0..600 {
            let found = world.log("action=config.change");
            if let Some(entry) = found.into_iter().find(|e| e["state"] == state) {
                return entry;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no edit is {state}: {:?}", world.log(""));
    };
    edit("[hold]\nrequests = 8\n");
    let done = until("done");
    assert_eq!(done["who"]["kind"], "file");
    assert_eq!(done["after"]["hold.requests"], "8");
    edit("[hold]\nrequests = \"many\"\n");
    let refused = until("refused");
    assert!(
        refused["detail"].as_str().unwrap().contains("config.toml"),
        "{refused}"
    );
}
