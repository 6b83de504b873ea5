//! `freehold boxes` and `freehold use`: which boxes are used from here, and which one now.

use clap::Args;
use serde_json::json;

use super::Global;
use super::boxes::Boxes;
use super::output::{self, Fail};
use crate::certs::fingerprint;

/// The boxes used from here
///
/// Each of `freehold login`, which of them is current, and whom its certificate is checked by: the public roots, or its
/// own root that was pinned at the first login. The list lies in ~/.config/freehold/boxes.toml, for you alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  freehold boxes\n  freehold boxes --json")]
pub struct Arguments {}

/// Send what is typed from now on to another box
///
/// `--box NAME` or FREEHOLD_BOX does it for one command. On a machine that is a box itself, what is typed goes to that one
/// unless `--box` names another.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  freehold use home\n  freehold use work --json")]
pub struct Use {
    /// What it is called in `freehold boxes`
    name: String,
}

/// Runs `boxes`.
///
/// # Errors
/// That the file of boxes is damaged.
pub fn list(global: &Global) -> Result<(), Fail> {
    let boxes = Boxes::read()?;
    let rows: Vec<serde_json::Value> = boxes
        .all
        .iter()
        .map(|(name, known)| {
            json!({
                "name": name,
                "address": known.address,
                "current": boxes.current.as_ref() == Some(name),
                "pinned": known.root.as_deref().and_then(|pem| fingerprint(pem).ok()),
            })
        })
        .collect();
    if global.json {
        output::json(&rows);
        return Ok(());
    }
    if boxes.all.is_empty() {
        output::line("No box is used from here yet: freehold login HOST");
        return Ok(());
    }
    let mut table = vec![
        ["NAME", "STATE", "ADDRESS", "CERTIFICATE CHECKED BY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    table.extend(boxes.all.iter().map(|(name, known)| {
        let current = match boxes.current.as_ref() == Some(name) {
            true => "current",
            false => "-",
        };
        let by = match known.root.as_deref().map(fingerprint) {
            None => "public roots".to_owned(),
            Some(Ok(print)) => format!("its own root, {print}"),
            Some(Err(_)) => "a root that cannot be read: log in again".to_owned(),
        };
        vec![name.clone(), current.into(), known.address.clone(), by]
    }));
    output::table(&table);
    Ok(())
}

/// Runs `use`.
///
/// # Errors
/// That there is no such box.
pub fn choose(global: &Global, given: Use) -> Result<(), Fail> {
    let mut boxes = Boxes::read()?;
    let address = match boxes.pick(Some(&given.name))? {
        Some(known) => known.address.clone(),
        None => return Err(Fail::usage("name a box of `freehold boxes`")),
    };
    boxes.current = Some(given.name.clone());
    boxes.write()?;
    let chosen = json!({ "box": given.name, "address": address });
    output::either(global.json, &chosen, || {
        output::line(super::goes_to(&given.name, super::is_box()));
    });
    Ok(())
}
