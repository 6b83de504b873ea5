//! F5: edits of the settings are in force without a restart, and a name without a certificate yet says so.

use std::net::TcpStream;

use crate::app::{APP, URL};
use crate::support::until::{secs, until};
use crate::world::World;

/// The remedies of everything that `status` finds.
fn remedies(world: &World) -> String {
    let status = world.fh.json(&["status"]);
    let findings = status["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|f| format!("{} {}\n", f["what"], f["remedy"]))
        .collect()
}

pub fn f5_edited_limits_are_in_force_without_a_restart(world: &mut World) {
    world.app_is_up();
    let pid = world.fh.pid();
    let file = world.fh.config_file();
    let before = std::fs::read_to_string(&file).unwrap();
    let large = "x".repeat(4_096);
    let post = || {
        let request = world.public().get(&format!("{URL}/usuarios"));
        let answer = request.method("POST").body("text/plain", &large).send()?;
        Ok::<u16, String>(answer.status)
    };
    assert_ne!(post(), Ok(413));

    let few = 24;
    let edit = format!("{before}[limits]\nbody = \"2KB\"\nconnections_per_address = {few}\n");
    std::fs::write(&file, &edit).unwrap();
    until("the edited body limit", secs(120), || match post()? {
        413 => Ok(()),
        other => Err(other.to_string()),
    });
    let edge = world.public();
    let mut open = Vec::new();
    // Connections of the steps before may still be ending, and make place for one more.
    until("the edited limit of connections", secs(120), || {
        open.extend((0..few).map(|_| TcpStream::connect((world.fh.address, 80)).unwrap()));
        match edge.get("http://tasks.test/").send() {
            Ok(answer) => Err(format!("one more was served: {}", answer.status)),
            Err(_) => Ok(()),
        }
    });
    assert!(
        open.len() < 256,
        "the usual limit was reached, not the edited one"
    );
    drop(open);
    until("the connections to be free again", secs(120), || {
        edge.get("http://tasks.test/").send().map(drop)
    });

    // What only a start takes up says what to do.
    let moved = edit
        .replace(
            &world.fh.data_dir().display().to_string(),
            "/srv/freehold-moved",
        )
        .replace(":443", ":8443");
    std::fs::write(&file, moved).unwrap();
    until("status to say what to do", secs(120), || {
        let said = remedies(world);
        let listen = said.contains("systemctl edit freehold.socket") && said.contains(":8443");
        let data_dir = said.contains("mv ") && said.contains("/srv/freehold-moved");
        if listen && data_dir {
            Ok(())
        } else {
            Err(said)
        }
    });
    assert_eq!(world.app_is_up().status, 200);

    std::fs::write(&file, &before).unwrap();
    until("the settings as they were", secs(120), || {
        let (status, said) = (post()?, remedies(world));
        if status != 413 && !said.contains("not in force") {
            return Ok(());
        }
        Err(format!("{status}: {said}"))
    });
    assert_eq!(world.fh.pid(), pid, "the daemon was started anew");
}

/// The certificate authority refuses the name: nothing leads visitors into a dead https, and the owner reads why.
pub fn f5_a_pending_certificate_is_told(world: &mut World) {
    let host = "pending.blocked.test";
    world.fh.cli(&["domain", "add", APP, host]);
    let list = || world.fh.cli(&["domain", "list", APP]);
    until("the refused order to be told", secs(120), || {
        let said = list();
        let told = said.contains(&format!("{host}: Pending for")) && said.contains("try");
        // While a try is under way there is no next one to name.
        if told && said.contains("failed") && said.contains("Next try in") {
            Ok(())
        } else {
            Err(said)
        }
    });
    let status = world.fh.cli(&["status"]);
    assert!(status.contains(&format!("{host}: Pending for")), "{status}");
    let page = world.owner_page(&format!("/apps/{APP}/domains"));
    assert!(
        page.contains("Not issued") && page.contains("Pending for"),
        "{page}"
    );

    let edge = world.public();
    let answer = edge.get(&format!("http://{host}/")).send().unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("location"), "");
    assert_ne!(answer.header("retry-after"), "");
    assert!(answer.text().contains("no certificate yet"));
    let why = edge.get(&format!("https://{host}/")).send().unwrap_err();
    assert!(why.contains("unrecognized name"), "{why}");
    world.fh.cli(&["domain", "rm", APP, host, "--yes"]);
}
