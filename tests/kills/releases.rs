//! What an acknowledged rollback and an acknowledged deploy of another app can be held to: which image serves, what its
//! page says, and how the deploys of the apps at the side stand.

use std::process::Command;

use serde_json::Value;

use crate::changes::{Change, ROLLBACK, SIDE_DEPLOY, told};
use crate::place::{APP, Place};
use crate::soak::Report;
use crate::support::freehold::words;
use crate::support::process::run;
use crate::support::until::{secs, until};

/// The image of the live release, in a ledger. Its number is not what an acknowledged rollback can be held to: variables
/// that were set before it bring a release of their own afterwards, of the same image.
pub const LIVE: &str = "live image";
/// What the names of the apps begin with that are only deployed at the side.
pub const SIDE: &str = "side";

/// The image of the app's live release.
pub fn live_image(p: &Place) -> Option<String> {
    let all = p.told(&["releases", APP]);
    let live = all.as_array()?.iter().find(|r| r["live"] == true)?;
    Some(live["image"].as_str()?.to_owned())
}

/// The image of the app's release with this number.
pub fn image_of(p: &Place, number: &Value) -> String {
    let all = p.told(&["releases", APP]);
    let mut all = all.as_array().unwrap().iter();
    let release = all.find(|r| &r["number"] == number);
    let release = release.unwrap_or_else(|| panic!("there is no release v{number}"));
    release["image"].as_str().unwrap().to_owned()
}

/// The text on the page of an image that [`Place::folder`] is the source of: it stands in its command.
pub fn text_of(image: &str) -> String {
    let mut inspect = Command::new("docker");
    let inspect = inspect.args(["image", "inspect", "--format", "{{json .Config.Cmd}}"]);
    let command = run(inspect.arg(image));
    let text = command
        .split("echo page ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    text.unwrap_or_else(|| panic!("{image} does {command}"))
        .to_owned()
}

/// A deploy of an app at the side, in a ledger.
pub fn at_the_side(app: &str, deploy: &Value) -> String {
    format!("deploy of {app} {deploy}")
}

/// The newest deploys of the apps at the side, each with its name in a ledger. An app may go while it is asked.
pub fn all_at_the_side(p: &Place) -> Vec<(String, Value)> {
    let apps = p.told(&["app", "list"]);
    let names = apps.as_array().unwrap().iter();
    let names = names.filter_map(|app| app["name"].as_str());
    let mut all = Vec::new();
    for app in names.filter(|name| name.starts_with(SIDE)) {
        let told = until(&format!("the deploys of {app}"), secs(60), || {
            let out = p.fh.try_cli(&["deploys", app, "--json"]);
            match out.status.success() {
                true => {
                    serde_json::from_slice::<Vec<Value>>(&out.stdout).map_err(|e| e.to_string())
                }
                false if words(&out).contains("no app called") => Ok(Vec::new()),
                false => Err(words(&out)),
            }
        });
        all.extend(told.into_iter().map(|d| (at_the_side(app, &d["id"]), d)));
    }
    all
}

/// Whether a deploy that was acknowledged has come to an end that nothing is lost by: it is live, or a newer one of the app took
/// its place.
pub fn is_well(deploy: &Value) -> bool {
    deploy["success"] == true || deploy["state"] == "superseded"
}

/// By hand, behind the ledger's back: another release than the one that was gone back to, and an app that is away with its
/// deploy.
#[test]
fn n5_saboteur_a_rollback_that_does_not_hold_and_a_deploy_at_the_side_that_is_away_are_found_lost()
{
    let p = Place::with_app("one");
    p.deploy(&p.folder("two"));
    let side = format!("{SIDE}0");
    p.fh.cli(&["app", "create", &side]);
    let mut report = Report::default();
    let mut acknowledged = |what: &str, value: &str, verb: &[&str]| {
        let said = p.fh.cli(&[verb, &["--json"]].concat());
        let change = Change {
            verb: Vec::new(),
            what: what.to_owned(),
            value: value.to_owned(),
        };
        report.note(&p, &change, true, said.as_bytes());
    };
    let pages = p.pages("files").display().to_string();
    let deploy = ["deploy", &pages, "--app", &side, "--detach"];
    acknowledged(SIDE_DEPLOY, &side, &deploy);
    acknowledged(ROLLBACK, "", &["rollback", APP]);
    report.ledger.hold(&told(&p)).unwrap();
    p.until_page("page one", "the rollback");

    p.deploy(&p.folder("two"));
    let lost = report.ledger.hold(&told(&p)).unwrap_err();
    assert!(lost.contains(&format!("{LIVE} is ")), "{lost}");
    p.fh.cli(&["app", "rm", &side, "--yes"]);
    // It is away once its removal is over.
    until(
        "the deploy at the side to be found lost",
        secs(120),
        || match report.ledger.hold(&told(&p)) {
            Err(lost) if lost.contains(&format!("deploy of {side} ")) => Ok(()),
            held => Err(format!("{held:?}")),
        },
    );
}
