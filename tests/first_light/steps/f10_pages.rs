//! F10: every page in both themes, on a phone and on a desk.

use std::path::PathBuf;

use super::f10_looks::PANEL;
use crate::app::APP;
use crate::world::World;

/// Every page in either theme, on a phone and on a desk: axe finds nothing serious, nothing is wider
/// than the window. With FREEHOLD_SCREENS=FOLDER each is kept as a picture.
pub fn f10_nothing_serious_in_either_theme_and_no_sideways_scroll(world: &mut World) {
    let screens = std::env::var_os("FREEHOLD_SCREENS").map(PathBuf::from);
    let deploy = world.newest_deploy_id();
    let app = |rest: &str| format!("/apps/{APP}{rest}");
    let pages = [
        ("overview", "/".to_owned()),
        ("app", app("")),
        ("deploys", app("/deploys")),
        ("deploy", app(&format!("/deploys/{deploy}"))),
        ("logs", app("/logs")),
        ("env", app("/env")),
        ("domains", app("/domains")),
        ("activity", app("/activity")),
        ("app-settings", app("/settings")),
        ("app-remove", app("/remove")),
        ("new-app", "/apps/new".to_owned()),
        ("databases", "/databases".to_owned()),
        ("database", "/databases/main".to_owned()),
        ("box", "/box".to_owned()),
        ("doctor", "/box/doctor".to_owned()),
        ("jobs", "/jobs".to_owned()),
        ("audit", "/settings/audit".to_owned()),
        ("checks", "/checks".to_owned()),
        ("settings", "/settings".to_owned()),
        ("people", "/settings/people".to_owned()),
        ("account", "/account".to_owned()),
        ("nothing-here", "/nothing/here".to_owned()),
    ];
    let mut faults = Vec::new();
    for dark in [false, true] {
        for width in [390, 1440] {
            let browser = world.owner(|s| {
                s.dark = dark;
                s.size = (width, 900);
            });
            // Said by the page itself, so that the picture does not hang on the browser's own idea.
            let theme = if dark { "dark" } else { "light" };
            browser.click_away(&format!("form[action=\"/theme\"] button[value={theme}]"));
            for (name, path) in &pages {
                browser.go(&format!("{PANEL}{path}"));
                let place = format!("{path} ({theme}, {width} px)");
                faults.extend(
                    browser
                        .accessibility_faults()
                        .into_iter()
                        .map(|fault| format!("{place}: {fault}")),
                );
                match browser.sideways_scroll() {
                    (0, _) => {}
                    (more, who) => {
                        faults.push(format!("{place}: {more} px wider than the window: {who}"));
                    }
                }
                if let Some(folder) = &screens {
                    std::fs::create_dir_all(folder).unwrap();
                    browser.screenshot(&folder.join(format!("{name}-{theme}-{width}.png")));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
